"""Latency of reads of the local cloud's APIs at a fixed rate on loopback: `make bench-localcloud`.

Requests are sent at their intended times whether earlier ones were answered or not (open model), over kept connections,
and a latency counts from the intended time: a server that stalls cannot hide it. One client process, one server process.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from localcloud.testing import LocalCloud, local_cloud

PROJECT = "bench-project"
PARENT = f"projects/{PROJECT}/locations/europe-west1"
ACCOUNT = f"runner@{PROJECT}.iam.gserviceaccount.com"
JOBS = 50
TARGET_P99_MS = 10.0
APIS = ("control", "run", "iam", "resourcemanager", "serviceusage", "logging")


@dataclass
class Read:
    """One kind of read, and its latencies in milliseconds."""

    name: str
    port: int
    path: str
    taken_ms: list[float] = field(default_factory=list)


class Connections:
    """Kept connections to one port; grows when all are in use."""

    def __init__(self, port: int):
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def get(self, path: str) -> None:
        """Send one GET and read its answer. Raises RuntimeError unless it is 200."""
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = head.partition("content-length:")[2].partition("\r\n")[0]
        await reader.readexactly(int(length))
        if " 200 " not in head.partition("\r\n")[0]:
            raise RuntimeError(f"{path}: {head.partition(chr(13))[0]}")
        self._idle.append((reader, writer))

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


def fill(cloud: LocalCloud) -> list[Read]:
    """Make what is read, and return the reads."""
    template = {"template": {"containers": [{"image": "example.test/i:1"}]}}
    with httpx.Client() as http:
        for number in range(JOBS):
            url = f"{cloud.url('run')}/v2/{PARENT}/jobs?jobId=job{number}"
            http.post(url, json={"template": template}).raise_for_status()
        account = {"accountId": "runner", "serviceAccount": {"displayName": "runner"}}
        http.post(f"{cloud.url('iam')}/v1/projects/{PROJECT}/serviceAccounts", json=account).raise_for_status()
    ports = cloud.ports
    return [
        Read("run: job", ports["run"], f"/v2/{PARENT}/jobs/job7"),
        Read("run: 50 jobs", ports["run"], f"/v2/{PARENT}/jobs"),
        Read("run: policy", ports["run"], f"/v2/{PARENT}/jobs/job7:getIamPolicy"),
        Read("iam: account", ports["iam"], f"/v1/projects/{PROJECT}/serviceAccounts/{ACCOUNT}"),
        Read("projects: get", ports["resourcemanager"], f"/v1/projects/{PROJECT}"),
        Read("services: get", ports["serviceusage"], f"/v1/projects/{PROJECT}/services/run.googleapis.com"),
    ]


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Answer nothing but an empty object: what the same server costs without a cloud in it."""
    if scope["type"] == "http":
        headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})


@contextlib.contextmanager
def bare_server() -> Iterator[Read]:
    """The floor to compare with: `bare` on the same HTTP server, in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "bench.localcloud:bare", "--port", str(port), "--log-level", "error"]
    server = subprocess.Popen([*command, "--lifespan", "off", "--no-access-log"])
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield Read("(a bare server)", port, "/")
    finally:
        server.terminate()
        server.wait()


async def drive(reads: list[Read], rate: float, seconds: float) -> None:
    """Send the reads in turn at `rate` a second for `seconds`."""
    pools = {read.port: Connections(read.port) for read in reads}
    for read in reads:
        await pools[read.port].get(read.path)  # the first one opens files and fills caches

    async def one(read: Read, intended: float) -> None:
        await pools[read.port].get(read.path)
        read.taken_ms.append((time.perf_counter() - intended) * 1000)

    start, sent = time.perf_counter() + 0.1, list[asyncio.Task[None]]()
    for number in range(int(rate * seconds)):
        intended = start + number / rate
        if (left := intended - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        sent.append(asyncio.create_task(one(reads[number % len(reads)], intended)))
    await asyncio.gather(*sent)
    for pool in pools.values():
        pool.close()


def percentile(values: list[float], share: float) -> float:
    """Return the value that `share` of them do not exceed."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def report(reads: list[Read], floor: Read, rate: float) -> dict[str, dict[str, float | bool]]:
    """Print the table and return the figures."""
    everything = Read("all", 0, "", [value for read in reads for value in read.taken_ms])
    table = Table(title=f"reads at {rate:g} a second, ms from the intended time")
    for heading in ("read", "number", "median", "p99", "max"):
        table.add_column(heading, justify="left" if heading == "read" else "right")
    for read in (*reads, everything, floor):
        taken = read.taken_ms
        figures = (statistics.median(taken), percentile(taken, 0.99), max(taken))
        table.add_row(read.name, str(len(taken)), *(f"{value:.2f}" for value in figures))
    Console().print(table)
    p99 = round(percentile(everything.taken_ms, 0.99), 2)
    return {"localcloud_read_p99_ms": {"value": p99, "target": TARGET_P99_MS, "ok": p99 <= TARGET_P99_MS}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0, help="reads a second, 1 to 2000 (200)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long, 1 to 600 (10)")
    given = parser.parse_args()
    if not 1 <= given.rate <= 2000 or not 1 <= given.seconds <= 600:
        parser.error("rate must be 1 to 2000 a second and seconds 1 to 600")
    projects = [{"project_id": PROJECT, "services_enabled": "all"}]
    with tempfile.TemporaryDirectory() as folder:
        config = {"projects": projects, "ports": dict.fromkeys(APIS, 0)}
        with local_cloud(Path(folder) / "state", config) as cloud:
            reads = fill(cloud)
            asyncio.run(drive(reads, given.rate, given.seconds))
    with bare_server() as floor:
        asyncio.run(drive([floor], given.rate, given.seconds / 2))
    figures = report(reads, floor, given.rate)
    print(json.dumps(figures))
    return 0 if all(figure["ok"] for figure in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
