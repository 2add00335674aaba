"""Stack configuration, read once and checked before anything is declared.

What Pulumi.<stack>.yaml may say is what the dataclasses below have: a key they do not know, a key that is missing and a
value out of range all raise, and the message names the key.
"""

from typing import Any, get_type_hints

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env, is_config_secret

from settings.batch_fanout import Fanout, FanoutNetwork, FanoutStage
from settings.checks import SettingsError
from settings.feature_pipeline import FeaturePipeline
from settings.heavy_runner import HeavyRunner, Sandbox
from settings.parsing import parse
from settings.shared import Alert, Build, Retention, Schedule
from settings.stack import SERVICES, WORKLOADS, Settings

__all__ = [
    "NAMESPACE",
    "SERVICES",
    "WORKLOADS",
    "Alert",
    "Build",
    "Fanout",
    "FanoutNetwork",
    "FanoutStage",
    "FeaturePipeline",
    "HeavyRunner",
    "Retention",
    "Sandbox",
    "Schedule",
    "Settings",
    "SettingsError",
    "load",
]

NAMESPACE = "longhaul"
"""Namespace of the program's keys in a stack's file."""


def load() -> Settings:
    """Read the configuration of the current stack.

    Raises:
        pulumi.ConfigMissingError: gcp:project or gcp:region is missing.
        SettingsError: any other key is missing, unknown, of another type or out of range.
    """
    gcp, own = pulumi.Config("gcp"), pulumi.Config(NAMESPACE)
    prefix = f"{NAMESPACE}:"
    hints = get_type_hints(Settings)
    raw: dict[str, Any] = {}
    for key in {**get_config_env(), **CONFIG.get()}:
        if not key.startswith(prefix):
            continue
        if is_config_secret(key):
            raise SettingsError(f"{key}: value must be plain, got a secret; containers get a secret by its name")
        name = key.removeprefix(prefix)
        is_text = hints.get(name, str) is str
        raw[name] = own.require(name) if is_text else own.require_object(name)
    given = {"project": gcp.require("project"), "region": gcp.require("region"), "stack": pulumi.get_stack()}
    return parse(Settings, raw, prefix, refused=given, given=given)
