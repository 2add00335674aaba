"""What a stack has once."""

from typing import Any

import pytest
from conftest import Recorder, run, start

from components.foundation import Foundation

GOOD: dict[str, Any] = {
    "project": "acme",
    "location": "us-central1",
    "registry": "us-central1-docker.pkg.dev",
    "repository_id": "lh-test-images",
}
DIGEST = "sha256:" + "0a" * 32


def build(**changes: Any) -> None:
    run(lambda: Foundation("f", {**GOOD, **changes}))  # type: ignore[typeddict-item]  # some cases are wrong on purpose


def policies(cloud: Recorder) -> dict[str, Any]:
    return {policy["id"]: policy for policy in cloud.resources["f-images"]["cleanupPolicies"]}


def test_apis_stay_enabled_when_the_stack_goes(cloud: Recorder) -> None:
    build(apis=["run.googleapis.com"])
    apis = {name: found for name, found in cloud.resources.items() if name.startswith("f-api-")}
    assert apis["f-api-run"]["service"] == "run.googleapis.com"
    assert {api["disableOnDestroy"] for api in apis.values()} == {False}


@pytest.mark.parametrize("child", ["f-images", "f-runs", "f-logs-operator-team", "f-runs-operator-team"])
def test_what_needs_an_api_waits_for_all_of_them(cloud: Recorder, child: str) -> None:
    build(operators={"team": "group:team@example.com"})
    waits_for = {urn.rpartition("::")[2] for urn in cloud.requests[child].dependencies}
    assert waits_for >= {name for name in cloud.resources if name.startswith("f-api-")}


def test_an_api_that_two_ask_for_is_enabled_once(cloud: Recorder) -> None:
    build(apis=["storage.googleapis.com", "run.googleapis.com", "run.googleapis.com"])
    assert [name for name in cloud.resources if name.endswith(("-run", "-storage"))] == ["f-api-run", "f-api-storage"]


def test_nothing_with_a_tag_is_ever_deleted(cloud: Recorder) -> None:
    build(untagged_after_days=7)
    deleting = [policy for policy in policies(cloud).values() if policy["action"] == "DELETE"]
    assert [policy["condition"] for policy in deleting] == [{"tagState": "UNTAGGED", "olderThan": "604800s"}]


def test_the_most_recent_versions_and_the_pinned_ones_are_kept(cloud: Recorder) -> None:
    build(kept_digests=[DIGEST, DIGEST], keep_versions=3)
    assert policies(cloud)["keep-most-recent"]["mostRecentVersions"] == {"keepCount": 3}
    assert policies(cloud)["keep-pinned"] == {
        "id": "keep-pinned",
        "action": "KEEP",
        "condition": {"versionNamePrefixes": [DIGEST]},
    }


def test_without_a_pin_there_is_no_empty_policy(cloud: Recorder) -> None:
    build()
    assert set(policies(cloud)) == {"delete-untagged", "keep-most-recent"}


def test_the_bucket_is_closed_and_kept_by_default(cloud: Recorder) -> None:
    build()
    bucket = cloud.resources["f-runs"]
    assert (bucket["uniformBucketLevelAccess"], bucket["publicAccessPrevention"]) == (True, "enforced")
    assert bucket["forceDestroy"] is False
    assert bucket["location"] == "US-CENTRAL1"
    assert "lifecycleRules" not in bucket
    assert cloud.requests["f-runs"].protect is True


def test_only_the_prefixes_named_expire(cloud: Recorder) -> None:
    build(expiring_prefixes=["inputs/", "datasets/"], expire_after_days=7)
    (rule,) = cloud.resources["f-runs"]["lifecycleRules"]
    assert rule == {
        "action": {"type": "Delete"},
        "condition": {"age": 7, "matchesPrefixes": ["datasets/", "inputs/"]},
    }


def test_a_stack_for_a_day_can_be_destroyed_with_its_objects(cloud: Recorder) -> None:
    build(force_destroy=True, protect=False)
    assert cloud.resources["f-runs"]["forceDestroy"] is True
    assert cloud.requests["f-runs"].protect is False


def test_nobody_is_granted_anything_by_default(cloud: Recorder) -> None:
    build()
    assert not [found for found in cloud.resources.values() if "role" in found]


def test_operators_get_the_bucket_and_the_logs_and_no_more(cloud: Recorder) -> None:
    build(operators={"team": "group:team@example.com"})
    granted = {name: (found["role"], found["member"]) for name, found in cloud.resources.items() if "role" in found}
    assert granted == {
        "f-runs-operator-team": ("roles/storage.objectUser", "group:team@example.com"),
        "f-logs-operator-team": ("roles/logging.viewer", "group:team@example.com"),
    }
    assert cloud.resources["f-runs-operator-team"]["bucket"] == "f-runs"
    assert cloud.resources["f-logs-operator-team"]["project"] == "acme"


def test_another_projects_agent_may_pull_images(cloud: Recorder) -> None:
    build(image_readers={"prod": "serviceAccount:agent@example.com"})
    reader = cloud.resources["f-image-reader-prod"]
    assert (reader["role"], reader["repository"]) == ("roles/artifactregistry.reader", "lh-test-images")


def test_images_are_pushed_to_the_repository_on_the_registry_given() -> None:
    paths: list[str] = []
    start()
    run(lambda: Foundation("f", GOOD).repository.apply(paths.append))  # type: ignore[arg-type]  # a plain dict, as a packaged component is called
    assert paths == ["us-central1-docker.pkg.dev/acme/lh-test-images"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"location": "moon-west1"}, "f: location must be one of africa-south1"),
        ({"repository_id": "Images"}, r"f: repository_id must be 1\.\.63 lower-case letters"),
        ({"expire_after_days": 0}, r"f: expire_after_days must be 1\.\.3650 days, got 0"),
        ({"untagged_after_days": 0}, r"f: untagged_after_days must be 1\.\.3650 days, got 0"),
        ({"keep_versions": 0}, r"f: keep_versions must be 1\.\.1000 versions, got 0"),
        ({"kept_digests": ["latest"]}, "f: kept_digests must be sha256:DIGEST, got 'latest'"),
        (
            {"force_destroy": True},
            "f: force_destroy must be false while the bucket is protected, got true; set protect",
        ),
    ],
)
def test_an_argument_out_of_range_is_refused(cloud: Recorder, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**changes)
    assert cloud.resources == {}
