"""`make check`: format, lint, types and layering, side by side; what failed is printed whole."""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
CHECKS: dict[str, list[str]] = {
    "format": [f"{BIN}/ruff", "format", "--check", "."],
    "lint": [f"{BIN}/ruff", "check", "."],
    "types": [f"{BIN}/mypy", "."],
    "layering": [f"{BIN}/python", "-m", "pytest", "-q", "--no-header", "tests/test_layering.py"],
}
REMEDY = {"format": "ruff format .", "lint": "ruff check --fix ."}


def main() -> int:
    """0: all is clean; 1: something is not, and its output was printed."""
    start = time.monotonic()
    running = {
        name: subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for name, argv in CHECKS.items()
    }
    failed = []
    for name, child in running.items():
        output, _ = child.communicate()
        if child.returncode:
            failed.append(name)
            remedy = f" (uv run {REMEDY[name]} may mend it)" if name in REMEDY else ""
            print(f"--- {name}: failed{remedy}\n{output.rstrip()}", flush=True)
    verdict = f"failed: {', '.join(failed)}" if failed else f"clean: {', '.join(CHECKS)}"
    print(f"check: {verdict} ({time.monotonic() - start:.1f} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
