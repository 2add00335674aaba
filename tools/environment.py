"""uv, and the project's Python environment from its lock file."""

import re
import shutil
import sys
from pathlib import Path

from tools import apt
from tools.common import Done, Machine, build_folder, call, link, lock, say

UV_VERSION = "0.13.9"
"""Installed where no uv is on PATH. https://pypi.org/project/uv/"""
OLDEST_UV = (0, 13)
"""The series that wrote uv.lock; an older one on PATH is left alone and not used."""


def uv(m: Machine) -> Done:
    """Use the uv on PATH, or install one from PyPI into a virtual environment of the cache."""
    home = m.cache / "uv" / UV_VERSION
    program = home / "bin" / "uv"
    found = shutil.which("uv", path=m.path)
    if found and _reads_our_lock(m, found):
        return Done(detail=f"uv on PATH ({found})", program=Path(found))
    with lock(m, "uv", "uv"):
        if not program.exists():
            say("uv", f"installing uv {UV_VERSION} from PyPI (about 5 s, once)")
            _need_venv(m)
            build_folder(home, lambda draft: _install_uv(m, draft))
    link(m, program)
    return Done(detail=f"uv {UV_VERSION} in {home}", path=(program.parent,), program=program)


def _reads_our_lock(m: Machine, program: str) -> bool:
    version = re.search(r"uv (\d+)\.(\d+)", call(m, "uv", [program, "--version"], timeout_s=30))
    return version is not None and tuple(map(int, version.groups())) >= OLDEST_UV


def _need_venv(m: Machine) -> None:
    try:
        import ensurepip  # noqa: F401  (Debian ships python3 without it; its absence is what is asked)
        import venv  # noqa: F401  (the same)
    except ImportError:
        pass
    else:
        return
    apt.install(m, "uv", [f"python{sys.version_info.major}.{sys.version_info.minor}-venv"])


def _install_uv(m: Machine, draft: Path) -> None:
    call(m, "uv", [sys.executable, "-m", "venv", draft / "venv"], timeout_s=120)
    pip: list[str | Path] = [draft / "venv" / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install"]
    call(m, "uv", [*pip, f"uv=={UV_VERSION}"], timeout_s=300)
    # only the program is kept: scripts of a virtual environment do not survive the move to its final name
    (draft / "bin").mkdir()
    shutil.copy2(draft / "venv" / "bin" / "uv", draft / "bin" / "uv")
    shutil.rmtree(draft / "venv")


def environment(m: Machine, uv_program: Path) -> Done:
    """`uv sync --frozen` into .venv, with a Python that is on the machine."""
    python = m.root / ".venv" / "bin" / "python"
    argv: list[str | Path] = [uv_program, "sync", "--frozen", "--quiet"]
    if not python.exists():
        say("environment", "installing the locked packages into .venv (10-90 s, once)")
        argv += ["--python", sys.executable]
    env = {"UV_PYTHON_DOWNLOADS": "never", "UV_LINK_MODE": m.env.get("UV_LINK_MODE", "copy")}
    env["UV_PROJECT_ENVIRONMENT"] = str(m.root / ".venv")
    # uv itself waits for a sync of the same checkout; two checkouts share nothing but its cache
    call(m, "environment", argv, timeout_s=900, env=env)
    return Done(detail=f"{python.relative_to(m.root)} from uv.lock", path=(python.parent,))
