"""getIamPolicy, setIamPolicy and testIamPermissions, the same for every API."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from localcloud import masks
from localcloud.errors import invalid

if TYPE_CHECKING:
    from localcloud.shell import Api, Call

Name = Callable[["Call"], str]


def policy_routes(
    api: "Api",
    resource: str,
    permissions: str,
    *,
    name: Name | None = None,
    exists: Callable[["Call"], None] | None = None,
) -> None:
    """Serves the three methods of e.g. `run.projects.locations.jobs` with permissions such as run.jobs.setIamPolicy.

    `name`: the policy's resource name (default: the path's `resource`). `exists` raises 404; it is asked after the permission.
    """
    named: Name = name or (lambda call: call.params["resource"])

    async def get(call: "Call") -> dict[str, Any]:
        call.require(f"{permissions}.getIamPolicy", named(call))
        if exists:
            exists(call)
        return call.cloud.iam.get_policy(named(call), requested_version(call))

    async def set_(call: "Call") -> dict[str, Any]:
        call.require(f"{permissions}.setIamPolicy", named(call))
        if exists:
            exists(call)
        policy = call.body.get("policy")
        if policy is None:
            raise invalid("The policy must be set.", "policy")
        mask = call.body.get("updateMask", "")
        if mask and "*" not in mask:
            current = call.cloud.iam.get_policy(named(call))
            policy = {
                **masks.update(current, policy, mask),
                "version": policy.get("version", 0),
                "etag": policy.get("etag"),
            }
        return call.cloud.iam.set_policy(named(call), policy, policy.get("etag"))

    async def test(call: "Call") -> dict[str, Any]:
        if exists:
            exists(call)
        asked = call.body.get("permissions", [])
        if any("*" in permission for permission in asked):
            raise invalid("Permissions with wildcards are not allowed.", "permissions")
        held = [item for item in asked if call.cloud.iam.allowed(call.principal, item, named(call))]
        return {"permissions": held} if held else {}

    for verb, handler in (("getIamPolicy", get), ("setIamPolicy", set_), ("testIamPermissions", test)):
        api.method(f"{resource}.{verb}")(handler)


def requested_version(call: "Call") -> int:
    """Asked for in the query or in the body; 1 where it is not."""
    options = call.body.get("options", {})
    version = call.query.get("options.requestedPolicyVersion", options.get("requestedPolicyVersion", 1))
    if version not in (0, 1, 3):
        raise invalid(
            "Invalid requested policy version. Valid values are 0, 1 and 3.", "options.requested_policy_version"
        )
    return int(version)
