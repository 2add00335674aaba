"""What holds for every stack as a whole."""

from typing import Any

import pytest
import yaml
from conftest import ROOT, configuration, configure, declared, deployed, run, start

import settings
import stack

STACKS = sorted(file.name.split(".")[1] for file in ROOT.glob("Pulumi.*.yaml"))
DIGEST = "sha256:" + "7a" * 32
PINS = configuration("prod")["longhaul:images"]
PIN = PINS["heavy_runner"]

LABELLED = {
    "gcp:bigquery/dataset:Dataset": "labels",
    "gcp:artifactregistry/repository:Repository": "labels",
    "gcp:cloudrunv2/job:Job": "labels",
    "gcp:monitoring/alertPolicy:AlertPolicy": "userLabels",
    "gcp:storage/bucket:Bucket": "labels",
    "gcp:workflows/workflow:Workflow": "labels",
}
"""Types that have labels -> the input that holds them."""

UNLABELLED = {
    "docker:index/image:Image",
    "gcp:bigquery/datasetIamMember:DatasetIamMember",
    "gcp:cloudscheduler/job:Job",
    "gcp:artifactregistry/repositoryIamMember:RepositoryIamMember",
    "gcp:cloudrunv2/jobIamMember:JobIamMember",
    "gcp:compute/router:Router",
    "gcp:compute/routerNat:RouterNat",
    "gcp:projects/iAMMember:IAMMember",
    "gcp:projects/service:Service",
    "gcp:secretmanager/secretIamMember:SecretIamMember",
    "gcp:serviceaccount/account:Account",
    "gcp:serviceaccount/iAMMember:IAMMember",
    "gcp:storage/bucketIAMMember:BucketIAMMember",
}


def test_stacks_are_those_of_the_snapshots() -> None:
    assert [file.stem for file in sorted((ROOT / "tests/snapshots").glob("*.yaml"))] == STACKS


@pytest.mark.parametrize("name", STACKS)
def test_a_preview_shows_every_resource_that_an_update_makes(name: str) -> None:
    assert set(declared(name, preview=True)) == set(declared(name)), "made inside apply(), so a preview cannot show it"


@pytest.mark.parametrize("name", STACKS)
def test_every_resource_has_a_component_for_a_parent(name: str) -> None:
    for key in declared(name):
        parent, _, own = key.partition("::")[0].rpartition("$")
        if own.startswith("longhaul:"):
            assert parent == "pulumi:pulumi:Stack", key
        else:
            assert parent.rpartition("$")[2].startswith("longhaul:index:"), key


@pytest.mark.parametrize("name", STACKS)
def test_everything_that_can_carries_labels_for_cost_reports(name: str) -> None:
    for key, resource in declared(name).items():
        kind = resource["type"]
        if kind in LABELLED:
            wanted = {"app": "longhaul", "stack": name, **configuration(name).get("longhaul:labels", {})}
            assert wanted.items() <= resource[LABELLED[kind]].items(), key
        else:
            assert kind.startswith("longhaul:") or kind in UNLABELLED, f"{kind}: has it labels?"


def test_executions_are_billed_to_their_system() -> None:
    jobs = [found for found in declared("prod").values() if found["type"] == "gcp:cloudrunv2/job:Job"]
    assert {job["labels"]["system"] for job in jobs} == {"features", "heavy"}
    assert all(job["labels"] == job["template"]["labels"] for job in jobs)


def test_jobs_wait_for_the_apis() -> None:
    order = list(deployed("local").resources)
    apis = [order.index(name) for name in order if name.startswith("foundation-api-")]
    made = ("heavy-runner-job", "feature-pipeline-job", "batch-fanout-workflow")
    assert max(apis) < min(order.index(name) for name in made)


def test_two_stacks_in_one_project_do_not_meet() -> None:
    chosen = [
        {
            value
            for found in declared(name).values()
            for key, value in found.items()
            if key in {"accountId", "repositoryId"}
        }
        for name in STACKS
    ]
    assert set.intersection(*chosen) == set()
    for name in STACKS:
        named = [key for key, found in declared(name).items() if "name" in found and "IamMember" not in found["type"]]
        assert named == [], "a name of our own would meet the same name of another stack"


def test_a_pinned_stack_builds_nothing_and_runs_the_pin() -> None:
    prod = declared("prod")
    assert not [key for key in prod if "docker:index/image:Image" in key]
    jobs = [found for found in prod.values() if found["type"] == "gcp:cloudrunv2/job:Job"]
    used = [container["image"] for job in jobs for container in job["template"]["template"]["containers"]]
    used += [found["userEnvVars"]["IMAGE"] for found in prod.values() if "userEnvVars" in found]
    assert sorted(used) == sorted(PINS.values())


@pytest.mark.parametrize("name", STACKS)
def test_no_cleanup_takes_a_version_with_a_tag(name: str) -> None:
    (repository,) = (found for found in declared(name).values() if "cleanupPolicies" in found)
    deleting = [policy for policy in repository["cleanupPolicies"] if policy["action"] == "DELETE"]
    assert {policy["condition"]["tagState"] for policy in deleting} == {"UNTAGGED"}


def test_a_pin_in_the_stacks_own_repository_is_kept_by_name() -> None:
    own, other = f"us-central1-docker.pkg.dev/acme/lh-pinned-images/heavy-runner@{DIGEST}", PIN
    for pin, kept in ((own, [DIGEST]), (other, [])):
        cloud = start(stack_name="pinned")
        configure({**configuration("prod"), "gcp:project": "acme", "longhaul:images": {**PINS, "heavy_runner": pin}})
        run(lambda: stack.deploy(settings.load()))
        policies = {policy["id"]: policy for policy in cloud.resources["foundation-images"]["cleanupPolicies"]}
        found = policies["keep-pinned"]["condition"]["versionNamePrefixes"] if "keep-pinned" in policies else []
        assert found == kept


def test_what_runs_in_production_is_protected() -> None:
    cloud = deployed("prod")
    assert cloud.resources["heavy-runner-job"]["deletionProtection"] is True
    assert cloud.resources["feature-pipeline-job"]["deletionProtection"] is True
    assert cloud.resources["batch-fanout-workflow"]["deletionProtection"] is True
    for bucket in ("foundation-runs", "feature-pipeline-output", "feature-pipeline-staging"):
        assert cloud.resources[bucket]["forceDestroy"] is False
        assert cloud.requests[bucket].protect is True


def test_only_the_local_stack_can_be_destroyed_with_its_objects() -> None:
    forced = {name for name in STACKS if deployed(name).resources["foundation-runs"]["forceDestroy"]}
    assert forced <= {"dev", "local"}


def test_a_job_in_the_real_cloud_is_told_no_endpoint() -> None:
    for name in ("dev", "prod"):
        assert "_ENDPOINT" not in yaml.safe_dump(declared(name))


def test_the_export_is_what_the_command_reads() -> None:
    exported: dict[str, Any] = deployed("local").exports["longhaul"]
    heavy = exported["systems"]["heavy"]
    assert set(exported) == {"project", "region", "stack", "bucket", "repository", "endpoints", "operators", "systems"}
    assert exported["endpoints"]["run"] == "http://127.0.0.1:8471"
    assert exported["operators"] == ["user:operator@longhaul.local"]
    assert exported["bucket"] == heavy["bucket"] == "foundation-runs"
    assert heavy["job"] == "heavy-runner-job"
    assert heavy["job_id"] == "projects/longhaul-local/locations/europe-west1/jobs/heavy-runner-job"
    assert (heavy["cpu"], heavy["memory_gib"]) == (8, 32)
    assert (heavy["task_timeout_s"], heavy["script_timeout_s"]) == (1_800, 1_740)
    assert heavy["sandbox"] == {"max_bytes": 50_000_000, "max_rows": 50_000, "memory_gib": 8}
    assert set(heavy["commands"]) == {"gcloud", "longhaul"}
    assert heavy["env_block"].startswith("HEAVY_RUNNER_ENABLED=true\n")
    features = exported["systems"]["features"]
    assert (features["output_bucket"], features["staging_bucket"]) == (
        "feature-pipeline-output",
        "feature-pipeline-staging",
    )
    assert (features["cpu"], features["memory_gib"], len(features["pairs"])) == (4, 12, 26)
    fanout = exported["systems"]["fanout"]
    assert (fanout["workflow"], fanout["bucket"], fanout["prefix"]) == (
        "batch-fanout-workflow",
        "foundation-runs",
        "fanout/",
    )
    assert fanout["workflow_id"] == "projects/longhaul-local/locations/europe-west1/workflows/batch-fanout-workflow"
    assert fanout["stages"]["a"] == {"memory_mib": 4_096}
    assert fanout["stages"]["b"] == {"cpu_milli": 1_000, "memory_mib": 1_024, "max_retries": 0}
    assert set(fanout["job_templates"]) == {"a", "b", "c"}


def test_the_fanout_uses_a_bucket_that_is_there() -> None:
    prod = deployed("prod")
    assert prod.exports["longhaul"]["systems"]["fanout"]["bucket"] == "acme-simulations"
    assert not [name for name, found in prod.resources.items() if found.get("name") == "acme-simulations"]


@pytest.mark.parametrize("name", STACKS)
def test_no_two_resources_are_the_same_grant(name: str) -> None:
    """Grants add to each other: whoever removes one of two that are the same takes both."""
    grants = [
        tuple(sorted((key, str(value)) for key, value in found.items()))
        for found in declared(name).values()
        if "member" in found
    ]
    assert len(set(grants)) == len(grants)


def test_only_the_local_stack_makes_its_datasets() -> None:
    making = {name for name in STACKS if any(":Dataset::" in key for key in declared(name))}
    assert making == {"local"}


def test_apis_of_schedule_and_alert_are_enabled_where_they_are_used() -> None:
    for name, wanted in (("prod", {True}), ("local", {False})):
        apis = {found.get("service") for found in declared(name).values()}
        assert {"cloudscheduler.googleapis.com" in apis, "monitoring.googleapis.com" in apis} == wanted


def test_the_real_cloud_needs_no_endpoints() -> None:
    assert deployed("prod").exports["longhaul"]["endpoints"] == {}


def test_the_command_understands_the_export() -> None:
    from ops.outputs import parse

    for name in STACKS:
        outputs = parse(deployed(name).exports, name)
        assert outputs.require_heavy().image.startswith(outputs.repository.partition("/")[0])
