"""Which permissions a role holds, as far as the APIs of this cloud ask for them.

The lists are Google's, cut to the services served here. Each row names the page it is taken from (read 2026-11):
https://cloud.google.com/iam/docs/roles-permissions/SERVICE unless said otherwise. A role that is not here grants nothing.
"""

from localcloud.iam.role_table import BASIC, ROLES

PAGE = "https://cloud.google.com/iam/docs/roles-permissions/"


def _expand(text: str) -> frozenset[str]:
    """`run.jobs.{get,list} run.jobs.run` -> the permissions."""
    found: set[str] = set()
    for word in text.split():
        head, brace, rest = word.partition("{")
        if brace:
            found.update(head + verb for verb in rest.rstrip("}").split(","))
        else:
            found.add(word)
    return frozenset(found)


TABLE: dict[str, frozenset[str]] = {role: _expand(text) for role, (_, text) in ROLES.items()}
SOURCES: dict[str, str] = {
    role: page if page.startswith("https:") else PAGE + page for role, (page, _) in ROLES.items()
}

ALL: frozenset[str] = frozenset().union(*TABLE.values())
"""Every permission that some role of the table holds."""

NOT_BASIC = frozenset(
    permission
    for permission in ALL
    if permission.startswith("iam.serviceAccounts.")
    and permission.rpartition(".")[2]
    in ("getAccessToken", "getOpenIdToken", "signBlob", "signJwt", "implicitDelegation")
)
"""What not even an owner holds: https://cloud.google.com/iam/docs/service-account-permissions (2026-11)."""


def _basic() -> dict[str, frozenset[str]]:
    """owner, editor and viewer by the kind of permission: https://cloud.google.com/iam/docs/roles-overview#basic (2026-11).

    Unlike in the cloud, where buckets grant it to the project's owners by a default binding, owners and editors may read
    and write objects.
    """
    owner = ALL - NOT_BASIC
    viewer = frozenset(item for item in owner if _reads(item) and not item.startswith(BASIC["not_for_viewers"]))
    editor = frozenset(
        item for item in owner if not item.endswith(BASIC["owners_only"]) and item not in BASIC["not_for_editors"]
    )
    return {"roles/owner": owner, "roles/editor": editor | viewer, "roles/viewer": viewer}


def _reads(permission: str) -> bool:
    return permission.rpartition(".")[2] in BASIC["read_verbs"]


TABLE.update(_basic())
SOURCES.update(
    dict.fromkeys(
        ("roles/owner", "roles/editor", "roles/viewer"), "https://cloud.google.com/iam/docs/roles-overview#basic"
    )
)


def is_role_name(role: str) -> bool:
    """roles/X, projects/P/roles/X or organizations/O/roles/X."""
    parts = role.split("/")
    shaped = len(parts) == 2 or (len(parts) == 4 and parts[0] in ("projects", "organizations"))
    return shaped and parts[-2] == "roles" and all(parts)


def known(role: str) -> bool:
    return role in TABLE


def permissions(role: str) -> frozenset[str]:
    """Empty for a role that is not in the table."""
    return TABLE.get(role, frozenset())
