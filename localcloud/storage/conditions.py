"""Preconditions of the JSON and XML APIs: if(Meta)Generation(Not)Match, for the object itself and for a copy's source.

https://cloud.google.com/storage/docs/request-preconditions (2026-11)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.errors import ApiError, invalid

Record = dict[str, Any]


class NotModified(Exception):
    """A read whose `…NotMatch` condition does not hold: 304 without a body."""


def not_met() -> ApiError:
    message = "At least one of the pre-conditions you specified did not hold."
    return ApiError(412, "FAILED_PRECONDITION", message, "conditionNotMet")


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What the caller expects of the live object or bucket; None where nothing was said."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    def check(self, record: Record | None, *, reading: bool = False) -> None:
        """Raises ApiError 412, or NotModified for a read whose NotMatch fails. None: there is no such object."""
        generation = int(record.get("generation", 0)) if record else 0
        metageneration = int(record["metageneration"]) if record else None
        if self.generation_match is not None and self.generation_match != generation:
            raise not_met()
        if self.metageneration_match is not None and self.metageneration_match != metageneration:
            raise not_met()
        same = self.generation_not_match is not None and self.generation_not_match == generation
        if same or (self.metageneration_not_match is not None and self.metageneration_not_match == metageneration):
            if reading:
                raise NotModified
            raise not_met()


def from_query(query: Mapping[str, Any], *, source: bool = False) -> Conditions:
    """Of a JSON call; `source=True` reads the ifSource… family. Raises ApiError 400 for what is not a number."""
    prefix = "ifSource" if source else "if"
    return Conditions(
        generation_match=number(query, f"{prefix}GenerationMatch"),
        generation_not_match=number(query, f"{prefix}GenerationNotMatch"),
        metageneration_match=number(query, f"{prefix}MetagenerationMatch"),
        metageneration_not_match=number(query, f"{prefix}MetagenerationNotMatch"),
    )


def from_headers(headers: Mapping[str, str], *, source: bool = False) -> Conditions:
    """Of an XML call: x-goog-if-generation-match, x-goog-copy-source-if-generation-match, …"""
    prefix = "x-goog-copy-source-if" if source else "x-goog-if"
    return Conditions(
        generation_match=number(headers, f"{prefix}-generation-match"),
        metageneration_match=number(headers, f"{prefix}-metageneration-match"),
    )


def check_etags(headers: Mapping[str, str], etag: str) -> None:
    """If-Match and If-None-Match of a read. Raises ApiError 412, or NotModified."""
    wanted, unwanted = _etags(headers.get("if-match")), _etags(headers.get("if-none-match"))
    if wanted and not wanted & {etag, "*"}:
        raise not_met()
    if unwanted & {etag, "*"}:
        raise NotModified


def _etags(header: str | None) -> set[str]:
    return {item.strip().removeprefix("W/").strip('"') for item in (header or "").split(",")} - {""}


def from_dict(values: Mapping[str, int | None]) -> Conditions:
    """What `dataclasses.asdict` made, read back from the store."""
    return Conditions(**values)


def number(values: Mapping[str, Any], key: str) -> int | None:
    given = values.get(key)
    if given is None or given == "":
        return None
    try:
        return int(given)
    except ValueError:
        raise invalid(f"Invalid value for {key}: {given!r} must be an integer.") from None
