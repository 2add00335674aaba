"""The image: its user, its entry point, its identity, and a final state in the bucket whatever happens."""

import json
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from features_support import PAIR
from gcs_support import BUCKET, Answer, Script, object_server, problem, scripted_server, store
from heavy_support import Engine, build_image, find_engine

from workloads.feature_pipeline.contract import records_prefix

TAG = "longhaul-test/feature-pipeline"

pytestmark = pytest.mark.container


@pytest.fixture(scope="module")
def engine() -> Engine:
    try:
        return find_engine()
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="module")
def image(engine: Engine) -> str:
    try:
        return build_image(engine, "feature_pipeline", TAG)
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def name(engine: Engine) -> Iterator[str]:
    made = f"lh-features-{uuid.uuid4().hex[:8]}"
    yield made
    engine("rm", "--force", made, check=False)


SEALED = ["--rm", "--network", "host", "--read-only", "--tmpfs", "/tmp"]


def test_without_settings_it_says_which_and_exits_2(engine: Engine, image: str, name: str) -> None:
    done = engine("run", "--name", name, *SEALED, image, check=False)
    assert done.returncode == 2
    record = json.loads(done.stdout)
    assert record["severity"] == "ERROR"
    assert "FEATURES_OUTPUT_BUCKET: must be set" in record["message"]


def test_it_runs_as_nobody_special_and_merges(engine: Engine, image: str, name: str) -> None:
    code = (
        "import json, os, pathlib, subprocess, sys, pyarrow as pa\n"
        "from workloads.feature_pipeline import checkpoint\n"
        "t = pa.table({'k': pa.array(range(20000)), 'v': pa.array([0.5] * 20000)})\n"
        "p = pathlib.Path('/tmp')\n"
        "checkpoint.write(t, 'k', p / 'a.parquet'); checkpoint.write(t.slice(5), 'k', p / 'b.parquet')\n"
        "r = {'key': 'k', 'output': '/tmp/o.parquet', 'sources': [{'table': n, 'path': f'/tmp/{n}.parquet'} for n in 'ab']}\n"
        "d = subprocess.run([sys.executable, '-m', 'workloads.feature_pipeline.merge'], input=json.dumps(r), text=True,"
        " capture_output=True)\n"
        "print(json.dumps({'uid': os.getuid(), **json.loads(d.stdout.splitlines()[-1])['result']}))\n"
    )
    done = engine("run", "--name", name, *SEALED, "-m", "400m", "--entrypoint", "python", image, "-c", code)
    found = json.loads(done.stdout)
    assert (found["uid"], found["rows"], found["columns"], list(found["recoded"])) == (10001, 20_000, 3, ["b"])


def test_a_refusal_of_bigquery_ends_in_the_bucket(engine: Engine, image: str, name: str, tmp_path: Path) -> None:
    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if path.startswith("/computeMetadata/v1/instance/service-accounts/default/token"):
            return 200, {}, json.dumps({"access_token": "t", "expires_in": 3600}).encode()
        return problem(403, "Access Denied: no bigquery.jobs.create")

    script = Script(answer)
    with object_server(tmp_path) as storage, scripted_server(script) as google, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        host = google.removeprefix("http://")
        values = {
            "CLOUD_RUN_JOB": "features",
            "CLOUD_RUN_EXECUTION": "features-abc",
            "GCE_METADATA_HOST": host,
            "LONGHAUL_STORAGE_ENDPOINT": storage,
            "LONGHAUL_BIGQUERY_ENDPOINT": google,
            "LONGHAUL_BIGQUERY_STORAGE_ENDPOINT": f"http://127.0.0.1:{closed.getsockname()[1]}",
            "FEATURES_PROJECT": "p",
            "FEATURES_FEATURES_DATASET": "features",
            "FEATURES_RAW_DATASET": "raw",
            "FEATURES_OUTPUT_BUCKET": BUCKET,
            "FEATURES_STAGING_BUCKET": BUCKET,
            "TARGET_PAIR": PAIR,
        }
        pairs = [word for key, value in values.items() for word in ("-e", f"{key}={value}")]
        done = engine("run", "--name", name, *SEALED, "-m", "1g", *pairs, image, check=False)
        assert done.returncode == 2, done.stdout + done.stderr
        uri = f"gs://{BUCKET}/{records_prefix(PAIR, 'features-abc')}"
        found = {}
        for part in ("status.json", "run_metadata.json"):
            blob = store(storage).stat(f"{uri}{part}")
            found[part] = json.loads(store(storage).read(blob, blob.size))
    assert found["status.json"]["error_code"] == "permission_denied"
    assert "Access Denied" in found["status.json"]["message"]
    assert found["run_metadata.json"]["runtime"] == "container"
    asked = [headers for _, path, headers, _ in script.seen if path.startswith("/bigquery")]
    assert {headers.get("authorization") or headers.get("Authorization") for headers in asked} == {"Bearer t"}
