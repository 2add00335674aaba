"""The one reader of this process's environment: which project, and what its engine needs."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ops.errors import BadRequest, OpsError

PROJECT_VARIABLE = "LONGHAUL_PROJECT"

_SHARED = frozenset({"DOCKER_HOST", "PULUMI_SKIP_UPDATE_CHECK"})


@dataclass(frozen=True)
class Project:
    """A folder with a Pulumi.yaml, and the environment its commands run with."""

    root: Path
    """The folder of Pulumi.yaml and the stack files."""
    environ: Mapping[str, str]
    """Environment of this process when the command began."""

    @property
    def scratch(self) -> Path:
        """Caches, sandboxed runs and the local cloud's state."""
        return self.root / ".local"

    @cached_property
    def _settings(self) -> Mapping[str, object]:
        import yaml

        found = yaml.safe_load((self.root / "Pulumi.yaml").read_text(encoding="utf-8"))
        if not isinstance(found, dict) or "name" not in found:
            raise BadRequest(f"{self.root / 'Pulumi.yaml'} names no project")
        return found

    @property
    def name(self) -> str:
        """The project's name in Pulumi."""
        return str(self._settings["name"])

    @property
    def code(self) -> Path:
        """The folder of the program's __main__.py: Pulumi.yaml's `main`, or its own folder."""
        return (self.root / str(self._settings.get("main") or ".")).resolve()

    def engine_environ(self, *, local: bool) -> dict[str, str]:
        """Return the environment for the engine, the container client and child processes.

        What the set-up wrote to `.local/env.sh` is added: all of it for a stack of the local cloud, only where the
        tools are for any other, so that a real project never sees the local credentials, backend or plugins.
        """
        written = sourced(self.scratch / "env.sh", self.environ)
        if local:
            return written
        shared = {name: value for name, value in written.items() if name in _SHARED}
        stand_ins = str(self.scratch / "bin")
        path = [folder for folder in written.get("PATH", "").split(os.pathsep) if folder != stand_ins]
        return {**self.environ, **shared, "PATH": os.pathsep.join(path)}


def sourced(path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` as a shell has it after reading `path`; unchanged without that file."""
    if not path.is_file():
        return dict(environ)
    done = subprocess.run(  # noqa: S603 - a fixed command, the file is the set-up's own
        ["/bin/sh", "-c", '. "$1" >&2 && env -0', "sh", str(path)], env=dict(environ), capture_output=True, check=False
    )
    if done.returncode:
        raise OpsError(f"{path}: {done.stderr.decode(errors='replace').strip()}", "write it anew: make setup")
    pairs = (entry.partition("=") for entry in done.stdout.decode(errors="surrogateescape").split("\0") if entry)
    return {name: value for name, _, value in pairs if name not in ("_", "SHLVL", "PWD", "OLDPWD")}


def find_project(folder: Path | None = None) -> Project:
    """Return the project of `folder`, of $LONGHAUL_PROJECT, or of the current folder or the nearest one above it.

    Raises BadRequest: there is no Pulumi.yaml.
    """
    named = folder or (Path(value) if (value := os.environ.get(PROJECT_VARIABLE)) else None)
    candidates = [named.resolve()] if named else [Path.cwd(), *Path.cwd().parents]
    for root in candidates:
        if (root / "Pulumi.yaml").is_file():
            return Project(root=root, environ=dict(os.environ))
    raise BadRequest(
        f"no Pulumi.yaml in {candidates[0]}" + ("" if named else " or above it"),
        f"call longhaul in the project's folder, or give --project DIR or ${PROJECT_VARIABLE}",
    )
