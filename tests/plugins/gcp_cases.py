"""The types of the gcp stand-in and the calls that each makes."""

from dataclasses import dataclass, field
from typing import Any

Plain = dict[str, Any]
P = "projects/demo"
L = f"{P}/locations/europe-west1"


@dataclass(frozen=True, kw_only=True)
class Case:
    """Inputs of a type, a change in place, and the calls of each step (operations are left out)."""

    token: str
    inputs: Plain
    change: Plain
    created: list[str]
    updated: list[str]
    deleted: list[str]
    bodies: Plain = field(default_factory=dict)
    id: str = ""


CASES = [
    Case(
        token="gcp:cloudrunv2/service:Service",
        inputs={
            "name": "api",
            "location": "europe-west1",
            "deletionProtection": False,
            "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY",
            "template": {
                "maxInstanceRequestConcurrency": 10,
                "scaling": {"maxInstanceCount": 2, "minInstanceCount": 0},
                "containers": [{"image": "i:1", "ports": {"containerPort": 8080}}],
            },
        },
        change={"template": {"containers": [{"image": "i:2"}]}},
        created=[f"POST {L}/services?serviceId=api", f"GET {L}/services/api"],
        updated=[f"PATCH {L}/services/api", f"GET {L}/services/api"],
        deleted=[f"DELETE {L}/services/api"],
        bodies={
            f"POST {L}/services?serviceId=api": {
                "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY",
                "labels": {"goog-pulumi-provisioned": "true"},
                "template": {
                    "containers": [{"image": "i:1", "ports": [{"containerPort": 8080}]}],
                    "maxInstanceRequestConcurrency": 10,
                    "scaling": {"maxInstanceCount": 2},
                },
            }
        },
        id=f"{L}/services/api",
    ),
    Case(
        token="gcp:workflows/workflow:Workflow",
        inputs={"name": "wf", "sourceContents": "a", "deletionProtection": False, "userEnvVars": {"U": "1"}},
        change={"sourceContents": "b"},
        created=[f"POST {L}/workflows?workflowId=wf", f"GET {L}/workflows/wf"],
        updated=[f"PATCH {L}/workflows/wf?updateMask=sourceContents", f"GET {L}/workflows/wf"],
        deleted=[f"DELETE {L}/workflows/wf"],
        bodies={
            f"POST {L}/workflows": {
                "name": "wf",
                "labels": {"goog-pulumi-provisioned": "true"},
                "sourceContents": "a",
                "userEnvVars": {"U": "1"},
            },
            f"PATCH {L}/workflows": {
                "labels": {"goog-pulumi-provisioned": "true"},
                "sourceContents": "b",
                "userEnvVars": {"U": "1"},
            },
        },
        id=f"{L}/workflows/wf",
    ),
    Case(
        token="gcp:cloudscheduler/job:Job",
        inputs={
            "name": "s1",
            "schedule": "*/5 * * * *",
            "httpTarget": {
                "httpMethod": "POST",
                "uri": "https://x",
                "body": "e30=",
                "oauthToken": {"serviceAccountEmail": "a@x"},
            },
        },
        change={"schedule": "0 * * * *", "paused": True},
        created=[f"POST {L}/jobs", f"POST {L}/jobs/s1:resume", f"GET {L}/jobs/s1"],
        updated=[f"PATCH {L}/jobs/s1", f"POST {L}/jobs/s1:pause", f"GET {L}/jobs/s1"],
        deleted=[f"DELETE {L}/jobs/s1"],
        bodies={
            f"POST {L}/jobs": {
                "name": f"{L}/jobs/s1",
                "schedule": "*/5 * * * *",
                "timeZone": "Etc/UTC",
                "httpTarget": {
                    "httpMethod": "POST",
                    "uri": "https://x",
                    "body": "e30=",
                    "oauthToken": {"serviceAccountEmail": "a@x"},
                },
            }
        },
        id=f"{L}/jobs/s1",
    ),
    Case(
        token="gcp:secretmanager/secret:Secret",
        inputs={"secretId": "tok", "replication": {"auto": {}}},
        change={"ttl": "3600s"},
        created=[f"POST {P}/secrets?secretId=tok", f"GET {P}/secrets/tok"],
        updated=[f"PATCH {P}/secrets/tok?updateMask=ttl", f"GET {P}/secrets/tok"],
        deleted=[f"DELETE {P}/secrets/tok"],
        bodies={
            f"POST {P}/secrets?secretId=tok": {
                "labels": {"goog-pulumi-provisioned": "true"},
                "replication": {"automatic": {}},
            }
        },
        id=f"{P}/secrets/tok",
    ),
    Case(
        token="gcp:secretmanager/secretVersion:SecretVersion",
        inputs={"secret": f"{P}/secrets/tok", "secretData": "made-up"},
        change={"enabled": False},
        created=[
            f"POST {P}/secrets/tok:addVersion",
            f"POST {P}/secrets/tok/versions/1:enable",
            f"GET {P}/secrets/tok/versions/1",
            f"GET {P}/secrets/tok/versions/1:access",
        ],
        updated=[f"POST {P}/secrets/tok/versions/1:disable", f"GET {P}/secrets/tok/versions/1"],
        deleted=[f"POST {P}/secrets/tok/versions/1:destroy"],
        bodies={f"POST {P}/secrets/tok:addVersion": {"payload": {"data": "bWFkZS11cA=="}}},
        id=f"{P}/secrets/tok/versions/1",
    ),
    Case(
        token="gcp:bigquery/dataset:Dataset",
        inputs={"datasetId": "ds", "location": "EU", "deleteContentsOnDestroy": True},
        change={"description": "d"},
        created=[f"POST {P}/datasets?accessPolicyVersion=3", f"GET {P}/datasets/ds?accessPolicyVersion=3"],
        updated=[f"PUT {P}/datasets/ds?accessPolicyVersion=3", f"GET {P}/datasets/ds?accessPolicyVersion=3"],
        deleted=[f"DELETE {P}/datasets/ds?deleteContents=true"],
        bodies={
            f"POST {P}/datasets?accessPolicyVersion=3": {
                "datasetReference": {"datasetId": "ds"},
                "labels": {"goog-pulumi-provisioned": "true"},
                "location": "EU",
            }
        },
        id=f"{P}/datasets/ds",
    ),
    Case(
        token="gcp:bigquery/table:Table",
        inputs={
            "datasetId": "ds",
            "tableId": "tb",
            "deletionProtection": False,
            "schema": '[{"name":"a","type":"STRING"}]',
            "timePartitioning": {"type": "DAY"},
        },
        change={"schema": '[{"name":"a","type":"STRING"},{"name":"b","type":"INT64"}]'},
        created=[f"POST {P}/datasets/ds/tables", f"GET {P}/datasets/ds/tables/tb"],
        updated=[
            f"GET {P}/datasets/ds/tables/tb",
            f"PUT {P}/datasets/ds/tables/tb",
            f"GET {P}/datasets/ds/tables/tb",
        ],
        deleted=[f"DELETE {P}/datasets/ds/tables/tb"],
        bodies={
            f"POST {P}/datasets/ds/tables": {
                "tableReference": {"projectId": "demo", "datasetId": "ds", "tableId": "tb"},
                "labels": {"goog-pulumi-provisioned": "true"},
                "schema": {"fields": [{"policyTags": {"names": []}, "name": "a", "type": "STRING"}]},
                "timePartitioning": {"type": "DAY", "requirePartitionFilter": False},
            }
        },
        id=f"{P}/datasets/ds/tables/tb",
    ),
    Case(
        token="gcp:monitoring/notificationChannel:NotificationChannel",
        inputs={"type": "email", "labels": {"email_address": "a@x"}},
        change={"displayName": "d"},
        created=[f"POST {P}/notificationChannels", f"GET {P}/notificationChannels/1"],
        updated=[f"PATCH {P}/notificationChannels/1?updateMask=displayName", f"GET {P}/notificationChannels/1"],
        deleted=[f"DELETE {P}/notificationChannels/1?force=false"],
        id=f"{P}/notificationChannels/1",
    ),
    Case(
        token="gcp:monitoring/alertPolicy:AlertPolicy",
        inputs={
            "displayName": "d",
            "combiner": "OR",
            "conditions": [
                {
                    "displayName": "c",
                    "conditionThreshold": {"duration": "60s", "comparison": "COMPARISON_GT", "thresholdValue": 1.5},
                }
            ],
        },
        change={
            "conditions": [
                {"displayName": "c", "conditionThreshold": {"duration": "120s", "comparison": "COMPARISON_GT"}}
            ]
        },
        created=[f"POST {P}/alertPolicies", f"GET {P}/alertPolicies/1"],
        updated=[f"PATCH {P}/alertPolicies/1?updateMask=conditions", f"GET {P}/alertPolicies/1"],
        deleted=[f"DELETE {P}/alertPolicies/1"],
        id=f"{P}/alertPolicies/1",
    ),
    Case(
        token="gcp:logging/metric:Metric",
        inputs={"name": "errors", "filter": "severity>=ERROR"},
        change={"filter": "severity>=WARNING"},
        created=[f"POST {P}/metrics", f"GET {P}/metrics/errors"],
        updated=[f"PUT {P}/metrics/errors", f"GET {P}/metrics/errors"],
        deleted=[f"DELETE {P}/metrics/errors"],
        bodies={f"POST {P}/metrics": {"name": "errors", "filter": "severity>=ERROR"}},
        id="errors",
    ),
    Case(
        token="gcp:artifactregistry/repository:Repository",
        inputs={"repositoryId": "images", "format": "DOCKER"},
        change={"description": "d"},
        created=[f"POST {L}/repositories?repository_id=images", f"GET {L}/repositories/images"],
        updated=[f"PATCH {L}/repositories/images?updateMask=description", f"GET {L}/repositories/images"],
        deleted=[f"DELETE {L}/repositories/images"],
        id=f"{L}/repositories/images",
    ),
    Case(
        token="gcp:serviceaccount/account:Account",
        inputs={"accountId": "runner", "displayName": "R"},
        change={"displayName": "S"},
        created=[f"POST {P}/serviceAccounts", *[f"GET {P}/serviceAccounts/runner@demo.iam.gserviceaccount.com"] * 4],
        updated=[
            f"GET {P}/serviceAccounts/runner@demo.iam.gserviceaccount.com",
            f"PATCH {P}/serviceAccounts/runner@demo.iam.gserviceaccount.com",
            *[f"GET {P}/serviceAccounts/runner@demo.iam.gserviceaccount.com"] * 4,
        ],
        deleted=[f"DELETE {P}/serviceAccounts/runner@demo.iam.gserviceaccount.com"],
        bodies={
            f"PATCH {P}/serviceAccounts/runner@demo.iam.gserviceaccount.com": {
                "serviceAccount": {"displayName": "S", "description": "", "etag": "e1"},
                "updateMask": "display_name",
            }
        },
        id=f"{P}/serviceAccounts/runner@demo.iam.gserviceaccount.com",
    ),
    Case(
        token="gcp:storage/bucket:Bucket",
        inputs={
            "name": "data",
            "location": "europe-west1",
            "labels": {"a": "1", "b": "2"},
            "lifecycleRules": [{"action": {"type": "Delete"}, "condition": {"age": 1}}],
        },
        change={"labels": {"a": "1"}, "storageClass": "NEARLINE", "lifecycleRules": None},
        created=["POST b?project=demo", "GET b/data", "GET b/data"],
        updated=["PATCH b/data", "GET b/data"],
        deleted=["GET b/data/anywhereCaches/", "GET b/data/o?versions=true", "DELETE b/data"],
        bodies={
            "PATCH b/data": {
                "labels": {"a": "1", "b": None, "goog-pulumi-provisioned": "true"},
                "storageClass": "NEARLINE",
                "lifecycle": {"rule": []},
            }
        },
        id="data",
    ),
    Case(
        token="gcp:storage/bucketObject:BucketObject",
        inputs={"bucket": "data", "name": "a/b.txt", "content": "one"},
        change={"content": "two"},
        created=["POST upload/b/data/o?name=a/b.txt&uploadType=multipart", "GET b/data/o/a/b.txt"],
        updated=["POST upload/b/data/o?name=a/b.txt&uploadType=multipart", "GET b/data/o/a/b.txt"],
        deleted=["DELETE b/data/o/a/b.txt"],
        id="data-a/b.txt",
    ),
    Case(
        token="gcp:projects/service:Service",
        inputs={"service": "run.googleapis.com", "disableOnDestroy": True},
        change={"disableOnDestroy": True, "disableDependentServices": True},
        created=[
            f"GET {P}/services?filter=state:ENABLED&fields=services/name,nextPageToken&pageSize=200",
            f"POST {P}/services/run.googleapis.com:enable",
            f"GET {P}",
            f"GET {P}/services?filter=state:ENABLED&fields=services/name,nextPageToken&pageSize=200",
        ],
        updated=[
            f"GET {P}",
            f"GET {P}/services?filter=state:ENABLED&fields=services/name,nextPageToken&pageSize=200",
        ],
        deleted=[f"POST {P}/services/run.googleapis.com:disable"],
        bodies={f"POST {P}/services/run.googleapis.com:enable": {}},
        id="demo/run.googleapis.com",
    ),
    Case(
        token="gcp:bigquery/datasetIamMember:DatasetIamMember",
        inputs={
            "datasetId": "ds",
            "role": "roles/bigquery.dataViewer",
            "member": "serviceAccount:a@x.gserviceaccount.com",
        },
        change={},
        created=[f"GET {P}/datasets/ds", f"PATCH {P}/datasets/ds", *[f"GET {P}/datasets/ds"] * 4],
        updated=[],
        deleted=[f"GET {P}/datasets/ds", f"PATCH {P}/datasets/ds", *[f"GET {P}/datasets/ds"] * 3],
        id=f"{P}/datasets/ds/roles/bigquery.dataViewer/serviceAccount:a@x.gserviceaccount.com",
    ),
    Case(
        token="gcp:secretmanager/secretIamMember:SecretIamMember",
        inputs={"secretId": "tok", "role": "roles/secretmanager.secretAccessor", "member": "user:a@x.org"},
        change={},
        created=[
            f"GET {P}/secrets/tok:getIamPolicy?options.requestedPolicyVersion=3",
            f"POST {P}/secrets/tok:setIamPolicy",
            *[f"GET {P}/secrets/tok:getIamPolicy?options.requestedPolicyVersion=3"] * 4,
        ],
        updated=[],
        deleted=[
            f"GET {P}/secrets/tok:getIamPolicy?options.requestedPolicyVersion=3",
            f"POST {P}/secrets/tok:setIamPolicy",
            *[f"GET {P}/secrets/tok:getIamPolicy?options.requestedPolicyVersion=3"] * 3,
        ],
        id=f"{P}/secrets/tok/roles/secretmanager.secretAccessor/user:a@x.org",
    ),
]
