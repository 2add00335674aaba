"""Drives the gcp stand-in in this process, as the engine would."""

from typing import Any

from localcloud.plugins.contract import Autoname, Call, Difference, Resource, State
from localcloud.plugins.gcp.provider import GcpPlugin
from localcloud.plugins.gcp.rows import ROWS
from localcloud.plugins.values import Properties

Plain = dict[str, Any]
NOWHERE = "http://127.0.0.1:9/v1/"
"""Nothing listens there: previews make no call."""


def plugin(**config: Any) -> GcpPlugin:
    """A configured plugin; all endpoints lead nowhere unless `config` says otherwise."""
    services = {row.service for row in ROWS.values()} | {"cloudBilling"}
    values = {f"{service}CustomEndpoint": NOWHERE for service in services}
    made = GcpPlugin(environment={})
    made.configure(
        Properties(values={**values, "project": "demo", "region": "europe-west1", "accessToken": "dummy", **config}),
        lambda severity, message, urn: None,
    )
    return made


def resource(token: str, name: str = "thing") -> Resource:
    """A resource of a type."""
    return Resource.of(f"urn:pulumi:test::demo::{token}::{name}")


def problems(token: str, inputs: Plain, name: str = "thing") -> list[str]:
    """What `Check` says against inputs."""
    checked = plugin().check(resource(token, name), Properties(values={}), Properties(values=inputs), Autoname())
    return [failure.reason for failure in checked.failures]


def checked(made: GcpPlugin, token: str, inputs: Plain, olds: Plain | None = None, seed: bytes = b"x") -> Plain:
    """Inputs as the engine keeps them. Fails the test if they are refused."""
    result = made.check(resource(token), Properties(values=olds or {}), Properties(values=inputs), Autoname(seed=seed))
    assert not result.failures, result.failures
    return result.inputs.values


def create(made: GcpPlugin, token: str, inputs: Plain) -> State:
    """Creates a resource."""
    return made.create(Call(resource=resource(token), news=Properties(values=inputs)))


def diff(made: GcpPlugin, token: str, state: Plain, inputs: Plain, ignore: tuple[str, ...] = ()) -> Difference:
    """Compares a state with inputs."""
    return made.diff(
        Call(
            resource=resource(token),
            id="id",
            olds=Properties(values=state),
            news=Properties(values=inputs),
            ignore_changes=ignore,
        )
    )
