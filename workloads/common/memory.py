"""What memory a container has and uses, from control groups of version 1 and 2, or from the process tree."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

MIB = 1 << 20
_UNLIMITED = 1 << 60
"""Version 1 writes a number near 2^63 for 'no limit'."""


@dataclass(frozen=True)
class Reading:
    """One look at the memory."""

    used: int
    """Bytes that cannot be given back without ending a process or deleting a file in memory."""
    oom_kills: int
    """Processes the kernel has ended in this control group because of its memory."""


@dataclass(frozen=True)
class Memory:
    """Where the memory of this container or process tree is read."""

    limit: int | None
    """Bytes; None if nothing limits it."""
    source: str
    """`cgroup v1`, `cgroup v2` or `process tree`."""
    read: Callable[[], Reading]


def find_memory(
    root: Path = Path("/"), *, pid: int | None = None, configured: int = 0, tree: Callable[[], set[int]] | None = None
) -> Memory:
    """The memory of the control group this process is in, or of its process tree where no group limits it.

    `configured` is a limit in bytes that the caller was told; the smaller of the two limits holds. `tree` gives
    the processes to count if no control group has a limit; default: this process and its descendants.
    """
    own = pid or os.getpid()
    for find in (_find_v2, _find_v1):
        found = find(root, own)
        if found is not None and found.limit is not None:
            limit = min(found.limit, configured) if configured else found.limit
            return Memory(limit, found.source, found.read)
    members = tree or (lambda: {own, *descendants(own, root)})
    total = _total_memory(root)
    limits = [value for value in (configured, total) if value]
    return Memory(min(limits) if limits else None, "process tree", lambda: Reading(tree_memory(members(), root), 0))


def _find_v2(root: Path, pid: int) -> Memory | None:
    for folder in _folders(root, pid, controller="", mount="sys/fs/cgroup"):
        text = _text(folder / "memory.max")
        if text is None:
            continue
        limit = None if text.strip() == "max" else int(text)
        return Memory(limit, "cgroup v2", partial(_read_v2, folder))
    return None


def _find_v1(root: Path, pid: int) -> Memory | None:
    for folder in _folders(root, pid, controller="memory", mount="sys/fs/cgroup/memory"):
        text = _text(folder / "memory.limit_in_bytes")
        if text is None:
            continue
        limit = int(text)
        return Memory(None if limit >= _UNLIMITED else limit, "cgroup v1", partial(_read_v1, folder))
    return None


def _folders(root: Path, pid: int, controller: str, mount: str) -> list[Path]:
    """The process's own group first, then the mount itself: inside a container only the second exists."""
    paths = []
    for line in (_text(root / f"proc/{pid}/cgroup") or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if (controller and controller in controllers.split(",")) or (not controller and number == "0"):
            paths.append(root / mount / path.lstrip("/"))
    return [*paths, root / mount]


def _read_v2(folder: Path) -> Reading:
    stat = _numbers(folder / "memory.stat")
    current = int(_text(folder / "memory.current") or 0)
    # Pages of files can be dropped; pages of shmem (tmpfs) are counted as file but cannot.
    reclaimable = stat.get("file", 0) - stat.get("shmem", 0) + stat.get("slab_reclaimable", 0)
    return Reading(max(0, current - reclaimable), _numbers(folder / "memory.events").get("oom_kill", 0))


def _read_v1(folder: Path) -> Reading:
    stat = _numbers(folder / "memory.stat")
    current = int(_text(folder / "memory.usage_in_bytes") or 0)
    reclaimable = stat.get("total_cache", 0) - stat.get("total_shmem", 0)
    return Reading(max(0, current - reclaimable), _numbers(folder / "memory.oom_control").get("oom_kill", 0))


def descendants(pid: int, root: Path = Path("/")) -> set[int]:
    """Processes below `pid`, at whatever depth."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir(root / "proc"):
        if entry.name.isdecimal() and (stat := _text(Path(entry.path) / "stat")):
            # the program's name in brackets may itself contain spaces and brackets
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    queue = [pid]
    while queue:
        below = children.get(queue.pop(), [])
        queue.extend(child for child in below if child not in found)
        found.update(below)
    return found


def tree_memory(pids: set[int], root: Path = Path("/")) -> int:
    """Bytes these processes hold for themselves: a page shared by several counts once, in parts (PSS)."""
    return sum(_process_memory(root / f"proc/{pid}") for pid in pids)


def _process_memory(folder: Path) -> int:
    rollup = _kilobytes(folder / "smaps_rollup")
    if "Pss_Anon" in rollup:
        return rollup["Pss_Anon"] + rollup.get("Pss_Shmem", 0)
    status = _kilobytes(folder / "status")  # another user's process shows its status, not its maps
    return status.get("RssAnon", 0) + status.get("RssShmem", 0)


def own_memory(root: Path = Path("/")) -> tuple[int, int]:
    """Resident bytes of this process, now and at its peak."""
    status = _kilobytes(root / "proc/self/status")
    return status.get("VmRSS", 0), status.get("VmHWM", 0)


def cpu_count(root: Path = Path("/")) -> float:
    """CPUs this container may use: its quota where it has one, else what the scheduler allows."""
    allowed = float(len(os.sched_getaffinity(0)))
    v2 = (_text(root / "sys/fs/cgroup/cpu.max") or "max").split()
    if v2[0] != "max":
        return min(allowed, int(v2[0]) / int(v2[1]))
    quota = int(_text(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us") or -1)
    period = int(_text(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us") or 100_000)
    return min(allowed, quota / period) if quota > 0 else allowed


def _total_memory(root: Path) -> int:
    return _kilobytes(root / "proc/meminfo").get("MemTotal", 0)


def _numbers(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in (_text(path) or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _kilobytes(path: Path) -> dict[str, int]:
    """`Name:  123 kB` lines, in bytes."""
    rows = (line.split() for line in (_text(path) or "").splitlines())
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) == 3 and row[2] == "kB"}


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None  # not this version of control groups, another user's process, or one that has just ended
