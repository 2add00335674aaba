"""Policies and decisions."""

import base64
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localcloud.clock import Clock
from localcloud.errors import conflict, denied, invalid, unauthenticated
from localcloud.faults import Faults
from localcloud.iam import members, roles
from localcloud.iam.accounts import Accounts
from localcloud.iam.conditions import Attributes, Test, compile_condition
from localcloud.identity import Principal
from localcloud.store import Store

log = logging.getLogger("localcloud.iam")
EMPTY_ETAG = "ACAB"
"""What Google answers for a resource that never had a policy."""

Policy = dict[str, Any]
Parent = Callable[[str], str | None]


@dataclass(frozen=True)
class Grant:
    role: str
    permissions: frozenset[str]
    members: tuple[str, ...]
    condition: Test | None


class Iam:
    """Policies by resource name (`projects/P`, `projects/P/locations/L/jobs/J`, `buckets/B`, `//service/…`)."""

    def __init__(self, store: Store, clock: Clock, faults: Faults) -> None:
        self._store = store
        self._clock = clock
        self._faults = faults
        self._grants: dict[str, tuple[float, list[Grant], list[Grant]]] = {}
        self._parents: dict[str, Parent] = {}
        self.accounts = Accounts(store, clock, faults)

    # --- policies -------------------------------------------------------------------------------------------------

    def parent_of(self, prefix: str, parent: Parent) -> None:
        """Says how to find the project of resources whose names do not begin with it, e.g. `buckets/`."""
        self._parents[prefix] = parent

    def get_policy(self, resource: str, requested_version: int = 3) -> Policy:
        """The policy as getIamPolicy answers it."""
        record = self._store.get("policy", resource)
        policy: Policy = record["policy"] if record else {"etag": EMPTY_ETAG}
        return policy if requested_version >= 3 else _without_conditions(policy)

    def set_policy(
        self, resource: str, policy: Policy, etag: str | None = None, *, check_members: bool = True
    ) -> Policy:
        """Replaces the policy. Raises ApiError 400 for what the cloud refuses, 409 for an etag that is not current."""
        record = self._store.get("policy", resource)
        current: Policy = record["policy"] if record else {"etag": EMPTY_ETAG}
        if etag and etag.rstrip("=") != current["etag"].rstrip("="):
            raise conflict(
                "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff."
            )
        bindings = _normalised(policy.get("bindings", []))
        version = _version(policy, bindings)
        for binding in bindings:
            self._check_binding(resource, binding, check_members)
        new: Policy = {"version": version, "bindings": bindings}
        if not bindings:
            del new["bindings"]
        if policy.get("auditConfigs"):
            new["auditConfigs"] = policy["auditConfigs"]
        serial = (record["serial"] if record else 0) + 1
        new["etag"] = base64.b64encode(b"\x00\x06" + serial.to_bytes(6, "big") + _digest(new)[:4]).decode()
        visible_at = self._clock.now() + self._faults.settings.visibility_delay_s
        self._store.put(
            "policy", resource, {"policy": new, "previous": current, "serial": serial, "visible_at": visible_at}
        )
        self._grants.pop(resource, None)
        return new

    def unknown_roles(self) -> dict[str, str]:
        """Role that grants nothing here -> a resource it is granted on."""
        found: dict[str, str] = {}
        for resource, record in self._store.list("policy"):
            for binding in record["policy"].get("bindings", []):
                if not roles.known(binding["role"]):
                    found[binding["role"]] = resource
        return found

    def delete_policy(self, resource: str) -> None:
        """With the resource; also those of everything below it."""
        for name, _ in self._store.list("policy", resource):
            if name == resource or name.startswith(resource + "/"):
                self._store.delete("policy", name)
                self._grants.pop(name, None)

    def bury(self, email: str, unique_id: str) -> None:
        """Turns the grants of a deleted service account into deleted:serviceAccount:…, which cover nobody.

        https://cloud.google.com/iam/docs/policies#handle-deleted-members (2026-11)
        """
        self._rename_member(f"serviceAccount:{email}", f"deleted:serviceAccount:{email}?uid={unique_id}")

    def unbury(self, email: str, unique_id: str) -> None:
        self._rename_member(f"deleted:serviceAccount:{email}?uid={unique_id}", f"serviceAccount:{email}")

    def _rename_member(self, old: str, new: str) -> None:
        with self._store.transaction():
            for resource, record in self._store.list("policy"):
                for policy in (record["policy"], record["previous"]):
                    for binding in policy.get("bindings", []):
                        binding["members"] = [new if item == old else item for item in binding["members"]]
                self._store.put("policy", resource, record)
        self._grants.clear()

    def add_binding(self, resource: str, role: str, member: str) -> None:
        """Adds one grant without a condition, if it is not there; for defaults that the cloud itself makes."""
        policy = self.get_policy(resource)
        bindings = [*policy.get("bindings", []), {"role": role, "members": [member]}]
        self.set_policy(resource, {**policy, "bindings": bindings}, check_members=False)

    def _check_binding(self, resource: str, binding: dict[str, Any], check_members: bool) -> None:
        role = binding["role"]
        if not roles.is_role_name(role):
            raise invalid(f"Role {role} is not supported for this resource.", "policy.bindings.role")
        if not roles.known(role):
            log.warning("role %s on %s is not in the table of this cloud and grants nothing", role, resource)
        for member in binding["members"]:
            members.check(member)
            if check_members:
                self.accounts.check_member(member)
            if member in members.EVERYONE and resource.count("/") == 1 and resource.startswith("projects/"):
                raise invalid(f"The member {member} is not allowed on projects.", "policy.bindings.members")
        if expression := binding.get("condition", {}).get("expression"):
            compile_condition(expression)

    # --- decisions ------------------------------------------------------------------------------------------------

    def require(
        self,
        principal: Principal,
        permission: str,
        resource: str,
        ancestors: tuple[str, ...] | None = None,
        *,
        name: str = "",
        type: str = "",
        service: str = "",
    ) -> None:
        """Raises ApiError 403. `name`, `type`, `service` are what conditions see of the resource."""
        if not self.allowed(principal, permission, resource, ancestors, name=name, type=type, service=service):
            if not principal.authenticated:
                raise unauthenticated()
            raise denied(permission, resource)

    def allowed(
        self,
        principal: Principal,
        permission: str,
        resource: str,
        ancestors: tuple[str, ...] | None = None,
        *,
        name: str = "",
        type: str = "",
        service: str = "",
    ) -> bool:
        above = self.ancestors(resource) if ancestors is None else ancestors
        given = Attributes(name=name or resource, type=type, service=service, time=self._clock.now())
        return any(self._granted(principal, permission, target, given) for target in (resource, *above))

    def _granted(self, principal: Principal, permission: str, target: str, given: Attributes) -> bool:
        for grant in self._grants_of(target):
            if permission not in grant.permissions:
                continue
            if not any(members.covers(member, principal, self._holder(principal)) for member in grant.members):
                continue
            if grant.condition is None or grant.condition(given):
                return True
        return False

    def _holder(self, principal: Principal) -> Callable[[str, str], bool]:
        def holds(project: str, role: str) -> bool:
            return any(grant.role == role and principal.member in grant.members for grant in self._grants_of(project))

        return holds

    def ancestors(self, resource: str) -> tuple[str, ...]:
        """The project of a resource, as far as its name or a registered parent tells."""
        for prefix, parent in self._parents.items():
            if resource.startswith(prefix):
                found = parent(resource)
                return (found,) if found else ()
        plain = resource.removeprefix("//").partition("/")[2] if resource.startswith("//") else resource
        parts = plain.split("/")
        if (len(parts) > 2 and parts[0] == "projects") or (resource.startswith("//") and parts[0] == "projects"):
            return (f"projects/{parts[1]}",)
        return ()

    def _grants_of(self, resource: str) -> list[Grant]:
        cached = self._grants.get(resource)
        if cached is None:
            record = self._store.get("policy", resource)
            if record is None:
                cached = (0.0, [], [])
            else:
                cached = (record["visible_at"], _compile(record["policy"]), _compile(record["previous"]))
            self._grants[resource] = cached
        visible_at, new, old = cached
        return new if visible_at <= self._clock.now() else old

    def check_alive(self, principal: Principal) -> None:
        """Raises ApiError 401 for a token of a service account that is deleted or disabled."""
        if principal.member.startswith("serviceAccount:"):
            self.accounts.check_alive(principal.email)

    def forget(self) -> None:
        """After a reset of the store."""
        self._grants.clear()


def _compile(policy: Policy) -> list[Grant]:
    grants = []
    for binding in policy.get("bindings", []):
        expression = binding.get("condition", {}).get("expression", "")
        condition = compile_condition(expression) if expression else None
        role = binding["role"]
        grants.append(Grant(role, roles.permissions(role), tuple(binding["members"]), condition))
    return grants


def _normalised(bindings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One binding per role and condition, members unique; empty ones dropped."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for binding in bindings:
        if not binding.get("role"):
            raise invalid("Role must be set for every binding.", "policy.bindings.role")
        condition = binding.get("condition") or {}
        key = (binding["role"], repr(sorted(condition.items())))
        entry = merged.setdefault(key, {"role": binding["role"], "members": []})
        entry["members"].extend(item for item in binding.get("members", []) if item not in entry["members"])
        if condition:
            if not condition.get("title"):
                raise invalid("Condition title must be set.", "policy.bindings.condition.title")
            entry["condition"] = condition
    return [binding for binding in merged.values() if binding["members"]]


def _version(policy: Policy, bindings: list[dict[str, Any]]) -> int:
    """https://cloud.google.com/iam/docs/policies#versions (2026-11)."""
    version = int(policy.get("version") or 0)
    if version not in (0, 1, 3):
        raise invalid("Invalid policy version. Valid values are 0, 1 and 3.", "policy.version")
    conditional = any("condition" in binding for binding in bindings)
    if conditional and version < 3:
        raise invalid("A policy with a conditional role binding must have version 3.", "policy.version")
    return 3 if conditional else 1


def _without_conditions(policy: Policy) -> Policy:
    """What a client that did not ask for version 3 sees: the role of a conditional binding is renamed."""
    if not any("condition" in binding for binding in policy.get("bindings", [])):
        return policy
    bindings = []
    for binding in policy["bindings"]:
        if "condition" in binding:
            tag = _digest(binding["condition"]).hex()[:20]
            binding = {"role": f"{binding['role']}_withcond_{tag}", "members": binding["members"]}
        bindings.append(binding)
    return {**policy, "version": 1, "bindings": bindings}


def _digest(value: Any) -> bytes:
    return hashlib.sha256(repr(value).encode()).digest()
