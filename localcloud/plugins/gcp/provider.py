"""The gcp stand-in: Pulumi's calls on one side, rows and behaviours on the other."""

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from localcloud.plugins.contract import (
    Autoname,
    Call,
    Change,
    Checked,
    Difference,
    InitFailed,
    Log,
    Plugin,
    PluginError,
    Resource,
    State,
)
from localcloud.plugins.gcp import accounts, config, inputs, labels, others, schema, storage
from localcloud.plugins.gcp.batches import Batches
from localcloud.plugins.gcp.check import DEFAULTS, Check, autoname, autoname_is_missing, check_exactly_one
from localcloud.plugins.gcp.crud import Behaviour, Partial
from localcloud.plugins.gcp.functions import FUNCTIONS
from localcloud.plugins.gcp.iam import IamMember
from localcloud.plugins.gcp.members import parse_member_id
from localcloud.plugins.gcp.plan import Plan
from localcloud.plugins.gcp.planning import foreseen, ignored, local_defaults, plan_resource
from localcloud.plugins.gcp.rest import Rest
from localcloud.plugins.gcp.row import Row
from localcloud.plugins.gcp.rows import ROWS
from localcloud.plugins.gcp.secrecy import kept_secrets
from localcloud.plugins.gcp.services import ProjectService
from localcloud.plugins.gcp.target import Incomplete, Target, parse_id, render, with_defaults
from localcloud.plugins.values import Plain, Properties

Result = TypeVar("Result")
VERSION: Final = "10.2.0"
NOTICE: Final = (
    "this is longhaul's stand-in for the gcp plugin, not the Google provider: it knows {count} resource types and speaks "
    "to a local cloud only"
)


class GcpPlugin(Plugin):
    """One provider; configured once, then called from many threads."""

    name = "gcp"
    version = VERSION

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment
        self._rest: Rest | None = None
        batches = Batches()
        self._behaviours: dict[str, Behaviour] = {
            "rest": Behaviour(),
            "iam": IamMember(batches),
            "service": ProjectService(batches),
            "account": accounts.Account(),
            "bucket": storage.Bucket(),
            "object": storage.BucketObject(),
            "schedule": others.Schedule(),
            "secret_version": others.SecretVersion(),
            "dataset_iam": others.DatasetIamMember(batches),
            "table": others.Table(),
        }

    def check_config(self, news: Properties) -> Checked:
        """Keys and endpoints, as the provider checks them; the token is marked secret."""
        secrets = news.secrets | {(key,) for key in config.SECRET_KEYS}
        return Checked(
            inputs=Properties(values=news.values, secrets=frozenset(secrets)), failures=config.check(news.values)
        )

    def configure(self, args: Properties, log: Log) -> None:
        """Takes the configuration and says what this is."""
        if failures := config.check(args.values):
            raise PluginError("; ".join(failure.reason for failure in failures))
        self._rest = Rest(config.read(args.values, self._environment))
        log("info", NOTICE.format(count=len(ROWS)), "")

    def diff_config(self, olds: Plain, news: Plain) -> Difference:
        """A changed configuration is taken up; only another project replaces what was made."""
        changes = [
            Change(path=(key,), kind="update")
            for key in sorted(olds.keys() | news.keys())
            if olds.get(key) != news.get(key) and key != "version"
        ]
        return Difference(changes=changes)

    def check(self, resource: Resource, olds: Properties, news: Properties, options: Autoname) -> Checked:
        """Types, unknown and missing properties, rules, defaults, name."""
        row, fields = _row(resource.type)
        given = {key: value for key, value in news.values.items() if key != DEFAULTS}
        autoname(row, resource.name, olds.values, given, options)
        named = given.pop(DEFAULTS, [])
        check = Check(name=resource.name)
        values = check.fields(fields, given, ())
        check_exactly_one(check, row, values)
        if autoname_is_missing(row, values) and not check.failures:
            check.fail((row.autoname,), "Missing required argument. Autonaming is disabled and no name is given")
        values[DEFAULTS] = [*values.get(DEFAULTS, []), *named]
        secrets = kept_secrets(fields, news.secrets, values)
        return Checked(inputs=Properties(values=values, secrets=secrets), failures=check.failures)

    def diff(self, call: Call) -> Difference:
        """State against inputs, as the provider plans it."""
        row, fields = _row(call.resource.type)
        planned = self._plan(row, fields, call.news.values, call.olds.values)
        changes = [change for change in planned.changes if not ignored(change, call.ignore_changes)]
        replace = any(change.replace for change in changes)
        named = bool(row.autoname) and row.autoname not in (call.news.values.get(DEFAULTS) or [])
        return Difference(changes=changes, delete_before_replace=replace and named)

    def create(self, call: Call) -> State:
        """Makes the resource and reads it back."""
        row, fields = _row(call.resource.type)
        values = self._plan(row, fields, call.news.values, {}).values
        secrets = kept_secrets(fields, call.news.secrets, values, coarse=True)
        if call.preview:
            return State(id="", outputs=Properties(values=foreseen(fields, values), secrets=secrets))
        target = self._target(call, row, fields, values)
        behaviour = self._behaviours[row.behaviour]
        made: Target | None = None
        try:
            made = behaviour.create(target, values)
            outputs = self._read(behaviour, made, values)
        except Partial as error:
            outputs = {**values, **_computed(target.at(error.id), values)}
            failed = State(id=error.id, outputs=Properties(values=outputs, secrets=secrets), inputs=call.news)
            raise InitFailed(failed, _text(error)) from error
        except PluginError as error:
            if made is None:
                raise PluginError(_text(error)) from error
            failed = State(id=made.id, outputs=Properties(values=values, secrets=secrets), inputs=call.news)
            raise InitFailed(failed, _text(error)) from error
        if outputs is None:
            raise PluginError(f"expected non-nil error with nil state during Create of {call.resource.urn}")
        return State(id=made.id, outputs=Properties(values=outputs, secrets=secrets))

    def read(self, call: Call) -> State | None:
        """The resource as it is, or None."""
        row, fields = _row(call.resource.type)
        prior = dict(call.olds.values)
        fresh = not prior
        if fresh:
            prior = local_defaults(fields) | (parse_member_id(row, call.id) if row.iam else parse_id(row, call.id))
        target = self._target(call, row, fields, prior)
        outputs = self._wrapped(lambda: self._read(self._behaviours[row.behaviour], target, prior))
        if outputs is None:
            return None
        old = call.old_inputs.values
        stated = inputs.imported(fields, outputs) if fresh or not old else inputs.refreshed(fields, old, outputs)
        known = call.olds.secrets | call.old_inputs.secrets
        return State(
            id=call.id,
            outputs=Properties(values=outputs, secrets=kept_secrets(fields, known, outputs, coarse=True)),
            inputs=Properties(values=stated, secrets=kept_secrets(fields, known, stated)),
        )

    def update(self, call: Call) -> Properties:
        """Changes in place what differs; with no difference it only reads, which repairs the state."""
        row, fields = _row(call.resource.type)
        olds = call.olds.values
        planned = self._plan(row, fields, call.news.values, olds)
        kept = [change for change in planned.changes if not ignored(change, call.ignore_changes)]
        planned = Plan(values=planned.values, changes=kept)
        secrets = kept_secrets(fields, call.news.secrets | call.olds.secrets, planned.values, coarse=True)
        expected = Properties(values=planned.values, secrets=secrets)
        if call.preview:
            return expected
        target = self._target(call, row, fields, planned.values)
        behaviour = self._behaviours[row.behaviour]
        try:
            if kept:
                behaviour.update(target, planned, olds)
            outputs = self._read(behaviour, target, planned.values)
        except PluginError as error:
            raise InitFailed(State(id=call.id, outputs=expected), _text(error)) from error
        if outputs is None:
            raise PluginError(f"resource {call.id} disappeared during the update of {call.resource.urn}")
        return Properties(values=outputs, secrets=secrets)

    def delete(self, call: Call) -> None:
        """Deletes, unless the resource is protected (before any call) or to be left alone."""
        row, fields = _row(call.resource.type)
        olds = call.olds.values
        if olds.get("deletionPolicy") == "ABANDON":
            return
        target = self._target(call, row, fields, olds)
        if olds.get("deletionPolicy") == "PREVENT":
            raise PluginError(_text(PluginError(f"cannot destroy {call.id}: deletion_policy is PREVENT")))
        if row.protection and olds.get("deletionProtection"):
            what = target.path(row.protection)
            text = f"cannot destroy {what} without setting deletion_protection=false and running `terraform apply`"
            raise PluginError(_text(PluginError(text)))
        self._wrapped(lambda: self._behaviours[row.behaviour].delete(target, olds))

    def invoke(self, token: str, args: Plain) -> Mapping[str, Any]:
        """One of the provider's functions."""
        function = FUNCTIONS.get(token)
        if function is None:
            raise PluginError(f"longhaul's gcp stand-in has no function {token}; it has {', '.join(sorted(FUNCTIONS))}")
        return function(self._configured(), args)

    def cancel(self) -> None:
        """Ends all waiting and all later calls."""
        if self._rest is not None:
            self._rest.cancel()

    def _configured(self) -> Rest:
        if self._rest is None:
            raise PluginError("the provider is not configured: its configuration depends on values not known yet")
        return self._rest

    def _plan(self, row: Row, fields: Mapping[str, schema.Field], news: Plain, olds: Plain) -> Plan:
        return plan_resource(row, fields, news, olds, self._configured().settings)

    def _target(self, call: Call, row: Row, fields: Mapping[str, schema.Field], values: Plain) -> Target:
        rest = self._configured()
        params = with_defaults(row, values, rest.settings.project, rest.settings.region)
        return Target(row=row, fields=fields, rest=rest, params=params, id=call.id, timeout_s=call.timeout_s)

    def _read(self, behaviour: Behaviour, target: Target, prior: Plain) -> Plain | None:
        body = behaviour.read(target)
        if body is None:
            return None
        values = behaviour.values(target, body, prior)
        for name in ("project", target.row.place):
            if name and target.params.get(name):
                values.setdefault(name, target.params[name])
        if target.row.labels:
            labels.read_labels(values, body, prior)
        if target.row.annotations:
            labels.read_annotations(values, body, prior)
        if "deletionPolicy" in target.fields:
            values.setdefault("deletionPolicy", "DELETE")
        return {**values, **_computed(target, values)}

    def _wrapped(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        except PluginError as error:
            raise PluginError(_text(error)) from error


def _row(type: str) -> tuple[Row, Mapping[str, schema.Field]]:
    row = ROWS.get(type)
    if row is None:
        known = ", ".join(sorted(ROWS))
        raise PluginError(
            f"longhaul's stand-in for the gcp plugin has no row for {type}; it has {known}. Use the real plugin for others"
        )
    return row, schema.load(row.table)


def _text(error: PluginError) -> str:
    return f"1 error occurred:\n\t* {error}\n\n"


def _computed(target: Target, values: Plain) -> Plain:
    computed = {}
    for name, template in target.row.computed.items():
        try:
            computed[name] = render(template, {**target.params, **values, "id": target.id})
        except Incomplete:
            continue
    return computed
