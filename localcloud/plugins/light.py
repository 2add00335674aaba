"""Makes the plugin protocol importable without the rest of the Pulumi SDK."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def prepare() -> None:
    """Registers empty parents for `pulumi.runtime.proto`, so that importing it does not run `pulumi/__init__.py`.

    A plugin is started by every preview; the SDK's own import takes longer than everything else the plugin does until it
    listens. Does nothing in a process where the SDK is imported already. Raises ImportError without the SDK.
    """
    if "pulumi" in sys.modules:
        return
    spec = importlib.util.find_spec("pulumi")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("the pulumi package is not installed: run this with the project's own Python")
    root = Path(next(iter(spec.submodule_search_locations)))
    for name, folder in (("pulumi", root), ("pulumi.runtime", root / "runtime")):
        module = ModuleType(name)
        module.__path__ = [str(folder)]
        sys.modules[name] = module
