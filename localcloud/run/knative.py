"""Cloud Run's v1 form of what is stored in the v2 form. https://cloud.google.com/run/docs/reference/rest/v1 (2026-08)."""

from typing import Any

from localcloud.run import names, quantities

API_VERSION = "run.googleapis.com/v1"
_STATUS = {"CONDITION_SUCCEEDED": "True", "CONDITION_FAILED": "False"}
_COUNTS = ("runningCount", "succeededCount", "failedCount", "cancelledCount", "retriedCount")
_SEVERITY = {"INFO": "Info", "WARNING": "Warning", "ERROR": "Error"}
_ENVIRONMENT = {"EXECUTION_ENVIRONMENT_GEN2": "gen2", "EXECUTION_ENVIRONMENT_GEN1": "gen1"}

Object = dict[str, Any]


def job(resource: Object) -> Object:
    """Return a job."""
    template = resource["template"]
    status: Object = {
        "observedGeneration": int(resource["observedGeneration"]),
        "conditions": [condition(item) for item in (resource["terminalCondition"], *resource.get("conditions", ()))],
        "executionCount": resource.get("executionCount", 0),
    }
    if latest := resource.get("latestCreatedExecution"):
        renamed = {"createTime": "creationTimestamp", "completionTime": "completionTimestamp"}
        status["latestCreatedExecution"] = {renamed.get(key, key): value for key, value in latest.items()}
    annotations = {"run.googleapis.com/lastModifier": resource["lastModifier"]}
    labels = {"run.googleapis.com/lastUpdatedTime": resource["updateTime"]}
    if resource["launchStage"] != "GA":
        annotations["run.googleapis.com/launch-stage"] = resource["launchStage"]
    spec = _execution_spec(template, template.get("taskCount", 1), template.get("parallelism"), template["template"])
    inner = {
        "labels": template.get("labels"),
        "annotations": template.get("annotations", {}) | _annotations(template["template"]),
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "Job",
        "metadata": _metadata(resource, "jobs", labels, annotations),
        "spec": {"template": {"metadata": _set(inner), "spec": spec}},
        "status": status,
    }


def execution(resource: Object) -> Object:
    """Return an execution."""
    labels = {"run.googleapis.com/job": resource["job"]}
    status: Object = {"observedGeneration": int(resource["observedGeneration"]), "logUri": resource["logUri"]}
    status["conditions"] = [condition(item) for item in resource["conditions"]]
    status |= {key: resource[key] for key in (*_COUNTS, "startTime", "completionTime") if key in resource}
    return {
        "apiVersion": API_VERSION,
        "kind": "Execution",
        "metadata": _metadata(resource, "executions", labels, _annotations(resource["template"])),
        "spec": _execution_spec(resource, resource["taskCount"], resource["parallelism"], resource["template"]),
        "status": status,
    }


def task(resource: Object) -> Object:
    """Return a task."""
    labels = {
        "run.googleapis.com/job": resource["job"],
        "run.googleapis.com/execution": resource["execution"],
        "run.googleapis.com/taskIndex": str(resource["index"]),
        "run.googleapis.com/runningState": _running_state(resource),
    }
    status: Object = {"observedGeneration": 1, "index": resource["index"], "logUri": resource["logUri"]}
    status["conditions"] = [condition(item) for item in resource["conditions"]]
    copied = ("retried", "lastAttemptResult", "startTime", "completionTime")
    status |= {key: resource[key] for key in copied if key in resource}
    return {
        "apiVersion": API_VERSION,
        "kind": "Task",
        "metadata": _metadata(resource, "tasks", labels, {}),
        "spec": _task_spec(resource),
        "status": status,
    }


def _running_state(resource: Object) -> str:
    """Return the state by which gcloud marks a task."""
    end: Object = next((item for item in resource["conditions"] if item["type"] == "Completed"), {})
    if end.get("executionReason") == "CANCELLED":
        return "Cancelled"
    ended = {"CONDITION_SUCCEEDED": "Succeeded", "CONDITION_FAILED": "Failed"}
    return ended.get(end.get("state", ""), "Running" if "startTime" in resource else "Pending")


def condition(given: Object) -> Object:
    """Return a condition; its reason is the enum of v2 in CamelCase."""
    made: Object = {"type": given["type"], "status": _STATUS.get(given["state"], "Unknown")}
    reason = given.get("executionReason") or given.get("reason")
    if reason:
        made["reason"] = "".join(part.capitalize() for part in reason.split("_"))
    if given.get("message"):
        made["message"] = given["message"]
    if given.get("severity") in _SEVERITY:
        made["severity"] = _SEVERITY[given["severity"]]
    return made | {"lastTransitionTime": given["lastTransitionTime"]}


def overrides(given: Object) -> Object:
    """Return the overrides of a v1 `:run` in the v2 form."""
    made = {key: given[key] for key in ("taskCount",) if key in given}
    if "timeoutSeconds" in given:
        made["timeout"] = f"{given['timeoutSeconds']}s"
    if containers := given.get("containerOverrides"):
        made["containerOverrides"] = [
            item | ({"env": [_variable_v2(entry) for entry in item["env"]]} if "env" in item else {})
            for item in containers
        ]
    return made


def job_v2(given: Object) -> Object:
    """Return the settable part of a job that was sent in the v1 form, in the v2 form."""
    outer, spec = given.get("metadata", {}), given.get("spec", {}).get("template", {}).get("spec", {})
    inner = given.get("spec", {}).get("template", {}).get("metadata", {})
    template: Object = {key: spec[key] for key in ("taskCount", "parallelism") if key in spec}
    template["template"] = _task_v2(spec.get("template", {}).get("spec", {}), inner.get("annotations", {}))
    foreign = {key: value for key, value in inner.get("labels", {}).items() if not _reserved(key)}
    labels = {key: value for key, value in outer.get("labels", {}).items() if not _reserved(key)}
    annotations = {key: value for key, value in outer.get("annotations", {}).items() if not _reserved(key)}
    stage = outer.get("annotations", {}).get("run.googleapis.com/launch-stage", "")
    made = {
        "labels": labels,
        "annotations": annotations,
        "launchStage": stage,
        "template": template | _set({"labels": foreign}),
    }
    client = outer.get("annotations", {})
    made |= {
        "client": client.get("run.googleapis.com/client-name", ""),
        "clientVersion": client.get("run.googleapis.com/client-version", ""),
    }
    return _set(made)


def _reserved(key: str) -> bool:
    return key.partition("/")[0].endswith(("googleapis.com", "knative.dev"))


def _metadata(resource: Object, plural: str, labels: Object, annotations: Object) -> Object:
    project, short = names.project_of(resource["name"]), names.short(resource["name"])
    labels = (
        resource.get("labels", {}) | labels | {"cloud.googleapis.com/location": names.location_of(resource["name"])}
    )
    annotations = resource.get("annotations", {}) | annotations
    if "creator" in resource:
        annotations = annotations | {"run.googleapis.com/creator": resource["creator"]}
    return {
        "name": short,
        "namespace": project,
        "selfLink": f"/apis/run.googleapis.com/v1/namespaces/{project}/{plural}/{short}",
        "uid": resource["uid"],
        "resourceVersion": resource["etag"].strip('"'),
        "generation": int(resource["generation"]),
        "creationTimestamp": resource["createTime"],
        "labels": labels,
        "annotations": annotations,
    }


def _set(values: Object) -> Object:
    return {key: value for key, value in values.items() if value not in (None, "", {}, [])}


def _annotations(template: Object) -> Object:
    made = {"run.googleapis.com/execution-environment": _ENVIRONMENT.get(template.get("executionEnvironment", ""))}
    access = template.get("vpcAccess", {})
    if egress := access.get("egress"):
        made["run.googleapis.com/vpc-access-egress"] = {"ALL_TRAFFIC": "all-traffic"}.get(egress, "private-ranges-only")
    made["run.googleapis.com/vpc-access-connector"] = access.get("connector")
    return _set(made)


def _execution_spec(source: Object, count: int, parallelism: int | None, task_template: Object) -> Object:
    spec: Object = {"taskCount": count, "template": {"spec": _task_spec(task_template)}}
    return spec | ({"parallelism": parallelism} if parallelism else {})


def _task_spec(template: Object) -> Object:
    spec: Object = {"containers": [_container(item) for item in template["containers"]]}
    if volumes := [_volume(item) for item in template.get("volumes", [])]:
        spec["volumes"] = volumes
    spec["maxRetries"] = template.get("maxRetries", 0)
    spec["timeoutSeconds"] = str(int(quantities.seconds(template.get("timeout", "600s"))))
    if "serviceAccount" in template:
        spec["serviceAccountName"] = template["serviceAccount"]
    if kind := template.get("nodeSelector", {}).get("accelerator"):
        spec["nodeSelector"] = {"run.googleapis.com/accelerator": kind}
    return spec


def _container(given: Object) -> Object:
    made: Object = {
        key: given[key] for key in ("name", "image", "command", "args", "workingDir", "volumeMounts") if key in given
    }
    if limits := given.get("resources", {}).get("limits"):
        made["resources"] = {"limits": limits}
    if env := given.get("env"):
        made["env"] = [_variable(item) for item in env]
    return made


def _variable(given: Object) -> Object:
    if reference := given.get("valueSource", {}).get("secretKeyRef"):
        key = {"name": reference["secret"], "key": reference.get("version") or "latest"}
        return {"name": given["name"], "valueFrom": {"secretKeyRef": key}}
    return given


def _variable_v2(given: Object) -> Object:
    if reference := given.get("valueFrom", {}).get("secretKeyRef"):
        key = {"secret": reference["name"], "version": reference.get("key") or "latest"}
        return {"name": given["name"], "valueSource": {"secretKeyRef": key}}
    return given


def _volume(given: Object) -> Object:
    if bucket := given.get("gcs"):
        attributes = {"bucketName": bucket["bucket"]}
        csi = {
            "driver": "gcsfuse.run.googleapis.com",
            "readOnly": bucket.get("readOnly", False),
            "volumeAttributes": attributes,
        }
        return {"name": given["name"], "csi": csi}
    if secret := given.get("secret"):
        items = [{"key": item.get("version", "latest"), "path": item["path"]} for item in secret.get("items", [])]
        return {"name": given["name"], "secret": {"secretName": secret["secret"], "items": items}}
    if "emptyDir" in given:
        empty = {
            "medium": given["emptyDir"].get("medium", "MEMORY").capitalize(),
            **_set({"sizeLimit": given["emptyDir"].get("sizeLimit")}),
        }
        return {"name": given["name"], "emptyDir": empty}
    return given


def _volume_v2(given: Object) -> Object:
    if csi := given.get("csi"):
        gcs = {"bucket": csi.get("volumeAttributes", {}).get("bucketName", ""), "readOnly": csi.get("readOnly", False)}
        return {"name": given["name"], "gcs": _set(gcs)}
    if secret := given.get("secret"):
        items = [{"version": item["key"], "path": item["path"]} for item in secret.get("items", [])]
        return {"name": given["name"], "secret": {"secret": secret["secretName"], "items": items}}
    if "emptyDir" in given:
        medium = given["emptyDir"].get("medium", "").upper()
        return {"name": given["name"], "emptyDir": _set(given["emptyDir"] | {"medium": medium})}
    return given


def _task_v2(spec: Object, annotations: Object) -> Object:
    made: Object = {key: spec[key] for key in ("maxRetries",) if key in spec}
    if "timeoutSeconds" in spec:
        made["timeout"] = f"{spec['timeoutSeconds']}s"
    made["serviceAccount"] = spec.get("serviceAccountName")
    made["volumes"] = [_volume_v2(item) for item in spec.get("volumes", [])]
    made["containers"] = [
        item | ({"env": [_variable_v2(entry) for entry in item["env"]]} if "env" in item else {})
        for item in spec.get("containers", [])
    ]
    if kind := spec.get("nodeSelector", {}).get("run.googleapis.com/accelerator"):
        made |= {"nodeSelector": {"accelerator": kind}, "gpuZonalRedundancyDisabled": True}
    if annotations.get("run.googleapis.com/execution-environment") == "gen2":
        made["executionEnvironment"] = "EXECUTION_ENVIRONMENT_GEN2"
    if egress := annotations.get("run.googleapis.com/vpc-access-egress"):
        made["vpcAccess"] = {"egress": egress.replace("-", "_").upper()}
    if connector := annotations.get("run.googleapis.com/vpc-access-connector"):
        made["vpcAccess"] = made.get("vpcAccess", {}) | {"connector": connector}
    kept = made.pop("maxRetries", None)
    return _set(made) | ({"maxRetries": kept} if kept is not None else {})
