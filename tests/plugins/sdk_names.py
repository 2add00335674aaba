"""Property names of the Python SDK, in Pulumi's spelling."""

import importlib
from typing import Any

from pulumi import _types  # the SDK's own table of names; nothing public gives it


def sdk_properties(token: str) -> tuple[set[str], set[str]]:
    """Names of a type's inputs and of its outputs."""
    package, kind = token.split(":")[1].split("/")[0], token.rsplit(":", 1)[1]
    module: Any = importlib.import_module(f"pulumi_gcp.{package}")
    inputs = set(_types.input_type_py_to_pulumi_names(getattr(module, f"{kind}Args")).values())
    return inputs, set(_types.resource_pulumi_to_py_names(getattr(module, kind)))
