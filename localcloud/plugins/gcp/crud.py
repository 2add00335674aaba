"""What most types do: POST, GET, PATCH or PUT, DELETE, with or without an operation. Other behaviours vary this one."""

from localcloud.plugins.contract import PluginError
from localcloud.plugins.gcp import codec
from localcloud.plugins.gcp.operations import OperationFailed
from localcloud.plugins.gcp.plan import Plan
from localcloud.plugins.gcp.rest import ApiError
from localcloud.plugins.gcp.target import Target
from localcloud.plugins.values import Plain


class Partial(PluginError):
    """The resource got its id, then something failed."""

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(reason)
        self.id = id


class Behaviour:
    """The calls of a plain REST resource. Methods raise PluginError with the provider's text; it holds no state."""

    def create(self, target: Target, values: Plain) -> Target:
        """Makes it; the target returned has the id. Raises Partial where the id was known before the failure."""
        row = target.row
        body = self.body(target, values, create=True)
        try:
            answer = target.call("POST", row.create, body)
        except ApiError as error:
            raise PluginError(f"Error creating {row.kind}: {error}" if row.create_prefix else str(error)) from error
        made = target.at(answer["name"] if row.server_id else target.path(row.id))
        if row.lro:
            try:
                made.wait(answer)
            except PluginError as error:
                raise Partial(made.id, f"Error waiting to create {row.kind}: {error}") from error
        return made

    def body(self, target: Target, values: Plain, *, create: bool) -> Plain:
        """The body of a create or of a full update."""
        body = codec.to_api(target.fields, values, create=create)
        if target.row.labels and values.get("effectiveLabels"):
            body["labels"] = values["effectiveLabels"]
        if target.row.annotations and values.get("effectiveAnnotations"):
            body["annotations"] = values["effectiveAnnotations"]
        if create:
            for name, template in target.row.create_body.items():
                codec.place(body, tuple(name.split(".")), target.path(template))
        return body

    def read(self, target: Target) -> Plain | None:
        """The resource as the API has it, None if there is none."""
        try:
            return target.call("GET", target.row.read)
        except ApiError as error:
            if error.code == 404:
                return None
            raise PluginError(f'Error when reading or editing {target.row.kind} "{target.id}": {error}') from error

    def update(self, target: Target, plan: Plan, olds: Plain) -> None:
        """Changes it in place. A change of the provider's own switches alone sends nothing, unless the row says so."""
        changed = changed_names(plan)
        if all(target.fields[name].local and not self._sent(target, name) for name in changed):
            return
        row = target.row
        query = {"updateMask": ",".join(mask(target, changed))} if row.mask else {}
        try:
            answer = target.call(row.update_method, row.update, self.update_body(target, plan, changed), **query)
            if row.lro and row.update_lro:
                target.wait(answer)
        except OperationFailed as error:
            raise PluginError(f"Error waiting for Updating {row.kind}: {error}") from error
        except ApiError as error:
            raise PluginError(f'Error updating {row.kind} "{target.id}": {error}') from error

    def _sent(self, target: Target, name: str) -> bool:
        if name in ("labels", "effectiveLabels", "annotations", "effectiveAnnotations"):
            return True
        return name == "deletionProtection" and target.row.protection_is_sent

    def update_body(self, target: Target, plan: Plan, changed: list[str]) -> Plain:
        """The body of an update: all of it, or only the blocks that changed."""
        body = self.body(target, plan.values, create=False)
        if not target.row.changed_only:
            return body
        keys = mask(target, changed)
        for removed in plan_labels_removed(plan) if "labels" in keys else ():
            body.setdefault("labels", {})[removed] = None
        return {key: body.get(key) for key in keys}

    def delete(self, target: Target, olds: Plain) -> None:
        """Deletes it; 404 counts as deleted."""
        row = target.row
        try:
            answer = target.call("DELETE", row.delete)
            if row.lro:
                target.wait(answer)
        except OperationFailed as error:
            raise PluginError(f"Error waiting for Deleting {row.kind}: {error}") from error
        except ApiError as error:
            if error.code != 404:
                raise PluginError(f"Error when reading or editing {row.kind}: {error}") from error

    def values(self, target: Target, body: Plain, prior: Plain) -> Plain:
        """Property values of what `read` gave."""
        return codec.from_api(target.fields, body, prior)


def changed_names(plan: Plan) -> list[str]:
    """The top-level properties that change, in a stable order."""
    return sorted({str(change.path[0]) for change in plan.changes})


def plan_labels_removed(plan: Plan) -> list[str]:
    """Labels that go: a partial update must name them."""
    return [str(c.path[1]) for c in plan.changes if c.path[0] == "labels" and c.kind == "delete" and len(c.path) > 1]


def mask(target: Target, changed: list[str]) -> list[str]:
    """The fields of the REST resource that change, for an update mask."""
    keys = []
    for name in changed:
        field = target.fields[name]
        if name in ("labels", "effectiveLabels", "pulumiLabels"):
            keys.append("labels")
        elif name in ("annotations", "effectiveAnnotations"):
            keys.append("annotations")
        elif not field.local and not field.param:
            keys.append(field.api[0])
    return sorted(set(keys))
