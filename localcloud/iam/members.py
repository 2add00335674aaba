"""Members of a policy binding: their form, and whom they cover.

https://cloud.google.com/iam/docs/principal-identifiers (2026-11)
"""

from collections.abc import Callable

from localcloud.errors import ApiError, invalid
from localcloud.identity import Principal

EVERYONE = ("allUsers", "allAuthenticatedUsers")
CONVENIENCE = ("projectOwner", "projectEditor", "projectViewer")
TYPES = ("user", "serviceAccount", "group", "domain", "deleted", "principal", "principalSet", *CONVENIENCE)
BASIC_ROLE = {"projectOwner": "roles/owner", "projectEditor": "roles/editor", "projectViewer": "roles/viewer"}


def check(member: str) -> None:
    """Raises ApiError 400 for a member that is not of a known form."""
    if member in EVERYONE:
        return
    kind, colon, rest = member.partition(":")
    if not colon or kind not in TYPES:
        raise invalid(
            f"The member {member} is of an unknown type. Please set a valid type prefix for the member.",
            "policy.bindings",
        )
    if not rest or (kind in ("user", "serviceAccount", "group") and "@" not in rest):
        raise _malformed(kind, rest)


def _malformed(kind: str, rest: str) -> ApiError:
    named = {"user": "User", "serviceAccount": "Service account", "group": "Group"}.get(kind, kind)
    return invalid(f"{named} {rest} does not exist.", "policy.bindings")


def covers(member: str, principal: Principal, holds: Callable[[str, str], bool]) -> bool:
    """Whether `member` of a binding means `principal`. `holds(project, role)`: does the principal have a basic role there.

    A group's members are not known here: a group covers nobody.
    """
    if member == principal.member or member == "allUsers":
        return True
    if member == "allAuthenticatedUsers":
        return principal.authenticated
    kind, _, rest = member.partition(":")
    if kind == "domain":
        return principal.member.startswith("user:") and principal.email.endswith("@" + rest)
    if kind in CONVENIENCE:
        return holds(f"projects/{rest}", BASIC_ROLE[kind])
    return False
