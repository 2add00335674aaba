import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def longhaul(*words: str | Path, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "ops.cli", *map(str, words)]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": "/nonexistent", "COLUMNS": "100"}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Pulumi.yaml").write_text("name: longhaul\nruntime: python\n")
    (tmp_path / "Pulumi.local.yaml").write_text(
        "config:\n  gcp:project: p\n  gcp:cloudRunV2CustomEndpoint: http://127.0.0.1:1/v2/\n"
    )
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "env.sh").write_text(f"export PULUMI_BACKEND_URL=file://{tmp_path}/state\n")
    return tmp_path


def test_help_needs_no_client_of_google_and_no_engine() -> None:
    code = (
        "import sys; sys.argv=['longhaul','--help']\n"
        "import ops.cli\n"
        "try: ops.cli.main()\nexcept SystemExit: pass\n"
        "heavy = [m for m in ('google.auth','google.cloud.storage','pulumi','pydantic','httpx','yaml') if m in sys.modules]\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_error_is_one_line_with_a_remedy_and_no_traceback(folder: Path, tmp_path: Path) -> None:
    done = longhaul("--project", folder, "run", "heavy", "--data", "no.csv", "--script", "no.py")
    assert done.returncode == 2
    assert done.stderr == "longhaul: data: there is no file no.csv\n"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = longhaul("--project", elsewhere, "status")
    assert done.returncode == 2
    assert done.stderr.splitlines()[1].startswith("  -> call longhaul in the project's folder")


def test_debug_shows_where_an_error_comes_from(folder: Path) -> None:
    done = longhaul("--project", folder, "--debug", "status", "nothing")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_a_usage_error_is_a_bad_request(folder: Path) -> None:
    assert longhaul("--project", folder, "run", "heavy", "--frobnicate").returncode == 2


def test_status_without_runs_says_so_and_json_is_an_empty_list(folder: Path) -> None:
    done = longhaul("--project", folder, "status")
    assert (done.returncode, done.stderr) == (0, "no runs yet. longhaul run heavy --help\n")
    assert json.loads(longhaul("--project", folder, "status", "--json").stdout) == []


def test_a_large_table_without_a_deployed_stack_is_told_what_to_do(folder: Path) -> None:
    (folder / "t.csv").write_text("a\n1\n")
    (folder / "s.py").write_text("pass\n")
    words = ("run", "heavy", "--data", folder / "t.csv", "--script", folder / "s.py", "--sandbox", "never")
    done = longhaul("--project", folder, *words)
    assert done.returncode == 2
    assert "longhaul: stack local is not deployed" in done.stderr
    assert "-> longhaul up --stack local" in done.stderr
