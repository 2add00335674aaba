"""What every set-up step shares: where things lie, locks, child processes, what is printed."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


class StepError(Exception):
    """A step cannot be done; the text says why and what the reader can do about it."""


class Interrupted(StepError):
    """The set-up was stopped (Ctrl-C or SIGTERM); the next call goes on where this one ended."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a step leaves to those after it."""

    detail: str
    """One line for the reader: what is there now."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables for .local/env.sh."""
    path: tuple[Path, ...] = ()
    """Folders for the front of PATH."""
    program: Path | None = None
    """The program that this step found or made, for the steps that need it."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where a checkout and this machine keep things. Everything in `cache` can be deleted and comes back."""

    root: Path
    """The checkout."""
    cache: Path
    """Shared by all checkouts of a user: LONGHAUL_CACHE, default ~/.cache/longhaul."""
    run: Path
    """Sockets and process ids: LONGHAUL_RUN, default /run/longhaul."""
    env: Mapping[str, str]
    """The environment that the set-up was called with."""

    @property
    def local(self) -> Path:
        """What belongs to this checkout alone and is not committed."""
        return self.root / ".local"

    @property
    def path(self) -> str:
        """PATH without what .local/env.sh put there: what the machine itself has."""
        ours = (self.root, self.cache)
        folders = self.env.get("PATH", os.defpath).split(os.pathsep)
        return os.pathsep.join(part for part in folders if part and not any(map(Path(part).is_relative_to, ours)))

    @property
    def is_root(self) -> bool:
        return os.geteuid() == 0

    @property
    def can_apt(self) -> bool:
        """Debian (or a child of it) and root: packages may be installed."""
        return self.is_root and Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None


def machine(root: Path, env: Mapping[str, str]) -> Machine:
    cache = Path(env.get("LONGHAUL_CACHE") or Path.home() / ".cache" / "longhaul").resolve()
    run = Path(env.get("LONGHAUL_RUN") or "/run/longhaul").resolve()
    for folder in (cache / "locks", cache / "log", root / ".local"):
        folder.mkdir(parents=True, exist_ok=True)
    return Machine(root=root, cache=cache, run=run, env=env)


class Children:
    """The child processes of all steps, so that a stop of the set-up stops them too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self.stopped = False

    def add(self, child: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.add(child)
            stopped = self.stopped
        if stopped:
            _signal_group(child, signal.SIGTERM)

    def remove(self, child: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(child)

    def stop(self) -> None:
        """End what runs now, and at once whatever is started later."""
        with self._lock:
            self.stopped = True
            running = list(self._running)
        for child in running:
            _signal_group(child, signal.SIGTERM)


CHILDREN = Children()


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself in the meantime
        os.killpg(child.pid, number)


_PRINT = threading.Lock()


def say(step: str, text: str) -> None:
    """Print one line; lines of steps that run side by side never mix."""
    with _PRINT:
        print(f"  {step:<11} {text}", flush=True)


def log_file(m: Machine, step: str) -> Path:
    return m.cache / "log" / f"{step.replace(' ', '-')}.log"


def call(
    m: Machine,
    step: str,
    argv: Sequence[str | Path],
    *,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a command and return what it wrote; all of it also goes to the step's log.

    Raises:
        StepError: it failed or took longer than `timeout_s` seconds; the text ends with its last lines.
    """
    words = [str(part) for part in argv]
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**m.env, **(env or {})},
            cwd=cwd or m.root,
            start_new_session=True,  # so that its own children end with it
        )
        CHILDREN.add(child)
        try:
            code: int | None = child.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            code = None
            _end(child)
        finally:
            CHILDREN.remove(child)
        output.seek(0)
        text = output.read().decode(errors="replace")
    with log_file(m, step).open("a") as log:
        log.write(f"$ {' '.join(words)}\n{text}\n")
    if code == 0:
        return text
    if CHILDREN.stopped:
        raise Interrupted(f"{step}: stopped")
    ended = f"took longer than {timeout_s:.0f} s" if code is None else f"exited with {code}"
    tail = "\n      ".join(text.strip().splitlines()[-8:])
    raise StepError(f"{' '.join(words[:4])} … {ended}; whole output: {log_file(m, step)}\n      {tail}")


def _end(child: subprocess.Popen[bytes]) -> None:
    _signal_group(child, signal.SIGTERM)
    try:
        child.wait(timeout=10)
    except subprocess.TimeoutExpired:
        _signal_group(child, signal.SIGKILL)
        child.wait()


@contextlib.contextmanager
def lock(m: Machine, name: str, step: str) -> Iterator[None]:
    """Hold `name` alone among all set-ups of this user; the kernel frees it however its holder ends."""
    with (m.cache / "locks" / f"{name}.lock").open("w") as handle:
        waiting = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if CHILDREN.stopped:
                    raise Interrupted(f"{step}: stopped") from None
                if not waiting:
                    say(step, f"another set-up holds {name}; waiting for it")
                    waiting = True
                time.sleep(0.2)
        yield


def build_folder(target: Path, make: Callable[[Path], None]) -> None:
    """Make the folder `target` in one piece: a reader sees all of it or none, also after a kill.

    The caller holds the lock that guards `target`. Leftovers of killed attempts are removed first.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(left, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    draft.chmod(0o755)
    make(draft)
    if target.exists():
        shutil.rmtree(target)
    draft.rename(target)


def link(m: Machine, program: Path) -> None:
    """`bin/` of the cache names the current version, for people who call it by hand."""
    name = m.cache / "bin" / program.name
    if name.exists() and name.resolve() == program.resolve():
        return
    name.parent.mkdir(exist_ok=True)
    draft = name.with_name(f".{name.name}.{os.getpid()}")
    draft.symlink_to(program)
    draft.replace(name)


def processes_with(word: str) -> list[int]:
    """Processes that were started with `word` as one of their arguments and that see the same file system as we do.

    In a chroot or a container that shows the host's processes, a path of ours may be another folder there.
    """
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end while we look, or be another user's
            named = word.encode() in (entry / "cmdline").read_bytes().split(b"\0")
            if named and os.path.samefile(entry / "root", "/"):
                found.append(int(entry.name))
    return found


def end_group_of(word: str) -> None:
    """End what a killed set-up left running with `word` among its arguments, each with all its own children."""
    for pid in processes_with(word):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(os.getpgid(pid), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while processes_with(word) and time.monotonic() < deadline:
        time.sleep(0.05)


def unmount(folder: Path) -> None:
    """Let go of every file system that is mounted on `folder` or below it."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for path in sorted((path for path in mounts if Path(path).is_relative_to(folder)), reverse=True):
        subprocess.run(["umount", "--lazy", path], check=True, timeout=30)


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Write in one piece, and only if it differs, so that a repeated set-up changes no time stamp."""
    if path.exists() and path.read_text() == text and path.stat().st_mode & 0o777 == mode:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.chmod(mode)
    draft.rename(path)


def fail(text: str) -> int:
    print(f"\n{text}", file=sys.stderr, flush=True)
    return 1
