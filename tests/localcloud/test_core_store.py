import asyncio
import os
from pathlib import Path

import pytest

from localcloud import daemon, settings
from localcloud.clock import Clock
from localcloud.errors import ApiError
from localcloud.faults import Faults, FaultSettings
from localcloud.identity import Tokens
from localcloud.operations import Operations
from localcloud.store import SchemaError, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state.sqlite3")


def test_documents_are_listed_in_order_by_prefix_and_page(store: Store) -> None:
    for name in ("b/2", "a/1", "a/2", "a/10", "ab"):
        store.put("thing", name, {"n": name})
    store.put("other", "a/3", {})
    assert [name for name, _ in store.list("thing", "a/")] == ["a/1", "a/10", "a/2"]
    assert [name for name, _ in store.list("thing", "a/", start_after="a/1", limit=1)] == ["a/10"]
    assert store.get("thing", "a/2") == {"n": "a/2"}
    assert store.get("thing", "zz") is None
    assert (store.delete("thing", "ab"), store.delete("thing", "ab")) == (True, False)


def test_a_transaction_is_all_or_nothing_also_when_nested(store: Store) -> None:
    def half() -> None:
        with store.transaction():
            store.put("thing", "a", {})
            with store.transaction():
                store.put("thing", "b", {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert store.list("thing") == []


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    store.db.execute("PRAGMA user_version=99")
    store.close()
    with pytest.raises(SchemaError, match="schema version must be 1, got 99"):
        Store(tmp_path / "s")


def test_a_state_directory_belongs_to_one_process(tmp_path: Path) -> None:
    held = daemon.lock_state(tmp_path)
    with pytest.raises(daemon.StateInUse, match=f"in use by process {os.getpid()}"):
        daemon.lock_state(tmp_path)
    held.close()
    daemon.lock_state(tmp_path).close()


def test_tokens_are_verified_and_expire() -> None:
    clock = Clock(source=lambda: 1000.0)
    tokens = Tokens(b"k" * 32, clock)
    token = tokens.mint("user:a@b.c", 60)
    assert tokens.verify(token).member == "user:a@b.c"
    for bad in (
        token[:-2],
        token.replace("ya29.local.", "ya29.local.A"),
        "ya29.local.",
        Tokens(b"x" * 32, clock).mint("user:a@b.c"),
    ):
        with pytest.raises(ApiError) as caught:
            tokens.verify(bad)
        assert caught.value.code == 401
    clock.move(60)
    with pytest.raises(ApiError):
        tokens.verify(token)


def test_a_sleeper_wakes_when_the_clock_is_moved_past_its_time() -> None:
    async def sleep() -> float:
        clock = Clock()
        asleep = asyncio.create_task(clock.sleep(3600))
        await asyncio.sleep(0)
        clock.move(10)
        await asyncio.sleep(0.01)
        assert not asleep.done()
        clock.move(3700)
        await asyncio.wait_for(asleep, 5)
        return clock.offset_s

    assert asyncio.run(sleep()) == 3700


def test_faults_come_at_their_rate_and_repeat_with_the_seed() -> None:
    def run() -> list[int]:
        faults, codes = Faults(FaultSettings(error_rate=0.3, error_codes=(429, 503), seed=7)), []
        for _ in range(200):
            try:
                faults.maybe_fail("run")
                codes.append(200)
            except ApiError as error:
                codes.append(error.code)
        faults.maybe_fail("control")
        return codes

    first = run()
    assert first == run()
    assert 30 < sum(code != 200 for code in first) < 90
    assert set(first) == {200, 429, 503}


@pytest.mark.parametrize(
    "bad",
    [{"error_rate": 2.0}, {"visibility_delay_s": -1.0}, {"error_codes": (418,)}],
)
def test_faults_out_of_range_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        FaultSettings(**bad)  # type: ignore[arg-type]  # what a file could hold


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"colour": 1}, "keys must be of"),
        ({"host": "0.0.0.0"}, "host must be a loopback address"),  # noqa: S104 - that it is refused
        ({"ports": {"run": 1}}, "ports must contain control"),
        ({"ports": {"control": 5, "run": 5}}, "ports must differ"),
        ({"ports": {"control": 0, "mail": 0}}, "ports must name APIs"),
        ({"anonymous": "maybe"}, "anonymous must be owner or deny"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, values: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        settings.from_dict(tmp_path, values)


def test_operations_are_kept_waited_for_and_trimmed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localcloud.operations.KEEP", 5)

    async def use() -> None:
        operations = Operations(store, Clock())
        started = operations.start("run", "projects/p/locations/l", {"target": "x"})
        assert started["done"] is False
        waiting = asyncio.create_task(operations.wait("run", started["name"], 5))
        await asyncio.sleep(0)
        operations.finish("run", started["name"], error=ApiError(404, "NOT_FOUND", "gone"))
        assert (await waiting)["error"] == {"code": 5, "message": "gone"}
        assert (await operations.wait("run", operations.start("run", "projects/p/locations/l")["name"], 0.01))[
            "done"
        ] is False
        for _ in range(30):
            operations.done("run", "projects/p/locations/l", {})
        listed = operations.list("run", "projects/p/locations/l")
        assert len(listed) < 20
        assert sum(not item["done"] for item in listed) == 1
        with pytest.raises(ApiError, match="not found"):
            operations.get("run", "projects/p/locations/l/operations/none")

    asyncio.run(use())
