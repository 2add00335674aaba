"""Every component can be packaged, and every input and output says what it is."""

import importlib
import inspect
import json
import subprocess
import sys

import pulumi
from conftest import ROOT

# In a process of its own: Pulumi's provider package and Google's clients both register google.rpc.Status, and one
# process can load only one of them.
ANALYZE = """
import importlib, json, sys
from pulumi.provider.experimental.analyzer import Analyzer
found = [getattr(importlib.import_module(module), name) for module, name in json.loads(sys.argv[1])]
analyzed = Analyzer("longhaul").analyze(found)
definitions = analyzed["component_definitions"]
properties = {name: {**each.inputs, **each.outputs} for name, each in definitions.items()}
properties |= {name: each.properties for name, each in analyzed["type_definitions"].items()}
undescribed = [f"{name}.{key}" for name, each in properties.items() for key, item in each.items() if not item.description]
print(json.dumps([sorted(definitions), undescribed]))
"""


def components() -> list[type[pulumi.ComponentResource]]:
    found: list[type[pulumi.ComponentResource]] = []
    for file in sorted((ROOT / "components").glob("*.py")):
        module = importlib.import_module(f"components.{file.stem}")
        found += [
            item
            for item in vars(module).values()
            if inspect.isclass(item)
            and issubclass(item, pulumi.ComponentResource)
            and item.__module__ == module.__name__
        ]
    return found


def test_every_component_is_found() -> None:
    assert {item.__name__ for item in components()} >= {"Foundation", "HeavyRunnerJob", "WorkloadImage"}


def test_every_input_and_output_is_described() -> None:
    names = json.dumps([[item.__module__, item.__name__] for item in components()])
    command = [sys.executable, "-c", ANALYZE, names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    analyzed, undescribed = json.loads(done.stdout)
    assert analyzed == sorted(item.__name__ for item in components())
    assert undescribed == []


def test_every_component_has_outputs_and_says_what_it_raises() -> None:
    for item in components():
        assert item.__annotations__, item
        assert item.__doc__
        assert "Raises:" in item.__doc__, item
