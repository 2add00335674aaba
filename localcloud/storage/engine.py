"""The objects of the local cloud: what a write, a metadata change and a delete do, whichever API asked for it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from localcloud.clock import parse_rfc3339, rfc3339
from localcloud.identity import Principal
from localcloud.storage import records
from localcloud.storage.access import Access
from localcloud.storage.blobs import Blobs, Content
from localcloud.storage.catalogue import OBJECT, VERSION, Catalogue, Record
from localcloud.storage.conditions import Conditions
from localcloud.storage.problems import held, no_object, retained

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

NO_CONDITIONS = Conditions()


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a write goes, who makes it, and what it expects to find there."""

    bucket: str
    name: str
    principal: Principal
    conditions: Conditions = NO_CONDITIONS
    given: dict[str, Any] = field(default_factory=dict)
    """What the client says about the object: content type, metadata, …"""


class Storage:
    def __init__(self, cloud: "Cloud") -> None:
        self.cloud = cloud
        self.blobs = Blobs(cloud.directory("storage"))
        self.catalogue = Catalogue(cloud.store, cloud.clock)
        self.access = Access(cloud.iam)
        cloud.iam.parent_of("buckets/", self._project_of)
        cloud.parts["storage"] = self

    def _project_of(self, resource: str) -> str | None:
        bucket = self.catalogue.find_bucket(resource.removeprefix("buckets/").partition("/")[0])
        return f"projects/{bucket['project']}" if bucket else None

    # --- reading --------------------------------------------------------------------------------------------------

    def read(
        self,
        principal: Principal,
        bucket: str,
        name: str,
        *,
        generation: int | None = None,
        conditions: Conditions = NO_CONDITIONS,
        permission: str = "storage.objects.get",
    ) -> Record:
        """The object if the caller may see it. Raises ApiError 403, 404, 412, or NotModified."""
        self.catalogue.bucket(bucket)
        found = self.catalogue.find(bucket, name, generation)
        self.access.require(principal, permission, bucket, name)
        if found is None:
            self.access.missing(principal, bucket, name)
            raise no_object(bucket, name)
        conditions.check(found, reading=True)
        return found

    # --- writing --------------------------------------------------------------------------------------------------

    def check_write(self, target: Target) -> Record:
        """The bucket, if a write would be allowed now. Asked before bytes are taken and again when they are there."""
        bucket = self.catalogue.bucket(target.bucket)
        self.access.require(target.principal, "storage.objects.create", target.bucket, target.name)
        existing = self.catalogue.live(target.bucket, target.name)
        if existing is not None:
            self.access.require(target.principal, "storage.objects.delete", target.bucket, target.name)
        target.conditions.check(existing)
        if existing is not None and not versioned(bucket):
            self.check_retention(bucket, existing)
        return bucket

    def commit(
        self,
        target: Target,
        content: Content,
        *,
        parts: int | None = None,
        also: Callable[[Record], None] | None = None,
    ) -> Record:
        """Makes finished bytes the live object, or drops them and raises what forbids it.

        `also` writes further documents in the same transaction. What was replaced is removed only after it: were the process
        to die in between, the old object would still be named.
        """
        try:
            bucket = self.check_write(target)
            made = records.record(
                bucket, target.name, target.given, content,
                generation=self.catalogue.next_generation(), now=self.catalogue.now(), parts=parts,
            )  # fmt: skip
            with self.catalogue.store.transaction():
                freed = self.catalogue.put(made, versioned=versioned(bucket))
                if also is not None:
                    also(made)
        except BaseException:
            self.blobs.drop([content.blob])
            raise
        self.blobs.drop(freed)
        return made

    def change(self, current: Record, changed: Record) -> Record:
        """New metadata of a generation: same generation, next metageneration. Call it in the step that read `current`."""
        changed = {
            **changed,
            "metageneration": str(int(current["metageneration"]) + 1),
            "updated": self.catalogue.now(),
        }
        self.catalogue.replace(changed)
        return changed

    def delete(
        self, principal: Principal, bucket: str, name: str, generation: int | None, conditions: Conditions
    ) -> None:
        """Raises ApiError 403, 404 or 412."""
        home = self.catalogue.bucket(bucket)
        self.access.require(principal, "storage.objects.delete", bucket, name)
        found = self.catalogue.find(bucket, name, generation)
        if found is None:
            self.access.missing(principal, bucket, name)
            raise no_object(bucket, name)
        conditions.check(found)
        self.remove(home, found, for_good=generation is not None)

    def remove(self, bucket: Record, record: Record, *, for_good: bool = False) -> None:
        """`for_good`: the very generation was named, so a versioned bucket does not keep it either."""
        keeps = versioned(bucket) and not for_good and "timeDeleted" not in record
        if not keeps:
            self.check_retention(bucket, record)
        self.blobs.drop(self.catalogue.remove(record, versioned=keeps))

    def check_retention(self, bucket: Record, record: Record) -> None:
        """Raises ApiError 403 for an object under a hold or younger than the bucket's retention period."""
        if record.get("temporaryHold") or record.get("eventBasedHold"):
            raise held(record["bucket"], record["name"])
        period = int(bucket.get("retentionPolicy", {}).get("retentionPeriod", 0))
        until = parse_rfc3339(record["timeCreated"]) + period
        if period and until > self.cloud.clock.now():
            raise retained(record["bucket"], record["name"], rfc3339(until))

    # --- copying --------------------------------------------------------------------------------------------------

    async def copy(self, source: Record, target: Target) -> Record:
        """A new generation with the bytes of `source`, and its metadata unless the target brings its own."""
        self.check_write(target)
        given = target.given or {key: source[key] for key in (*records.WRITABLE, "kmsKeyName") if key in source}
        given = {
            key: value for key, value in given.items() if key not in ("temporaryHold", "eventBasedHold", "retention")
        }
        content = Content(
            blob=source["blob"], size=int(source["size"]), crc32c=source["crc32c"], md5=source.get("md5Hash", "")
        )
        try:
            linked = await self.blobs.link(content)
        except FileNotFoundError:  # replaced between the look-up and the link
            raise no_object(source["bucket"], source["name"]) from None
        again = Target(
            bucket=target.bucket,
            name=target.name,
            principal=target.principal,
            conditions=target.conditions,
            given=given,
        )
        return self.commit(again, linked, parts=source.get("componentCount"))

    def named_blobs(self) -> set[str]:
        """Every blob that an object names, live or not."""
        return {record["blob"] for kind in (OBJECT, VERSION) for _, record in self.cloud.store.list(kind)}


def versioned(bucket: Record) -> bool:
    return bool(bucket.get("versioning", {}).get("enabled"))
