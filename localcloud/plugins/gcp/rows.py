"""The resource types the stand-in knows: a type is a row here and a table of fields in `tables/`.

To add one: a row, a table, and its name in tests/plugins. Paths are those of the real provider's calls (observed with the
google-beta provider of 2026-08-21 as plugin 10.2.0); `{name}` is a property, `{id}` the resource's id, `{name|tail}` its last
segment, `{name|upper}` its upper case.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Iam:
    """Where a policy is read and written, and how."""

    get: str
    set: str
    get_method: str = "GET"
    set_method: str = "POST"
    get_body: Mapping[str, object] | None = None
    wrapped: bool = True
    update_mask: str = ""
    etag_when_empty: bool = True
    batched: bool = False
    described: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One resource type."""

    table: str
    service: str
    kind: str
    id: str
    create: str = ""
    read: str = "{id}"
    update: str = "{id}"
    delete: str = "{id}"
    update_method: str = "PATCH"
    lro: bool = False
    update_lro: bool = True
    mask: bool = False
    changed_only: bool = False
    update_body: bool = True
    labels: bool = False
    annotations: bool = False
    protection: str = ""
    protection_is_sent: bool = False
    autoname: str = ""
    autoname_limit: int = 0
    place: str = ""
    create_body: Mapping[str, str] = field(default_factory=dict)
    update_wrap: Mapping[str, object] = field(default_factory=dict)
    computed: Mapping[str, str] = field(default_factory=dict)
    planned: Mapping[str, str] = field(default_factory=dict)
    exactly_one: tuple[str, ...] = ()
    server_id: bool = False
    create_prefix: bool = True
    behaviour: str = "rest"
    iam: Iam | None = None


LOCATED: Final = "projects/{project}/locations/{location}"


def _run(kind: str) -> Row:
    plural = f"{kind.lower()}s"
    return Row(
        table=f"cloudrunv2.{kind}",
        service="cloudRunV2",
        kind=kind,
        id=f"{LOCATED}/{plural}/{{name}}",
        create=f"{LOCATED}/{plural}?{kind.lower()}Id={{name}}",
        lro=True,
        labels=True,
        annotations=True,
        protection=kind.lower(),
        protection_is_sent=True,
        autoname="name",
        autoname_limit=50 if kind == "Service" else 0,
    )


def _member(table: str, service: str, target: str, described: str, query: str = "", **params: object) -> Row:
    iam = Iam(get=f"{target}:getIamPolicy{query}", set=f"{target}:setIamPolicy", described=described)
    return Row(
        table=table,
        service=service,
        kind="IAM member",
        id=target,
        place="location" if "{location}" in target else "",
        computed={name: str(value) for name, value in params.items()},
        behaviour="iam",
        iam=iam,
    )


ROWS: Final[dict[str, Row]] = {
    "gcp:projects/service:Service": Row(
        table="projects.Service",
        service="serviceUsage",
        kind="Project Service",
        id="{project}/{service}",
        behaviour="service",
    ),
    "gcp:projects/iAMMember:IAMMember": Row(
        table="projects.IAMMember",
        service="resourceManager",
        kind="IAM member",
        id="{project}",
        behaviour="iam",
        iam=Iam(
            get="projects/{project}:getIamPolicy",
            get_method="POST",
            get_body={"options": {"requestedPolicyVersion": 3}},
            set="projects/{project}:setIamPolicy",
            update_mask="bindings,etag,auditConfigs",
            batched=True,
            described='project "{project}"',
        ),
    ),
    "gcp:serviceaccount/account:Account": Row(
        table="serviceaccount.Account",
        service="iamBeta",
        kind="service account",
        id="projects/{project}/serviceAccounts/{email}",
        create="projects/{project}/serviceAccounts",
        planned={
            "email": "{accountId}@{project}.iam.gserviceaccount.com",
            "member": "serviceAccount:{accountId}@{project}.iam.gserviceaccount.com",
        },
        computed={"member": "serviceAccount:{email}"},
        behaviour="account",
    ),
    "gcp:serviceaccount/iAMMember:IAMMember": Row(
        table="serviceaccount.IAMMember",
        service="iamBeta",
        kind="IAM member",
        id="{serviceAccountId}",
        behaviour="iam",
        iam=Iam(
            get="{serviceAccountId}:getIamPolicy?options.requestedPolicyVersion=3",
            get_method="POST",
            set="{serviceAccountId}:setIamPolicy",
            described="service account '{serviceAccountId}'",
        ),
    ),
    "gcp:storage/bucket:Bucket": Row(
        table="storage.Bucket",
        service="storage",
        kind="Storage Bucket",
        id="{name}",
        create="b?project={project}",
        read="b/{id}",
        update="b/{id}",
        delete="b/{id}",
        changed_only=True,
        labels=True,
        autoname="name",
        computed={"url": "gs://{name}"},
        create_prefix=False,
        behaviour="bucket",
    ),
    "gcp:storage/bucketIAMMember:BucketIAMMember": Row(
        table="storage.BucketIAMMember",
        service="storage",
        kind="IAM member",
        id="b/{bucket|tail}",
        behaviour="iam",
        iam=Iam(
            get="{id}/iam?optionsRequestedPolicyVersion=3",
            set="{id}/iam",
            set_method="PUT",
            wrapped=False,
            etag_when_empty=False,
            described='storage bucket "{id}"',
        ),
        computed={"bucket": "b/{bucket|tail}"},
    ),
    "gcp:storage/bucketObject:BucketObject": Row(
        table="storage.BucketObject",
        service="storage",
        kind="object",
        id="{bucket}-{name}",
        read="b/{bucket}/o/{name|quoted}",
        delete="b/{bucket}/o/{name|quoted}",
        autoname="name",
        computed={"outputName": "{name}"},
        exactly_one=("content", "source"),
        behaviour="object",
    ),
    "gcp:artifactregistry/repository:Repository": Row(
        table="artifactregistry.Repository",
        service="artifactRegistry",
        kind="Repository",
        id=f"{LOCATED}/repositories/{{repositoryId}}",
        create=f"{LOCATED}/repositories?repository_id={{repositoryId}}",
        lro=True,
        update_lro=False,
        mask=True,
        labels=True,
        place="location",
    ),
    "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember": _member(
        "artifactregistry.RepositoryIamMember",
        "artifactRegistry",
        f"{LOCATED}/repositories/{{repository|tail}}",
        'artifactregistry repository "{id}"',
        repository=f"{LOCATED}/repositories/{{repository|tail}}",
    ),
    "gcp:cloudrunv2/job:Job": _run("Job"),
    "gcp:cloudrunv2/jobIamMember:JobIamMember": _member(
        "cloudrunv2.JobIamMember",
        "cloudRunV2",
        f"{LOCATED}/jobs/{{name|tail}}",
        'cloudrunv2 job "{id}"',
        name=f"{LOCATED}/jobs/{{name|tail}}",
    ),
    "gcp:cloudrunv2/service:Service": _run("Service"),
    "gcp:cloudrunv2/serviceIamMember:ServiceIamMember": _member(
        "cloudrunv2.ServiceIamMember",
        "cloudRunV2",
        f"{LOCATED}/services/{{name|tail}}",
        'cloudrunv2 service "{id}"',
        name=f"{LOCATED}/services/{{name|tail}}",
    ),
    "gcp:workflows/workflow:Workflow": Row(
        table="workflows.Workflow",
        service="workflows",
        kind="Workflow",
        id="projects/{project}/locations/{region}/workflows/{name}",
        create="projects/{project}/locations/{region}/workflows?workflowId={name}",
        create_body={"name": "{name}"},
        lro=True,
        mask=True,
        labels=True,
        protection="workflow",
        autoname="name",
        place="region",
    ),
    "gcp:cloudscheduler/job:Job": Row(
        table="cloudscheduler.Job",
        service="cloudScheduler",
        kind="Job",
        id="projects/{project}/locations/{region}/jobs/{name}",
        create="projects/{project}/locations/{region}/jobs",
        create_body={"name": "projects/{project}/locations/{region}/jobs/{name}"},
        autoname="name",
        place="region",
        exactly_one=("appEngineHttpTarget", "httpTarget", "pubsubTarget"),
        behaviour="schedule",
    ),
    "gcp:secretmanager/secret:Secret": Row(
        table="secretmanager.Secret",
        service="secretManager",
        kind="Secret",
        id="projects/{project}/secrets/{secretId}",
        create="projects/{project}/secrets?secretId={secretId}",
        mask=True,
        labels=True,
        annotations=True,
        protection="secret",
    ),
    "gcp:secretmanager/secretVersion:SecretVersion": Row(
        table="secretmanager.SecretVersion",
        service="secretManager",
        kind="SecretVersion",
        id="projects/{project}/secrets/{secret|tail}/versions/{version}",
        create="projects/{project}/secrets/{secret|tail}:addVersion",
        computed={"version": "{id|tail}"},
        server_id=True,
        behaviour="secret_version",
    ),
    "gcp:secretmanager/secretIamMember:SecretIamMember": _member(
        "secretmanager.SecretIamMember",
        "secretManager",
        "projects/{project}/secrets/{secretId|tail}",
        'secretmanager secret "{id}"',
        query="?options.requestedPolicyVersion=3",
        secretId="projects/{project}/secrets/{secretId|tail}",
    ),
    "gcp:bigquery/dataset:Dataset": Row(
        table="bigquery.Dataset",
        service="bigQuery",
        kind="Dataset",
        id="projects/{project}/datasets/{datasetId}",
        create="projects/{project}/datasets?accessPolicyVersion=3",
        read="{id}?accessPolicyVersion=3",
        update="{id}?accessPolicyVersion=3",
        delete="{id}?deleteContents={deleteContentsOnDestroy|bool}",
        update_method="PUT",
        labels=True,
    ),
    "gcp:bigquery/datasetIamMember:DatasetIamMember": Row(
        table="bigquery.DatasetIamMember",
        service="bigQuery",
        kind="IAM member",
        id="projects/{project}/datasets/{datasetId|tail}",
        behaviour="dataset_iam",
        iam=Iam(get="{id}", set="{id}", set_method="PATCH", described="bigquery dataset {id}"),
    ),
    "gcp:bigquery/table:Table": Row(
        table="bigquery.Table",
        service="bigQuery",
        kind="Table",
        id="projects/{project}/datasets/{datasetId}/tables/{tableId}",
        create="projects/{project}/datasets/{datasetId}/tables",
        create_body={
            "tableReference.projectId": "{project}",
            "tableReference.datasetId": "{datasetId}",
            "tableReference.tableId": "{tableId}",
        },
        update_method="PUT",
        labels=True,
        protection="table {id}",
        behaviour="table",
    ),
    "gcp:monitoring/alertPolicy:AlertPolicy": Row(
        table="monitoring.AlertPolicy",
        service="monitoring",
        kind="AlertPolicy",
        id="{name}",
        create="projects/{project}/alertPolicies",
        mask=True,
        server_id=True,
    ),
    "gcp:monitoring/notificationChannel:NotificationChannel": Row(
        table="monitoring.NotificationChannel",
        service="monitoring",
        kind="NotificationChannel",
        id="{name}",
        create="projects/{project}/notificationChannels",
        delete="{id}?force={forceDelete|bool}",
        mask=True,
        server_id=True,
    ),
    "gcp:logging/metric:Metric": Row(
        table="logging.Metric",
        service="logging",
        kind="Metric",
        id="{name}",
        create="projects/{project}/metrics",
        read="projects/{project}/metrics/{id}",
        update="projects/{project}/metrics/{id}",
        delete="projects/{project}/metrics/{id}",
        update_method="PUT",
        autoname="name",
    ),
}
