"""A program with every type the stand-in is used for, whose settings a test can change between two `up`s."""

import copy
from typing import Any

import pulumi
import pulumi_gcp as gcp

PARENT = "projects/demo/locations/europe-west1"
ACCOUNT = "runner@demo.iam.gserviceaccount.com"
DEFAULTS: dict[str, Any] = {
    "memory": "16Gi",
    "envs": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
    "location": "europe-west1",
    "protect": False,
}


class Program:
    """Every type of the program, with settings a test can change between two `up`s."""

    def __init__(self) -> None:
        self.settings = copy.deepcopy(DEFAULTS)

    def declare(self) -> None:
        gcp.projects.Service("run", service="run.googleapis.com")
        gcp.projects.Service("storage", service="storage.googleapis.com")
        account = gcp.serviceaccount.Account("account", account_id="runner", display_name="Runner")
        bucket = gcp.storage.Bucket(
            "bucket",
            name="demo-data",
            location="europe-west1",
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            labels={"team": "a"},
            lifecycle_rules=[
                {
                    "action": {"type": "Delete"},
                    "condition": {"age": 30, "matches_prefixes": ["tmp/"], "with_state": "LIVE"},
                }
            ],
        )
        gcp.storage.BucketIAMMember(
            "reader",
            bucket=bucket.name,
            role="roles/storage.objectUser",
            member=account.member,
            condition={"title": "runs", "expression": "resource.name.startsWith('x')"},
        )
        gcp.storage.BucketObject("object", bucket=bucket.name, name="a/b.txt", content="hello")
        repository = gcp.artifactregistry.Repository(
            "repository",
            repository_id="images",
            format="DOCKER",
            cleanup_policies=[{"id": "keep", "action": "KEEP", "most_recent_versions": {"keep_count": 5}}],
        )
        gcp.artifactregistry.RepositoryIamMember(
            "puller", repository=repository.name, role="roles/artifactregistry.reader", member=account.member
        )
        gcp.projects.IAMMember("logs", project="demo", role="roles/logging.logWriter", member=account.member)
        gcp.projects.IAMMember("metrics", project="demo", role="roles/monitoring.metricWriter", member=account.member)
        gcp.serviceaccount.IAMMember(
            "user", service_account_id=account.name, role="roles/iam.serviceAccountUser", member="user:Ann@x.org"
        )
        job = self.job(account)
        gcp.cloudrunv2.JobIamMember(
            "invoker", name=job.name, location=job.location, role="roles/run.invoker", member="user:ann@x.org"
        )
        pulumi.export("job", job.id)

    def job(self, account: gcp.serviceaccount.Account) -> gcp.cloudrunv2.Job:
        """The job, whose settings vary."""
        return gcp.cloudrunv2.Job(
            "job",
            name="train",
            location=self.settings["location"],
            deletion_protection=self.settings["protect"],
            template={
                "template": {
                    "service_account": account.email,
                    "max_retries": 0,
                    "timeout": "3600s",
                    "containers": [
                        {
                            "image": "h/i@sha256:0",
                            "envs": self.settings["envs"],
                            "resources": {"limits": {"cpu": "4", "memory": self.settings["memory"]}},
                        }
                    ],
                }
            },
        )
