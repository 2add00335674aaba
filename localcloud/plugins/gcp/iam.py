"""Members of IAM policies: read, change, write back, one at a time per resource."""

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from localcloud.plugins.contract import PluginError
from localcloud.plugins.gcp.batches import Batches
from localcloud.plugins.gcp.crud import Behaviour
from localcloud.plugins.gcp.plan import Plan
from localcloud.plugins.gcp.rest import ApiError
from localcloud.plugins.gcp.row import Iam
from localcloud.plugins.gcp.sameness import normal_member
from localcloud.plugins.gcp.target import Target
from localcloud.plugins.values import Plain

CHECKS: Final = 3
CHECK_PAUSE_S: Final = 1.0
LONGEST_BACKOFF_S: Final = 30.0
ATTEMPTS: Final = 12
Edit = Callable[[Plain], None]


class IamMember(Behaviour):
    """One member in one role, with a condition or without."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()

    def create(self, target: Target, values: Plain) -> Target:
        """Adds the member; the id is the resource's, the role and the member."""
        parent = target.at(target.path(target.row.id))
        self._change(parent, lambda policy: add(policy, values))
        parts = [parent.id, values["role"], normal_member(values["member"])]
        if values.get("condition"):
            parts.append(values["condition"]["title"])
        return target.at("/".join(parts))

    def read(self, target: Target) -> Plain | None:
        """The member as the policy has it; None if the resource or the member is not there."""
        parent = target.at(target.path(target.row.id))
        try:
            policy = self.read_policy(parent)
        except ApiError as error:
            if error.code == 404:
                return None
            raise PluginError(f"Error retrieving IAM policy for {described(parent)}: {error}") from error
        binding = find(policy, dict(target.params))
        if binding is None:
            return None
        found = {"role": binding["role"], "member": target.params["member"], "etag": policy.get("etag")}
        return {**found, "condition": binding.get("condition")}

    def update(self, target: Target, plan: Plan, olds: Plain) -> None:
        """Nothing of a member can be changed in place; switches of the provider need no call."""

    def delete(self, target: Target, olds: Plain) -> None:
        """Takes the member out; a resource that is gone is fine."""
        parent = target.at(target.path(target.row.id))
        try:
            self._change(parent, lambda policy: remove(policy, olds))
        except ApiError as error:
            if error.code != 404:
                raise PluginError(str(error)) from error

    def _change(self, parent: Target, edit: Edit) -> None:
        iam = parent.row.iam
        if iam is None:
            raise AssertionError("a row with this behaviour has an iam column")
        if not iam.batched:
            self._apply(parent, iam, [edit])
            return
        key = f"{parent.row.service}/{parent.id}"
        window_s = 0.1 if parent.loopback else 3.0
        self._batches.submit(key, edit, lambda edits: self._apply(parent, iam, edits), window_s, parent.rest.wait)

    def _apply(self, parent: Target, iam: Iam, edits: list[Edit]) -> None:
        with self._guard:
            lock = self._locks[f"{parent.row.service}/{parent.id}"]
        with lock:
            self._read_modify_write(parent, iam, edits)
            for _ in range(CHECKS):
                parent.rest.wait(0 if parent.loopback else CHECK_PAUSE_S)
                self.read_policy(parent)

    def read_policy(self, parent: Target) -> Plain:
        """The policy as it is."""
        return get_policy(parent)

    def write_policy(self, parent: Target, iam: Iam, policy: Plain) -> None:
        """Writes a policy back."""
        set_policy(parent, iam, policy)

    def _read_modify_write(self, parent: Target, iam: Iam, edits: list[Edit]) -> None:
        backoff = 1.0
        for attempt in range(1, ATTEMPTS + 1):
            try:
                policy = self.read_policy(parent)
            except ApiError as error:
                if error.code == 404:
                    raise
                raise PluginError(f"Error retrieving IAM policy for {described(parent)}: {error}") from error
            for edit in edits:
                edit(policy)
            try:
                self.write_policy(parent, iam, policy)
                return
            except ApiError as error:
                if error.code not in (409, 412) or attempt == ATTEMPTS:
                    text = f"Error setting IAM policy for {described(parent)}: {error}"
                    raise PluginError(f"Error applying IAM policy for {described(parent)}: {text}") from error
            parent.rest.wait(backoff)
            backoff = min(backoff * 2, LONGEST_BACKOFF_S)


def described(target: Target) -> str:
    """The resource as the provider's messages call it."""
    return target.path(target.row.iam.described if target.row.iam else "{id}")


def get_policy(target: Target) -> Plain:
    """The policy as it is."""
    iam = target.row.iam
    if iam is None:
        raise AssertionError("a row with this behaviour has an iam column")
    return target.call(iam.get_method, iam.get, iam.get_body)


def set_policy(target: Target, iam: Iam, policy: Plain) -> None:
    """Writes a policy back, with the etag it was read with."""
    body: Plain = {**policy, "version": 3}
    if not body.get("bindings"):
        body.pop("bindings", None)
        if not iam.etag_when_empty:
            body.pop("etag", None)
    body.pop("kind", None)
    body.pop("resourceId", None)
    wrapped: Plain = {"policy": body} if iam.wrapped else body
    if iam.update_mask:
        wrapped["updateMask"] = iam.update_mask
    target.call(iam.set_method, iam.set, wrapped)


def _condition(value: Any) -> Plain:
    return {key: item for key, item in (value or {}).items() if item and not key.startswith("__")}


def find(policy: Plain, wanted: Plain) -> Plain | None:
    """The binding with this role, condition and member."""
    member = normal_member(wanted["member"])
    for binding in policy.get("bindings", []):
        members = [normal_member(item) for item in binding.get("members", [])]
        if _matches(binding, wanted) and member in members:
            return dict(binding)
    return None


def _matches(binding: Plain, wanted: Plain) -> bool:
    if binding.get("role") != wanted["role"]:
        return False
    return _condition(binding.get("condition")) == _condition(wanted.get("condition"))


def add(policy: Plain, wanted: Plain) -> None:
    """Puts the member into the policy."""
    if find(policy, wanted):
        return
    bindings = policy.setdefault("bindings", [])
    for binding in bindings:
        if _matches(binding, wanted):
            binding.setdefault("members", []).append(normal_member(wanted["member"]))
            return
    new: Plain = {"members": [normal_member(wanted["member"])], "role": wanted["role"]}
    if wanted.get("condition"):
        new["condition"] = _condition(wanted["condition"])
    bindings.append(new)


def remove(policy: Plain, wanted: Plain) -> None:
    """Takes the member out of the policy, and the binding with it if it was the last."""
    member = normal_member(wanted["member"])
    for binding in policy.get("bindings", []):
        if _matches(binding, wanted):
            binding["members"] = [item for item in binding.get("members", []) if normal_member(item) != member]
    policy["bindings"] = [binding for binding in policy.get("bindings", []) if binding.get("members")]
