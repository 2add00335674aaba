"""Ids of IAM members: the resource's id, the role, the member, and the title of the condition if there is one."""

import re
from typing import Final

from localcloud.plugins.contract import PluginError
from localcloud.plugins.gcp.row import Row
from localcloud.plugins.gcp.target import PLACEHOLDER
from localcloud.plugins.values import Plain

TAIL: Final = (
    r"[ /](?P<role>(?:(?:projects|organizations)/[^/ ]+/)?roles/[^/ ]+)"
    r"[ /](?P<member>allUsers|allAuthenticatedUsers|[a-zA-Z]+:[^/ ]+|principal(?:Set)?://\S+)$"
)


def parse_member_id(row: Row, id: str) -> Plain:
    """Its parts, for an import. Raises PluginError naming the form it must have; conditions cannot be imported."""
    parts, position = ["^"], 0
    for match in PLACEHOLDER.finditer(row.id):
        value = r"projects/[^/ ]+/serviceAccounts/[^/ ]+" if match[1] == "serviceAccountId" else r"[^/ ]+"
        parts += [re.escape(row.id[position : match.start()]), f"(?P<{match[1]}>{value})"]
        position = match.end()
    found = re.match("".join([*parts, re.escape(row.id[position:]), TAIL]), id)
    if not found:
        form = PLACEHOLDER.sub(lambda match: match[1].upper(), row.id)
        raise PluginError(f"import id must be {form}/ROLE/MEMBER without a condition, got {id!r}")
    return dict(found.groupdict())
