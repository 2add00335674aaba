"""The image: its user, its entry point, and three stages of real simulations on a real object server."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fanout_support import PLACE, records, stage_env
from gcs_support import BUCKET, Answer, Script, object_server, scripted_server, store
from heavy_support import Engine, build_image, find_engine

from workloads.batch_fanout.contract import DEFAULT_MODEL

TAG = "longhaul-test/batch-fanout"
SEALED = ["--rm", "--network", "host", "--read-only", "--tmpfs", "/tmp"]

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
        return build_image(engine, "batch_fanout", TAG)
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def name(engine: Engine) -> Iterator[str]:
    made = f"lh-fanout-{uuid.uuid4().hex[:8]}"
    yield made
    engine("rm", "--force", made, check=False)


def test_it_runs_as_nobody_special_and_has_git(engine: Engine, image: str, name: str) -> None:
    done = engine("run", "--name", name, *SEALED, "--entrypoint", "sh", image, "-c", "id -u; git --version")
    uid, version = done.stdout.splitlines()
    assert (uid, version.split()[0]) == ("10001", "git")


def test_without_settings_it_says_which_and_exits_2(engine: Engine, image: str, name: str) -> None:
    done = engine("run", "--name", name, *SEALED, image, "run", check=False)
    assert done.returncode == 2
    assert "GCS_BUCKET: must not be empty" in records(done.stdout)[-1]["message"]


def test_three_stages_in_a_bucket(engine: Engine, image: str, name: str, tmp_path: Path) -> None:
    def metadata(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        return 200, {}, json.dumps({"access_token": "t", "expires_in": 3600}).encode()

    with object_server(tmp_path) as objects, scripted_server(Script(metadata)) as google:

        def run(stage: str, *arguments: str, **more: str) -> None:
            env = stage_env(Path("/"), stage, bucket=BUCKET, model=DEFAULT_MODEL).to_env()
            values = {"GCE_METADATA_HOST": google.removeprefix("http://"), "LONGHAUL_STORAGE_ENDPOINT": objects}
            given = [f"--env={key}={value}" for key, value in {**values, **env, **more}.items()]
            done = engine("run", "--name", name, *SEALED, *given, image, *arguments, check=False)
            assert done.returncode == 0, done.stdout + done.stderr

        run("a", "dispatch", "--count", "2", "--seed", "1")
        for index in ("0", "1", "1"):
            run("b", "run", BATCH_TASK_INDEX=index)
        run("c", "gather")
        uri = f"gs://{BUCKET}/{PLACE.outputs}"
        client = store(objects)
        summary = client.stat(f"{uri}gather.json")
        found = json.loads(client.read(summary, summary.size))
        assert (found["found"], found["rows"]) == (2, 360)
        picture = client.stat(f"{uri}curves.png")
        assert client.read(picture, 8) == b"\x89PNG\r\n\x1a\n"
        listed = httpx.get(f"{objects}/storage/v1/b/{BUCKET}/o", params={"prefix": PLACE.results}).json()["items"]
        assert [item["name"].rpartition("/")[2] for item in listed] == ["result_0000.pkl", "result_0001.pkl"]
