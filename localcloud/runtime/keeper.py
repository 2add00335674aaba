"""The parent of one task that runs as a process: `python -m localcloud.runtime.keeper FOLDER`.

It outlives the local cloud, so that output and exit code are there after a restart. In FOLDER it reads spec.json and
writes started.json, output (frames as the Docker engine writes them, with times) and, at the end, exit.json.
"""

import contextlib
import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import psutil

_SAMPLE_S = 0.2
_MAX_OUTPUT_BYTES = 512 << 20
_CHUNK = 65536


def write(path: Path, value: Any) -> None:
    """Write a small file so that it is there whole or not at all."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(value))
    draft.replace(path)


def main(folder: Path) -> int:
    """Run the task of a folder to its end."""
    spec = json.loads((folder / "spec.json").read_text())
    try:
        task = subprocess.Popen(  # noqa: S603 - running what it is given is its purpose
            spec["argv"], cwd=spec["cwd"], env=spec["env"], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
    except OSError as problem:
        write(
            folder / "exit.json",
            {"code": None, "oom": False, "error": f"{spec['argv'][0]}: {problem.strerror}", "started": False},
        )
        return 1
    write(folder / "started.json", identity(task.pid) | {"keeper": identity(os.getpid())})
    with (folder / "output").open("ab") as output:
        oom = _watch(task, output, spec["memory_mib"] << 20)
    code = task.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(task.pid, signal.SIGKILL)  # what the task left behind ends with it, as in a container
    write(folder / "exit.json", {"code": 128 - code if code < 0 else code, "oom": oom, "error": "", "started": True})
    return 0


def identity(pid: int) -> dict[str, Any]:
    """Return what tells a process from another that gets the same number later."""
    return {"pid": pid, "created": psutil.Process(pid).create_time()}


def alive(who: dict[str, Any]) -> bool:
    """Whether the process of an `identity` is still there."""
    try:
        process = psutil.Process(who["pid"])
        return bool(process.create_time() == who["created"] and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _watch(task: "subprocess.Popen[bytes]", output: IO[bytes], limit: int) -> bool:
    """Copy the output until the task has ended; kill it if it takes more memory than its limit, and say whether."""
    selector, oom, written, sampled = selectors.DefaultSelector(), False, 0, 0.0
    for kind, pipe in ((1, task.stdout), (2, task.stderr)):
        if pipe is not None:
            selector.register(pipe, selectors.EVENT_READ, kind)
    while task.poll() is None or (selector.get_map() and selector.select(0)):
        for key, _ in selector.select(_SAMPLE_S):
            data = os.read(key.fd, _CHUNK)
            if not data:
                selector.unregister(key.fileobj)
            elif written < _MAX_OUTPUT_BYTES:
                written += len(data)
                _frame(output, key.data, data)
        if time.monotonic() - sampled > _SAMPLE_S:
            sampled = time.monotonic()
            if task.poll() is None and _resident(task.pid) > limit:
                oom = True
                os.killpg(task.pid, signal.SIGKILL)
    return oom


def _frame(output: IO[bytes], kind: int, data: bytes) -> None:
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
    body = moment + b" " + data
    output.write(struct.pack(">BxxxL", kind, len(body)) + body)
    output.flush()


def _resident(pid: int) -> int:
    """Return the memory of a process and all below it, bytes."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
    return total


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
