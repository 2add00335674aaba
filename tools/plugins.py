"""The gcp and docker provider plugins: the real ones where they can be had, otherwise the stand-ins of localcloud."""

import json
import platform
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from tools.common import Done, Machine, StepError, call, lock, say, write_text

NAMES = ("gcp", "docker")
RELEASES = "https://get.pulumi.com/releases/plugins"
"""Where Pulumi's plugins are published, as of 2026-11."""
PROBE_S = 5.0
INSTALL_S = 600.0
_WRAPPER = """#!/bin/sh
# Stand-in for the {name} provider plugin {version}, which could not be installed on this machine.
# `make setup PLUGINS=real` tries again.
exec "{python}" -m localcloud.plugins.{name} "$@"
"""


def plugins(m: Machine, pulumi: Path) -> Done:
    """Choose for both providers at once: a mixture would be harder to reason about than either."""
    versions = {name: _version(m, name) for name in NAMES}
    home = m.local / "pulumi-home"
    _share_plugins(m, home)
    choice = m.env.get("PLUGINS", "auto")
    if choice not in ("auto", "real", "stand-in"):
        raise StepError(f"PLUGINS must be auto, real or stand-in, got {choice!r}")
    env = {"PULUMI_HOME": str(home)}
    path = (m.local / "bin",)
    if choice != "stand-in" and all(_present(m, home, name, versions[name]) for name in NAMES):
        _remove_wrappers(m)
        return Done(detail="the real gcp and docker plugins", env=env, path=path)
    if choice == "stand-in" or (choice == "auto" and all(_wrapper(m, name).exists() for name in NAMES)):
        why = "as PLUGINS says" if choice == "stand-in" else "as before; make setup PLUGINS=real tries again"
        return Done(detail=_stand_ins(m, versions, why), env=env, path=path)
    try:
        with lock(m, "plugins", "plugins"):
            for name in NAMES:
                _install(m, pulumi, home, name, versions[name])
    except StepError as err:
        if choice == "real":
            raise
        return Done(detail=_stand_ins(m, versions, str(err).splitlines()[0]), env=env, path=path)
    _remove_wrappers(m)
    return Done(detail="the real gcp and docker plugins, installed just now", env=env, path=path)


def _version(m: Machine, name: str) -> str:
    """The version that the SDK in the environment asks for."""
    found = sorted((m.root / ".venv" / "lib").glob(f"python3*/site-packages/pulumi_{name}/pulumi-plugin.json"))
    if not found:
        raise StepError(f"pulumi_{name} is not in .venv: run make setup again")
    return str(json.loads(found[0].read_text())["version"])


def _share_plugins(m: Machine, home: Path) -> None:
    """Plugins are some hundred MB: all checkouts share one folder, all else of PULUMI_HOME is this checkout's."""
    shared = m.cache / "plugins"
    shared.mkdir(exist_ok=True)
    home.mkdir(exist_ok=True)
    link = home / "plugins"
    if not link.is_symlink():
        if link.exists():
            shutil.rmtree(link)
        link.symlink_to(shared)


def _present(m: Machine, home: Path, name: str, version: str) -> bool:
    """On PATH, or installed earlier in our folder or in the one that the user's own Pulumi uses."""
    if shutil.which(f"pulumi-resource-{name}", path=m.path):
        return True
    folder = f"resource-{name}-v{version}"
    if (home / "plugins" / folder / f"pulumi-resource-{name}").exists():
        return True
    users = Path(m.env.get("PULUMI_HOME") or Path.home() / ".pulumi") / "plugins" / folder
    if users.resolve().is_relative_to(m.cache) or not (users / f"pulumi-resource-{name}").exists():
        return False
    (home / "plugins" / folder).symlink_to(users)
    return True


def _install(m: Machine, pulumi: Path, home: Path, name: str, version: str) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    file = f"pulumi-resource-{name}-v{version}-{platform.system().lower()}-{machine}.tar.gz"
    request = urllib.request.Request(f"{RELEASES}/{file}", method="HEAD")  # noqa: S310  (RELEASES is https)
    try:
        urllib.request.urlopen(request, timeout=PROBE_S).close()  # noqa: S310  (the same)
    except (urllib.error.URLError, OSError) as err:
        raise StepError(f"{RELEASES} cannot be reached ({getattr(err, 'reason', err)})") from None
    say("plugins", f"installing the {name} plugin {version} (1-3 min, once)")
    argv: list[str | Path] = [pulumi, "plugin", "install", "resource", name, version]
    env = {"PULUMI_HOME": str(home), "PULUMI_SKIP_UPDATE_CHECK": "1"}
    call(m, "plugins", argv, timeout_s=INSTALL_S, env=env)


def _stand_ins(m: Machine, versions: dict[str, str], why: str) -> str:
    for name in NAMES:
        python = m.root / ".venv" / "bin" / "python"
        write_text(_wrapper(m, name), _WRAPPER.format(name=name, version=versions[name], python=python), 0o755)
    return f"STAND-INS for the gcp and docker plugins ({why})"


def _wrapper(m: Machine, name: str) -> Path:
    return m.local / "bin" / f"pulumi-resource-{name}"


def _remove_wrappers(m: Machine) -> None:
    for name in NAMES:
        _wrapper(m, name).unlink(missing_ok=True)
