"""Who may import whom, and who may read configuration and environment: read from the source."""

import ast
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAM = ("__main__", "stack", "wiring", "settings", "components")
OURS = {*PROGRAM, "workloads", "ops", "localcloud"}


@pytest.fixture(scope="module", autouse=True)
def no_rests_of_the_engine() -> None:
    """End what a failed `up` of an earlier test left half done: were it collected while ast parses, ast would fail."""
    gc.collect()


def sources(*parts: str) -> list[Path]:
    """Modules of packages and files of the root."""
    found: list[Path] = []
    for part in parts:
        file = ROOT / f"{part}.py"
        found += [file] if file.is_file() else sorted((ROOT / part).rglob("*.py"))
    assert found, f"nothing under {parts}: has it moved?"
    return found


def imports(file: Path) -> Iterator[str]:
    """Modules that `file` names, wherever in the file; `from package import module` counts as the module."""
    package = file.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            module = base if node.level else node.module or ""
            yield module
            yield from (name for alias in node.names if is_module(name := f"{module}.{alias.name}"))


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def top(module: str) -> str:
    return module.partition(".")[0]


def uses(files: list[Path], allowed: set[str]) -> list[str]:
    """Imports of our own packages that are not allowed, as `file: module`."""
    return [
        f"{file.relative_to(ROOT)}: {module}"
        for file in files
        for module in imports(file)
        if top(module) in OURS and top(module) not in allowed
    ]


def test_the_entry_point_is_one_statement_on_settings_and_stack() -> None:
    tree = ast.parse((ROOT / "__main__.py").read_text())
    statements = [node for node in tree.body if not isinstance(node, ast.Import)]
    assert [ast.unparse(node) for node in statements] == ["stack.deploy(settings.load())"]
    assert uses(sources("__main__"), {"settings", "stack"}) == []


@pytest.mark.parametrize(
    ("part", "allowed"),
    [
        ("stack", {"components", "settings", "wiring"}),
        ("wiring", {"components", "settings"}),
        ("settings", {"settings", "workloads"}),
        ("components", {"components", "workloads"}),
        ("ops", {"ops", "workloads", "localcloud"}),
        ("localcloud", {"localcloud"}),
        ("workloads", {"workloads"}),
    ],
)
def test_arrows_between_packages(part: str, allowed: set[str]) -> None:
    assert uses(sources(part), allowed) == []


@pytest.mark.parametrize("part", ["settings", "components", "stack", "wiring", "ops"])
def test_who_is_outside_a_container_knows_its_contract_only(part: str) -> None:
    wrong = [
        f"{file.relative_to(ROOT)}: {module}"
        for file in sources(part)
        for module in imports(file)
        if module.startswith("workloads.") and len(module.split(".")) > 2 and not module.endswith(".contract")
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ["pulumi", "pulumi_gcp", "pulumi_docker"])
def test_containers_know_nothing_of_pulumi(package: str) -> None:
    assert [str(file) for file in sources("workloads") for module in imports(file) if top(module) == package] == []


def test_contracts_need_the_standard_library_only() -> None:
    contracts = sorted(ROOT.glob("workloads/*/contract.py"))
    assert len(contracts) >= 2
    for file in contracts:
        for module in imports(file):
            of_contracts = module.startswith("workloads.") and module.endswith(".contract")
            # _typeshed is the standard library's, for the type checker alone
            assert of_contracts or top(module) in {*sys.stdlib_module_names, "_typeshed"}, f"{file}: {module}"


def test_workloads_know_each_other_through_common_only() -> None:
    for file in sources("workloads"):
        own = file.relative_to(ROOT / "workloads").parts[0]
        for module in imports(file):
            if module.startswith("workloads."):
                assert module.split(".")[1] in {own, "common"}, f"{file}: {module}"


def test_nothing_but_the_local_commands_imports_the_local_cloud() -> None:
    importers = {
        str(file.relative_to(ROOT))
        for file in sources(*sorted(OURS - {"localcloud"}))
        for module in imports(file)
        if top(module) == "localcloud"
    }
    assert importers <= {"ops/local.py"}


def test_only_the_settings_read_the_configuration() -> None:
    readers = {
        str(file.relative_to(ROOT))
        for file in sources(*PROGRAM)
        for node in ast.walk(ast.parse(file.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in {"Config", "get_config"})
        or (isinstance(node, ast.Name) and node.id == "CONFIG")
    }
    assert readers == {"settings/__init__.py"}


def reads_environment(file: Path) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in {"environ", "environb", "getenv"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        for node in ast.walk(ast.parse(file.read_text()))
    )


def readers_of_the_environment(part: str) -> set[str]:
    return {str(file.relative_to(ROOT)) for file in sources(part) if reads_environment(file)}


@pytest.mark.parametrize("part", PROGRAM)
def test_the_program_reads_no_environment(part: str) -> None:
    assert readers_of_the_environment(part) == set()


def test_a_container_reads_its_environment_in_its_entry_point() -> None:
    assert {Path(file).name for file in readers_of_the_environment("workloads")} <= {"__main__.py"}


def test_the_command_reads_its_environment_in_one_place() -> None:
    assert readers_of_the_environment("ops") <= {"ops/environment.py"}


def test_nothing_runs_at_import() -> None:
    """Modules of the program may be imported in any order, without a stack: they hold definitions only."""
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    for file in sources("stack", "wiring", "settings", "components"):
        for node in ast.parse(file.read_text()).body:
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            assert is_text or isinstance(node, allowed), f"{file.name}:{node.lineno}"


def test_a_component_makes_its_children_where_a_preview_sees_them() -> None:
    """Nothing is declared inside apply(): a preview that does not know the value would not show it."""
    for file in sources("components"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "apply":
                for inner in ast.walk(ast.Module(body=[], type_ignores=[]) if not node.args else node.args[0]):
                    made = isinstance(inner, ast.Call) and ast.unparse(inner.func)[:1].isupper()
                    assert not made, f"{file.name}:{node.lineno}"
