"""Every component can be packaged, and every input and output says what it is."""

import importlib
import inspect

import pulumi
from conftest import ROOT
from pulumi.provider.experimental.analyzer import Analyzer


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
    analyzed = Analyzer("longhaul").analyze(components())
    definitions = analyzed["component_definitions"]
    assert set(definitions) == {item.__name__ for item in components()}
    undescribed = [
        f"{name}.{prop}"
        for name, definition in definitions.items()
        for prop, described in {**definition.inputs, **definition.outputs}.items()
        if not described.description
    ]
    undescribed += [
        f"{name}.{prop}"
        for name, definition in analyzed["type_definitions"].items()
        for prop, described in definition.properties.items()
        if not described.description
    ]
    assert undescribed == []


def test_every_component_has_outputs_and_says_what_it_raises() -> None:
    for item in components():
        assert item.__annotations__, item
        assert item.__doc__
        assert "Raises:" in item.__doc__, item
