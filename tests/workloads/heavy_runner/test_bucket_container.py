"""The container with everything in a bucket: real table, real model, identity from a metadata server."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gcs_support import BUCKET, Answer, Script, object_server, scripted_server, store
from heavy_support import ROOT, Engine

from examples.flights.make_data import ROWS, write_flights
from workloads.common.contract import RunIndex, index_object
from workloads.common.gcs import GcsStore
from workloads.common.storage import Transfer
from workloads.heavy_runner.contract import dataset_object, request_document, request_object, script_object

pytestmark = pytest.mark.container
ROOT_URI = f"gs://{BUCKET}"


class Cloud:
    """An object server, a metadata server, and our client for the former."""

    def __init__(self, url: str, metadata: str, asked: Script) -> None:
        self.url, self.metadata, self.asked = url, metadata, asked
        self.client: GcsStore = store(url)

    def put(self, name: str, data: bytes) -> None:
        self.client.write(f"{ROOT_URI}/{name}", data)

    def put_file(self, name: str, path: Path) -> None:
        with path.open("rb") as source:
            self.client.upload(source.fileno(), f"{ROOT_URI}/{name}", Transfer())

    def get(self, name: str) -> bytes:
        blob = self.client.stat(f"{ROOT_URI}/{name}")
        return self.client.read(blob, blob.size)

    def json(self, name: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.get(name))
        return loaded


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    def token(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        return 200, {}, json.dumps({"access_token": "of-the-task", "expires_in": 3_600}).encode()

    asked = Script(token)
    with object_server(tmp_path_factory.mktemp("objects")) as url, scripted_server(asked) as metadata:
        yield Cloud(url, metadata.removeprefix("http://"), asked)


def run(engine: Engine, image: str, cloud: Cloud, run_id: str, execution: str) -> tuple[int, list[dict[str, Any]]]:
    env = {
        "INPUT_URI": f"{ROOT_URI}/{request_object(run_id)}",
        "HEAVY_RUNNER_BUCKET": BUCKET,
        "LONGHAUL_STORAGE_ENDPOINT": cloud.url,
        "GCE_METADATA_HOST": cloud.metadata,
        "CLOUD_RUN_JOB": "heavy",
        "CLOUD_RUN_EXECUTION": execution,
    }
    pairs = [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
    seal = ["--read-only", "--tmpfs", "/tmp", "-m", "2g", "--memory-swap", "2g"]
    name = f"lh-heavy-{uuid.uuid4().hex[:8]}"
    try:
        done = engine("run", "--name", name, "--network", "host", *seal, *pairs, image, check=False, timeout=240)
    finally:
        engine("rm", "--force", name, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_model_of_336776_flights_from_bucket_to_bucket(
    engine: Engine, image: str, cloud: Cloud, tmp_path: Path
) -> None:
    write_flights(tmp_path / "flights.csv")
    cloud.put_file(dataset_object("flights"), tmp_path / "flights.csv")
    cloud.put_file(script_object("flights"), ROOT / "examples" / "flights" / "ml_script.py")
    names = ["data/metrics.json", "data/scored_rows.csv", "data/alignment_check.json"]
    document = request_document("flights", ROOT_URI, required_outputs=names, safe_mode=True)
    cloud.put(request_object("flights"), json.dumps(document).encode())

    code, records = run(engine, image, cloud, "flights", "heavy-abc")

    assert code == 0, records
    status, record = cloud.json("outputs/flights/status.json"), cloud.json("outputs/flights/run_metadata.json")
    assert (status["state"], status["execution"], record["runtime"]) == ("SUCCEEDED", "heavy-abc", "container")
    assert cloud.json("outputs/flights/data/alignment_check.json")["passed"] is True
    metrics = cloud.json("outputs/flights/data/metrics.json")
    assert (metrics["rows"], metrics["folds"]) == (ROWS, 2)
    assert metrics["cv_mean"]["r2"] > 0.8
    assert cloud.get("outputs/flights/data/scored_rows.csv").count(b"\n") == ROWS + 1
    assert b"336,776 rows" in cloud.get("outputs/flights/artifacts/execution_log.txt")
    assert record["details"]["resources"]["supervisor_peak_mib"] < 128
    assert record["cost_usd"] > 0
    assert [asked[1] for asked in cloud.asked.seen] == ["/computeMetadata/v1/instance/service-accounts/default/token"]

    index = RunIndex.from_json(cloud.get(index_object("heavy", "flights")))
    assert index.platform == {"execution": "heavy-abc"}
    before = cloud.get("outputs/flights/status.json")
    code, records = run(engine, image, cloud, "flights", "heavy-second")
    assert code == 2
    assert "held by heavy-abc" in records[-1]["message"]
    assert cloud.get("outputs/flights/status.json") == before


def test_request_that_is_not_there_fails_beside_where_it_should_be(engine: Engine, image: str, cloud: Cloud) -> None:
    code, _ = run(engine, image, cloud, "nothing", "heavy-x")
    error = cloud.json("outputs/nothing/error.json")
    assert (code, error["code"]) == (2, "request_unreadable")
    assert cloud.json("outputs/nothing/status.json")["state"] == "FAILED"
