"""Lifecycle rules one by one, on a cloud in this process whose clock the test holds."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud.cloud import Cloud
from localcloud.identity import Principal
from localcloud.settings import Settings
from localcloud.storage.engine import Target
from localcloud.storage.server import Server

DAY_S = 86_400
OWNER = Principal("user:deployer@longhaul.local")


class Lab:
    """Objects of the bucket `lab`, written and swept without HTTP."""

    def __init__(self, state: Path) -> None:
        self.cloud = Cloud(Settings(state=state))
        self.server = Server(self.cloud)
        self.storage = self.server.storage

    def bucket(self, *rules: dict[str, Any], **fields: Any) -> None:
        now = self.storage.catalogue.now()
        self.storage.catalogue.put_bucket(
            {
                "name": "lab",
                "project": "longhaul-local",
                "storageClass": "STANDARD",
                "metageneration": "1",
                "timeCreated": now,
                "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}},
                "lifecycle": {"rule": list(rules)},
                **fields,
            }
        )

    async def put(self, name: str, **given: Any) -> None:
        writer = self.storage.blobs.create()
        await writer.write(b"x")
        target = Target(bucket="lab", name=name, principal=OWNER, given=given)
        self.storage.commit(target, await writer.finish())

    def pass_days(self, days: float) -> None:
        self.cloud.clock.move(self.cloud.clock.offset_s + days * DAY_S)

    def live(self) -> list[str]:
        return [record["name"] for _, record in self.storage.catalogue.scan("storage.object", "lab")]

    def old(self) -> list[str]:
        return [record["name"] for _, record in self.storage.catalogue.scan("storage.version", "lab")]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "state")
    yield made
    made.storage.blobs.close()
    made.cloud.close()


def delete(**condition: Any) -> dict[str, Any]:
    return {"action": {"type": "Delete"}, "condition": condition}


@pytest.mark.parametrize(
    ("condition", "left"),
    [
        ({"age": 0}, []),
        ({"age": 3}, ["a.csv", "b.txt", "c.csv"]),
        ({"age": 2}, ["c.csv"]),
        ({"age": 2, "matchesSuffix": [".csv"]}, ["b.txt", "c.csv"]),
        ({"matchesPrefix": ["b", "c"]}, ["a.csv"]),
        ({"matchesStorageClass": ["NEARLINE"]}, ["a.csv", "c.csv"]),
        ({"createdBefore": "1999-01-01"}, ["a.csv", "b.txt", "c.csv"]),
        ({"createdBefore": "2999-01-01"}, []),
        ({"daysSinceCustomTime": 1}, ["b.txt", "c.csv"]),
        ({"customTimeBefore": "2001-01-01"}, ["b.txt", "c.csv"]),
        ({"isLive": False}, ["a.csv", "b.txt", "c.csv"]),
        ({"numNewerVersions": 0}, ["a.csv", "b.txt", "c.csv"]),
        ({"neverHeardOf": 1, "age": 0}, ["a.csv", "b.txt", "c.csv"]),
    ],
)
def test_a_rule_deletes_what_meets_all_its_conditions(lab: Lab, condition: dict[str, Any], left: list[str]) -> None:
    async def run() -> None:
        lab.bucket(delete(**condition))
        await lab.put("a.csv", customTime="2000-01-01T00:00:00Z")
        await lab.put("b.txt", storageClass="NEARLINE")
        lab.pass_days(2.5)
        await lab.put("c.csv")
        await lab.server.lifecycle.sweep()

    asyncio.run(run())
    assert lab.live() == left


def test_noncurrent_versions_go_by_number_and_age(lab: Lab) -> None:
    async def run() -> None:
        lab.bucket(delete(numNewerVersions=2), versioning={"enabled": True})
        for _ in range(5):
            await lab.put("a")
        await lab.server.lifecycle.sweep()
        assert lab.old() == ["a"]
        lab.bucket(delete(daysSinceNoncurrentTime=7), versioning={"enabled": True})
        await lab.server.lifecycle.sweep()
        assert lab.old() == ["a"]
        lab.pass_days(8)
        await lab.server.lifecycle.sweep()

    asyncio.run(run())
    assert (lab.live(), lab.old()) == (["a"], [])


def test_a_live_object_of_a_versioned_bucket_becomes_noncurrent(lab: Lab) -> None:
    async def run() -> None:
        lab.bucket(delete(age=1, isLive=True), versioning={"enabled": True})
        await lab.put("a")
        lab.pass_days(2)
        await lab.server.lifecycle.sweep()

    asyncio.run(run())
    assert (lab.live(), lab.old()) == ([], ["a"])


def test_delete_wins_over_a_change_of_class_and_a_hold_over_both(lab: Lab) -> None:
    async def run() -> None:
        lab.bucket(
            {"action": {"type": "SetStorageClass", "storageClass": "ARCHIVE"}, "condition": {"age": 1}}, delete(age=1)
        )
        await lab.put("a")
        await lab.put("held", temporaryHold=True)
        lab.pass_days(1)
        await lab.server.lifecycle.sweep()

    asyncio.run(run())
    assert lab.live() == ["held"]


def test_a_change_of_class_is_made_once(lab: Lab) -> None:
    async def run() -> None:
        lab.bucket({"action": {"type": "SetStorageClass", "storageClass": "ARCHIVE"}, "condition": {"age": 1}})
        await lab.put("a")
        lab.pass_days(1)
        assert [await lab.server.lifecycle.sweep() for _ in range(2)] == [1, 0]

    asyncio.run(run())
    record = lab.storage.catalogue.live("lab", "a")
    assert record is not None
    assert (record["storageClass"], record["metageneration"]) == ("ARCHIVE", "2")


def test_uploads_nobody_finished_end_after_a_week(lab: Lab) -> None:
    async def run() -> None:
        lab.bucket()
        target = Target(bucket="lab", name="a", principal=OWNER)
        upload_id = lab.server.sessions.open(target, {}, None)
        writer = await lab.server.sessions.writer(upload_id, lab.server.sessions.get(upload_id))
        await writer.write(b"x")
        await writer.flush()
        await lab.server.lifecycle.sweep()
        assert lab.server.sessions.open_blobs()
        lab.pass_days(7.1)
        await lab.server.lifecycle.sweep()
        assert not lab.server.sessions.open_blobs()

    asyncio.run(run())
    lab.storage.blobs.close()
    assert not [path for path in (lab.cloud.settings.state / "storage").rglob("*") if path.is_file()]


def test_what_a_failed_write_would_have_replaced_is_still_there(lab: Lab) -> None:
    def fail(record: dict[str, Any]) -> None:
        raise RuntimeError("no further document")

    async def run() -> None:
        lab.bucket()
        await lab.put("a")
        before = lab.storage.catalogue.live("lab", "a")
        writer = lab.storage.blobs.create()
        await writer.write(b"new")
        content = await writer.finish()
        with pytest.raises(RuntimeError):
            lab.storage.commit(Target(bucket="lab", name="a", principal=OWNER), content, also=fail)
        assert lab.storage.catalogue.live("lab", "a") == before

    asyncio.run(run())
    lab.storage.blobs.close()
    record = lab.storage.catalogue.live("lab", "a")
    assert record is not None
    assert lab.storage.blobs.path(record["blob"]).read_bytes() == b"x"
    assert len([path for path in (lab.cloud.settings.state / "storage").rglob("*") if path.is_file()]) == 1


def test_files_that_no_object_names_go_at_the_next_start(lab: Lab) -> None:
    async def run() -> None:
        lab.bucket()
        await lab.put("a")
        orphan = lab.storage.blobs.create()
        await orphan.write(b"x")
        await orphan.finish()
        half = lab.storage.blobs.create()
        await half.write(b"x")
        await half.flush()
        await half.close()
        await lab.server.lifecycle.start()
        await lab.server.lifecycle.stop()

    asyncio.run(run())
    files = [path.name for path in (lab.cloud.settings.state / "storage").rglob("*") if path.is_file()]
    record = lab.storage.catalogue.live("lab", "a")
    assert record is not None
    assert files == [record["blob"]]
