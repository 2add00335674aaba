""".local/env.sh: what the set-up decided, for a shell and for the Makefile."""

import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from tools.common import Done, Machine, write_text

LOCAL_PASSPHRASE = "longhaul-local"  # noqa: S105  (public on purpose)
"""Protects nothing: the local stack has no secrets, and its state never leaves this checkout."""
LOCAL_TOKEN = "local-deployer"  # noqa: S105  (public on purpose)
"""The local cloud's fixed token for the person who deploys; no other system knows it."""


def write(m: Machine, done: Iterable[Done]) -> Path:
    """Write .local/env.sh from what the steps found. Returns its path."""
    done = list(done)
    env: dict[str, str] = {
        "LONGHAUL_CACHE": str(m.cache),
        "PULUMI_BACKEND_URL": f"file://{m.local / 'pulumi'}",
        "PULUMI_CONFIG_PASSPHRASE": LOCAL_PASSPHRASE,
        "PULUMI_SKIP_UPDATE_CHECK": "1",
        "PULUMI_GCP_SKIP_REGION_VALIDATION": "true",
        "GOOGLE_OAUTH_ACCESS_TOKEN": LOCAL_TOKEN,
    }
    for step in done:
        env.update(step.env)
    (m.local / "pulumi").mkdir(exist_ok=True)
    path = m.local / "env.sh"
    write_text(path, _text(m, env, [folder for step in done for folder in step.path]))
    return path


def _text(m: Machine, env: Mapping[str, str], folders: list[Path]) -> str:
    ours = [m.local / "bin", m.root / ".venv" / "bin"]
    front = [*ours, *(folder for folder in folders if folder not in ours)]
    first = os.pathsep.join(dict.fromkeys(str(folder) for folder in front))
    lines = [
        "# Written by `make setup`; made anew by every call. Use it with: . .local/env.sh",
        "# Everything in it concerns the local stack; for a real project open a fresh shell.",
        *(f"export {name}={shlex.quote(value)}" for name, value in sorted(env.items())),
        f'case ":$PATH:" in *:{shlex.quote(first)}:*) ;; *) export PATH={shlex.quote(first)}:"$PATH" ;; esac',
        "",
    ]
    return "\n".join(lines)
