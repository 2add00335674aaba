"""What Pulumi.<stack>.yaml may say, and what is refused before the first resource, by the key's name."""

import json
import re
from dataclasses import fields, replace
from typing import Any
from urllib.parse import urlsplit

import pulumi
import pytest
from conftest import configuration, configure, run, start

import settings
import stack
import wiring
from settings.heavy_runner import SET_BY_STACK
from workloads.heavy_runner.contract import HeavyRunnerEnv

GOOD: dict[str, Any] = {
    "gcp:project": "acme",
    "gcp:region": "us-central1",
    "longhaul:deletion_protection": True,
    "longhaul:operators": {},
    "longhaul:heavy_runner": {},
}
FEATURES: dict[str, Any] = {"features_dataset": "features", "raw_dataset": "lake.prices"}
PIN = "host/acme/images/heavy-runner@sha256:" + "5e" * 32


def load(**changes: Any) -> settings.Settings:
    start(stack_name="test")
    configure({**GOOD, **{f"longhaul:{key}": value for key, value in changes.items()}})
    return settings.load()


def test_defaults() -> None:
    found = load()
    assert (found.project, found.region, found.stack) == ("acme", "us-central1", "test")
    assert found.registry_host == "us-central1-docker.pkg.dev"
    assert found.force_destroy is False
    assert found.images == {}
    assert found.heavy_runner == settings.HeavyRunner()
    assert (found.heavy_runner.cpu, found.heavy_runner.memory_gib) == (8, 32)
    assert (found.heavy_runner.task_timeout_s, found.heavy_runner.script_timeout_s) == (1_800, 1_740)
    assert found.retention.expire_after_days == 30


def test_defaults_of_the_feature_pipeline_are_those_of_its_contract() -> None:
    found = load(feature_pipeline=FEATURES).feature_pipeline
    assert found is not None
    assert found.contract("acme").to_env() == {
        "FEATURES_PROJECT": "acme",
        "FEATURES_FEATURES_DATASET": "features",
        "FEATURES_RAW_DATASET": "lake.prices",
        "FEATURES_OUTPUT_BUCKET": "later",
        "FEATURES_STAGING_BUCKET": "later",
    }
    assert (found.cpu, found.memory_gib, found.task_timeout_s, found.scratch) == (4, 12, 7_200, "memory")
    assert len(found.pairs) == 26


def test_what_the_feature_pipeline_is_told_reaches_the_contract() -> None:
    told = {"horizons": [5, 10], "pairs": ["eurusd"], "workers": 3, "missing_allowed": ["t"], "key_column": "at"}
    found = load(feature_pipeline=FEATURES | told).feature_pipeline
    assert found is not None
    env = found.contract("acme")
    assert (env.horizons, env.pairs, env.workers, env.missing_allowed, env.key_column) == (
        (5, 10),
        ("eurusd",),
        3,
        ("t",),
        "at",
    )


def test_what_a_fanout_leaves_out_is_for_the_component_to_choose() -> None:
    found = load(batch_fanout={"stage_b": {"memory_mib": 16_384}, "env": {"FANOUT_FORMAT": "json"}})
    assert found.batch_fanout is not None
    known = {"image": PIN, "bucket": "own", "index_bucket": "own"}
    args = wiring.fanout_args(found, found.batch_fanout, known)
    assert args["stage_b"] == {"memory_mib": 16_384}
    assert args["bucket"] == "own"
    assert args["env"] == {"FANOUT_FORMAT": "json"}
    assert not {"stage_a", "github_secret", "network", "alert", "poll_s"} & set(args)
    other = wiring.fanout_args(found, replace(found.batch_fanout, bucket="there"), known)
    assert (other["bucket"], other["index_bucket"]) == ("there", "own")


def test_a_system_that_is_not_named_is_not_deployed() -> None:
    start()
    configure({key: value for key, value in GOOD.items() if key != "longhaul:heavy_runner"})
    assert settings.load().heavy_runner is None


def test_everything_can_be_said() -> None:
    found = load(
        deletion_protection=False,
        force_destroy=True,
        labels={"cost-center": "r"},
        operators={"team": "group:t@example.com"},
        registry="127.0.0.1:8477",
        images={"heavy_runner": PIN},
        image_readers={"prod": "serviceAccount:a@example.com"},
        build={"base_image": "base", "network": "host"},
        retention={"kept_digests": ["sha256:" + "5e" * 32]},
        endpoints={"storage": "http://127.0.0.1:1", "run": "http://127.0.0.1:2"},
        heavy_runner={"cpu": 4, "memory_gib": 0.5, "sandbox": {"max_rows": 10}, "env": {"log_live_mib": 1}},
    )
    assert found.registry_host == "127.0.0.1:8477"
    assert found.retention.kept_digests == ("sha256:" + "5e" * 32,)
    assert found.endpoints_of("storage").to_env() == {"LONGHAUL_STORAGE_ENDPOINT": "http://127.0.0.1:1"}
    assert found.heavy_runner is not None
    assert (found.heavy_runner.sandbox.max_rows, found.heavy_runner.env.log_live_mib) == (10, 1)
    assert isinstance(load(heavy_runner={"memory_gib": 16}).heavy_runner.memory_gib, float)  # type: ignore[union-attr]  # it was given


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heavy_runer": {}}, "longhaul:heavy_runer: key must be one of batch_fanout, build, deletion_protection, "),
        (
            {"heavy_runer": "not JSON"},
            "longhaul:heavy_runer: key must be one of batch_fanout, build, deletion_protection, ",
        ),
        ({"project": '"x"'}, "longhaul:project: key must be one of batch_fanout, build, "),
        ({"heavy_runner": {"cpus": 8}}, "longhaul:heavy_runner.cpus: key must be one of cpu, env, max_retries, "),
        ({"heavy_runner": {"env": {"chunk": 1}}}, "longhaul:heavy_runner.env.chunk: key must be one of "),
        ({"heavy_runner": {"env": {"image": PIN}}}, "longhaul:heavy_runner.env.image: key must be one of "),
        ({"heavy_runner": []}, "longhaul:heavy_runner: value must be a map, got []"),
        ({"heavy_runner": {"cpu": "8"}}, "longhaul:heavy_runner.cpu: value must be of type int, got '8'"),
        ({"heavy_runner": {"cpu": True}}, "longhaul:heavy_runner.cpu: value must be of type int, got True"),
        ({"heavy_runner": {"memory_gib": "32Gi"}}, "longhaul:heavy_runner.memory_gib: value must be of type float"),
        (
            {"heavy_runner": {"script_timeout_s": 30}},
            "longhaul:heavy_runner: script_timeout_s must be 60..1,740 s, got 30",
        ),
        ({"heavy_runner": {"script_timeout_s": 1_750}}, "longhaul:heavy_runner: script_timeout_s must be 60..1,740 s"),
        ({"heavy_runner": {"env": {"log_live_mib": 0}}}, "longhaul:heavy_runner.env: log_live_mib: must be 1 to 1,024"),
        (
            {"heavy_runner": {"sandbox": {"memory_gib": 0}}},
            "longhaul:heavy_runner.sandbox: memory_gib must be 0.5..512",
        ),
        ({"feature_pipeline": {"raw_dataset": "r"}}, "longhaul:feature_pipeline.features_dataset: key must be set"),
        ({"feature_pipeline": FEATURES | {"scratch": "tape"}}, "longhaul:feature_pipeline: scratch: must be one of"),
        ({"feature_pipeline": FEATURES | {"pairs": []}}, "longhaul:feature_pipeline: pairs must be one or more"),
        ({"feature_pipeline": FEATURES | {"pairs": ["EURUSD"]}}, "longhaul:feature_pipeline: pair: must be six"),
        ({"feature_pipeline": FEATURES | {"horizons": [1.5]}}, "longhaul:feature_pipeline.horizons: value must be a l"),
        ({"feature_pipeline": FEATURES | {"horizons": [0]}}, "longhaul:feature_pipeline: horizons: must be one or mo"),
        ({"feature_pipeline": FEATURES | {"workers": 65}}, "longhaul:feature_pipeline: workers: must be 0 to 64"),
        ({"feature_pipeline": FEATURES | {"staging_days": 0}}, "longhaul:feature_pipeline: staging_days must be 1.."),
        ({"feature_pipeline": FEATURES | {"schedule": {}}}, "longhaul:feature_pipeline.schedule.cron: key must be set"),
        ({"feature_pipeline": FEATURES | {"policy_extra": "keep"}}, "longhaul:feature_pipeline: policy_extra: must be"),
        (
            {"batch_fanout": {"stage_b": {"cpu": 2}}},
            "longhaul:batch_fanout.stage_b.cpu: key must be one of boot_disk_gib, ",
        ),
        ({"batch_fanout": {"network": {"network": "n"}}}, "longhaul:batch_fanout.network.subnetwork: key must be set"),
        ({"retention": {"expire_after_days": 0}}, "longhaul:retention: expire_after_days must be 1..3,650 days, got 0"),
        ({"retention": {"keep_versions": 0}}, "longhaul:retention: keep_versions must be 1..1,000 versions, got 0"),
        ({"retention": {"untagged_after_days": 0}}, "longhaul:retention: untagged_after_days must be 1..3,650"),
        ({"retention": {"kept_digests": "x"}}, "longhaul:retention.kept_digests: value must be a list of strings"),
        ({"retention": {"kept_digests": ["x"]}}, "longhaul:retention: kept_digests must be sha256:DIGEST, got 'x'"),
        ({"deletion_protection": '"yes"'}, "longhaul:deletion_protection: value must be of type bool, got 'yes'"),
        ({"force_destroy": True}, "longhaul:force_destroy must be false while deletion_protection is true, got true"),
        ({"operators": {"team": "t@example.com"}}, "longhaul:operators.team must be user:, group:, serviceAccount:"),
        ({"operators": {"The Team": "group:t@x"}}, "longhaul:operators must be user:, group:, serviceAccount:"),
        ({"operators": {"team": 1}}, "longhaul:operators: value must be a map of strings, got {'team': 1}"),
        ({"labels": {"Cost": "r"}}, "longhaul:labels must be 1..63 lower-case letters"),
        (
            {"images": {"heavy_runer": PIN}},
            "longhaul:images must be HOST/PATH@sha256:DIGEST by batch_fanout, feature_pipeline, heavy_runner, got",
        ),
        ({"images": {"heavy_runner": "r:latest"}}, "longhaul:images.heavy_runner must be HOST/PATH@sha256:DIGEST"),
        ({"endpoints": {"storag": "http://h"}}, "longhaul:endpoints must be http://HOST:PORT by storage, "),
        ({"endpoints": {"storage": "http://h/v1/"}}, "longhaul:endpoints.storage must be http://HOST:PORT by"),
    ],
)
def test_what_is_wrong_is_refused_by_its_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        load(**changes)


def test_a_secret_is_refused_without_being_shown() -> None:
    start()
    values = {key: json.dumps(value) for key, value in {**GOOD, "longhaul:registry": "hunter2"}.items()}
    pulumi.runtime.set_all_config(values, secret_keys=["longhaul:registry"])
    with pytest.raises(ValueError, match="longhaul:registry: value must be plain, got a secret") as error:
        settings.load()
    assert "hunter2" not in str(error.value)


def test_an_error_is_shown_without_a_traceback() -> None:
    with pytest.raises(pulumi.RunError):
        load(heavy_runner={"cpu": "8"})


@pytest.mark.parametrize("key", ["gcp:project", "gcp:region"])
def test_a_missing_key_of_the_provider_is_refused(key: str) -> None:
    start()
    configure({name: value for name, value in GOOD.items() if name != key})
    with pytest.raises(pulumi.ConfigMissingError, match=key):
        settings.load()


@pytest.mark.parametrize("key", ["deletion_protection", "operators"])
def test_a_missing_key_of_ours_is_refused(key: str) -> None:
    start()
    configure({name: value for name, value in GOOD.items() if name != f"longhaul:{key}"})
    with pytest.raises(ValueError, match=f"longhaul:{key}: key must be set, got none"):
        settings.load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"longhaul:heavy_runner": {"cpu": 4}}, "longhaul:heavy_runner: memory_gib must be 2..16 GiB with 4 vCPU"),
        ({"longhaul:heavy_runner": {"max_retries": 11}}, "longhaul:heavy_runner: max_retries must be 0..10 retries"),
        (
            {"longhaul:batch_fanout": {"max_parallelism": 5_001}},
            "longhaul:batch_fanout: max_parallelism must be 1..5",
        ),
        (
            {"longhaul:batch_fanout": {"stage_b": {"memory_mib": 1}}},
            "longhaul:batch_fanout: stage_b: memory_mib must be 128..4e+06 MiB, got 1",
        ),
        (
            {"longhaul:batch_fanout": {"env": {"FANOUT_FORMAT": "xml"}}},
            "longhaul:batch_fanout: env must be what the tasks accept, got FANOUT_FORMAT: must be pickle or json",
        ),
        ({"gcp:region": "mars-west1"}, "gcp:region: location must be one of africa-south1, "),
    ],
)
def test_what_the_platform_forbids_is_refused_before_the_first_resource(changes: dict[str, Any], message: str) -> None:
    cloud = start()
    configure({**GOOD, **changes})
    with pytest.raises(ValueError, match=re.escape(message)):
        run(lambda: stack.deploy(settings.load()))
    assert cloud.resources == {}


def test_the_stack_sets_fields_that_the_contract_has() -> None:
    assert {item.name for item in fields(HeavyRunnerEnv)} > SET_BY_STACK


SERVICE_OF_KEY = {
    "artifactRegistry": "artifact_registry",
    "bigQuery": "bigquery",
    "cloudBilling": "billing",
    "cloudRunV2": "run",
    "iamBeta": "iam",
    "logging": "logging",
    "resourceManager": "resource_manager",
    "secretManager": "secret_manager",
    "serviceUsage": "service_usage",
    "storage": "storage",
    "workflows": "workflows",
}


UNPROVIDED = {"batch", "bigquery_storage", "metadata", "workflow_executions"}
"""Services that the provider does not call."""


def test_the_local_stack_points_provider_and_program_at_the_same_ports() -> None:
    found = configuration("local")
    ours = {service: urlsplit(url).netloc for service, url in found["longhaul:endpoints"].items()}
    providers = {
        SERVICE_OF_KEY[key.removeprefix("gcp:").removesuffix("CustomEndpoint")]: urlsplit(url).netloc
        for key, url in found.items()
        if key.endswith("CustomEndpoint")
    }
    assert providers == {service: address for service, address in ours.items() if service not in UNPROVIDED}
    assert len(set(ours.values())) == len(ours)
    assert {address.partition(":")[0] for address in [*ours.values(), found["longhaul:registry"]]} == {"127.0.0.1"}


def test_the_providers_endpoints_end_as_it_demands() -> None:
    for key, url in configuration("local").items():
        if key.endswith("CustomEndpoint"):
            # without the slash at the end the provider refuses to start
            assert re.search(r".*/[^/]+/$", url), key
