from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from gcs_support import BUCKET, object_server, store

from workloads.common.contract import RunIndex, RunStart, Task, index_object
from workloads.common.run_index import HeldByOther, claim
from workloads.common.storage import Storage


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with object_server(tmp_path_factory.mktemp("objects")) as url:
        yield Storage(lambda deadline: store(url, deadline=deadline))


def start(storage: Storage, run_id: str, token: str = "", execution: str = "") -> RunIndex:
    return claim(
        storage,
        BUCKET,
        system="heavy",
        run_id=run_id,
        start=RunStart(token=token, started_by="user:me"),
        task=Task(execution=execution),
        output_uri="gs://out/",
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_start_with_the_token_of_the_index_goes_ahead(storage: Storage) -> None:
    uri = f"gs://{BUCKET}/{index_object('heavy', 'by-ops')}"
    written = RunIndex(system="heavy", run_id="by-ops", start_token="t1", started_by="user:x", started_at="then")
    storage.at(uri).write(uri, written.to_json(), if_generation=0)
    assert start(storage, "by-ops", token="t1", execution="e1").started_by == "user:x"
    with pytest.raises(
        HeldByOther, match="run_id by-ops was started by user:x at then and is held by an execution not"
    ):
        start(storage, "by-ops", token="t2")
    with pytest.raises(HeldByOther):
        start(storage, "by-ops", execution="e2")


def test_start_without_an_index_writes_it_and_its_retry_goes_ahead(storage: Storage) -> None:
    first = start(storage, "by-gcloud", execution="e1")
    assert first.platform == {"execution": "e1"}
    assert start(storage, "by-gcloud", execution="e1") == first
    with pytest.raises(HeldByOther, match="held by e1; choose another run_id, or start it with --force"):
        start(storage, "by-gcloud", execution="e2")


def test_two_starts_without_any_name_do_not_both_go_ahead(storage: Storage) -> None:
    start(storage, "nameless")
    with pytest.raises(HeldByOther):
        start(storage, "nameless")
