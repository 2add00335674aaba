import os
import subprocess
import sys
from pathlib import Path

from workloads.common.memory import MIB, cpu_count, descendants, find_memory, own_memory, tree_memory


def make(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = {
    "proc/7/cgroup": "0::/\n",
    "sys/fs/cgroup/memory.max": f"{512 * MIB}\n",
    "sys/fs/cgroup/memory.current": f"{300 * MIB}\n",
    "sys/fs/cgroup/memory.stat": f"anon 1\nfile {250 * MIB}\nshmem {50 * MIB}\nslab_reclaimable {10 * MIB}\n",
    "sys/fs/cgroup/memory.events": "low 0\noom 2\noom_kill 3\n",
}
V1 = {
    "proc/7/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{512 * MIB}\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{300 * MIB}\n",
    "sys/fs/cgroup/memory/memory.stat": f"cache 5\ntotal_cache {250 * MIB}\ntotal_shmem {50 * MIB}\n",
    "sys/fs/cgroup/memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
}


def test_version_2_counts_what_cannot_be_given_back(tmp_path: Path) -> None:
    memory = find_memory(make(tmp_path, V2), pid=7)
    assert (memory.limit, memory.source) == (512 * MIB, "cgroup v2")
    assert (memory.read().used, memory.read().oom_kills) == (90 * MIB, 3)


def test_version_1_counts_what_cannot_be_given_back(tmp_path: Path) -> None:
    memory = find_memory(make(tmp_path, V1), pid=7)
    assert (memory.limit, memory.source) == (512 * MIB, "cgroup v1")
    assert (memory.read().used, memory.read().oom_kills) == (100 * MIB, 3)


def test_own_group_is_found_where_the_whole_hierarchy_is_mounted(tmp_path: Path) -> None:
    own = {
        "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": f"{64 * MIB}\n",
        "sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": f"{9 * MIB}\n",
    }
    memory = find_memory(make(tmp_path, V1 | own), pid=7)
    assert (memory.limit, memory.read().used) == (64 * MIB, 9 * MIB)


def test_without_a_limit_the_process_tree_is_measured_against_the_machine(tmp_path: Path) -> None:
    unlimited = {"proc/7/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}
    machine = {"proc/meminfo": "MemTotal:  1048576 kB\n"}
    tree = {"proc/8/status": "RssAnon: 2048 kB\nRssFile: 9999 kB\nRssShmem: 1024 kB\n"}
    memory = find_memory(make(tmp_path, unlimited | machine | tree), pid=7, tree=lambda: {8})
    assert (memory.limit, memory.source) == (1 << 30, "process tree")
    assert memory.read().used == 3 * MIB


def test_the_smaller_of_what_was_said_and_what_is_limited_holds(tmp_path: Path) -> None:
    root = make(tmp_path, V2)
    assert find_memory(root, pid=7, configured=100 * MIB).limit == 100 * MIB
    assert find_memory(root, pid=7, configured=999 * MIB).limit == 512 * MIB


def test_cpu_quota_of_both_versions(tmp_path: Path) -> None:
    assert cpu_count(make(tmp_path / "v2", {"sys/fs/cgroup/cpu.max": "50000 100000\n"})) == 0.5
    v1 = {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "25000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}
    assert cpu_count(make(tmp_path / "v1", v1)) == 0.25
    assert cpu_count(tmp_path / "none") == len(os.sched_getaffinity(0))


def test_grandchildren_are_found_and_measured() -> None:
    inner = "held = bytearray(60 << 20); print(flush=True); input()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    child = subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        below = descendants(os.getpid())
        assert child.pid in below
        assert len(below) >= 2
        assert tree_memory(below) > 60 * MIB
    finally:
        child.communicate(b"\n")


def test_own_memory_is_known() -> None:
    now, peak = own_memory()
    assert 5 * MIB < now <= peak
