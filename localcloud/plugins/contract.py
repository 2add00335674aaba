"""What a stand-in implements; `server.py` speaks the plugin protocol for it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from localcloud.plugins.values import Plain, Properties, PropertyPath


class PluginError(Exception):
    """An operation failed; the text is what the user reads."""


class InitFailed(PluginError):
    """The resource exists (or keeps existing), but the operation did not finish: the engine keeps `state` and retries."""

    def __init__(self, state: "State", reason: str) -> None:
        super().__init__(reason)
        self.state = state


@dataclass(frozen=True, kw_only=True)
class Resource:
    """Which resource a call is about."""

    urn: str
    type: str
    name: str

    @classmethod
    def of(cls, urn: str) -> "Resource":
        """From `urn:pulumi:STACK::PROJECT::PARENT$TYPE::NAME`."""
        parts = urn.split("::", 3)
        if len(parts) != 4:
            raise PluginError(f"urn: argument must be urn:pulumi:STACK::PROJECT::TYPE::NAME, got {urn!r}")
        return cls(urn=urn, type=parts[2].rsplit("$", 1)[-1], name=parts[3])


@dataclass(frozen=True, kw_only=True)
class Autoname:
    """How a name the program left out is made."""

    seed: bytes = b""
    proposed: str = ""
    enforced: bool = False
    disabled: bool = False


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One input that is wrong; `property` is empty where the reason names the place itself."""

    reason: str
    property: str = ""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Inputs with defaults, and what is wrong with them."""

    inputs: Properties
    failures: Sequence[Failure] = ()


@dataclass(frozen=True, kw_only=True)
class Change:
    """One property that differs. `kind` is add, delete or update."""

    path: PropertyPath
    kind: str
    replace: bool = False


@dataclass(frozen=True, kw_only=True)
class Difference:
    """All that differs between a resource's state and new inputs."""

    changes: Sequence[Change]
    delete_before_replace: bool = False


@dataclass(frozen=True, kw_only=True)
class State:
    """A resource as it is: `inputs` is what a program would have to say to get it (only reads fill it)."""

    id: str
    outputs: Properties
    inputs: Properties | None = None


Log = Callable[[str, str, str], None]
"""Writes one line to the engine: severity, text, urn ("" for none).

Severities are debug, info, warning, error, and status: progress, shown while it is news and not kept."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One create, update, read or delete."""

    resource: Resource
    id: str = ""
    olds: Properties = field(default_factory=lambda: Properties(values={}))
    old_inputs: Properties = field(default_factory=lambda: Properties(values={}))
    news: Properties = field(default_factory=lambda: Properties(values={}))
    ignore_changes: Sequence[str] = ()
    timeout_s: float = 0.0
    preview: bool = False


class Plugin(ABC):
    """One stand-in. Calls come from several threads at once."""

    name: str
    version: str

    @abstractmethod
    def check_config(self, news: Properties) -> Checked:
        """Checks the provider's configuration, without calling anything."""

    @abstractmethod
    def configure(self, args: Properties, log: Log) -> None:
        """Takes the configuration; raises PluginError if nothing could work with it."""

    @abstractmethod
    def diff_config(self, olds: Plain, news: Plain) -> Difference:
        """What a change of the configuration means for the provider."""

    @abstractmethod
    def check(self, resource: Resource, olds: Properties, news: Properties, autoname: Autoname) -> Checked:
        """Defaults and checks of one resource's inputs, without calling anything."""

    @abstractmethod
    def diff(self, call: Call) -> Difference:
        """State against new inputs, without calling anything."""

    @abstractmethod
    def create(self, call: Call) -> State:
        """Makes the resource, or says in a preview what would be known of it."""

    @abstractmethod
    def read(self, call: Call) -> State | None:
        """The resource as it is, None if it is gone. With no state it is an import."""

    @abstractmethod
    def update(self, call: Call) -> Properties:
        """Changes the resource in place, or says in a preview what would be known of it."""

    @abstractmethod
    def delete(self, call: Call) -> None:
        """Deletes the resource; one that is gone is fine."""

    @abstractmethod
    def invoke(self, token: str, args: Plain) -> Mapping[str, Any]:
        """A function of the provider."""

    @abstractmethod
    def cancel(self) -> None:
        """Ends what is running as soon as it can."""
