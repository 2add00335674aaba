"""What the documents say is there is there."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("localcloud/*.md")])
COMPONENTS = ("HeavyRunnerJob", "FeaturePipelineJob", "LoadgenJob", "BatchFanout", "GpuJob")


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_within_the_project_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text())
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_make_targets_that_are_named_exist(document: Path) -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", document.read_text(), re.MULTILINE))
    assert named <= targets()


def test_readme_calls_a_component_working_if_and_only_if_it_is_there() -> None:
    there = {
        node.name
        for path in (ROOT / "components").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\S+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {name: "works" in today for name, today in rows} == {name: name in there for name in COMPONENTS}


def test_make_without_a_target_lists_every_documented_target() -> None:
    listed = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    internal = {"python", "environment"}
    assert set(re.findall(r"^  make ([a-z-]+)", listed.stdout, re.MULTILINE)) == targets() - internal


def test_set_up_imports_the_standard_library_only() -> None:
    import sys

    for path in (ROOT / "tools").glob("*.py"):
        if path.name == "deselected.py":  # the plugin of pytest, which pytest imports
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] in {*sys.stdlib_module_names, "tools"}, f"{path.name} imports {name}"
