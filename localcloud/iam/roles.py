"""Roles and their permissions (first part)."""

OWNER: frozenset[str] = frozenset()
TABLE: dict[str, frozenset[str]] = {}


class _Everything(frozenset[str]):
    def __contains__(self, item: object) -> bool:
        return True


def is_role_name(role: str) -> bool:
    parts = role.split("/")
    return len(parts) in (2, 4) and parts[-2] == "roles" and all(parts)


def known(role: str) -> bool:
    return role in TABLE or role == "roles/owner"


def permissions(role: str) -> frozenset[str]:
    """Empty for a role that is not in the table."""
    if role == "roles/owner":
        return _Everything()
    return TABLE.get(role, frozenset())
