"""How long the heavy runner keeps a script waiting, and how much memory its supervisor takes.

    python -m bench.heavy_runner [--size-mib 1024] [--rounds 5]

Start: from the start of the container to the first line of the user's script, with the dataset in a bucket, paired
with a container of the same image that only downloads the same object in parallel (no identity, no checksum, no
checks, no script), and with a process that does so by Google's own client. The server is the local cloud's storage.
Memory: the supervisor's peak on that dataset with a quarter of its size as output and a script that prints 200 MB.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from gcs_support import BUCKET, Script, object_server, scripted_server, store  # noqa: E402  # the path is set above
from heavy_support import Engine, build_image, find_engine  # noqa: E402  # the path is set above

from workloads.common.storage import Transfer  # noqa: E402  # follows the two above
from workloads.heavy_runner.contract import (  # noqa: E402  # follows the two above
    dataset_object,
    request_document,
    request_object,
    script_object,
)

START_RATIO = 1.15
SUPERVISOR_MIB = 128
RUN_ID = "bench"

FIRST_LINE = "import time\nprint('first line', time.time(), flush=True)\n"
BUSY = """
import os, sys
for _ in range(2000):
    sys.stdout.write(("y" * 99 + "\\n") * 1000)
with open("data/scored_rows.csv", "wb") as out:
    for _ in range(int({output_mib})):
        out.write(os.urandom(1 << 20))
"""
PLAIN = """
import os, threading, time, urllib3
url, size, step = {url!r}, {size}, 32 << 20
pool, starts, lock = urllib3.PoolManager(maxsize=4), list(range(0, size, step)), threading.Lock()
os.makedirs("/tmp/run")
target = os.open("/tmp/run/data.csv", os.O_RDWR | os.O_CREAT)
def work():
    while True:
        with lock:
            if not starts:
                return
            at = starts.pop(0)
        span = f"bytes={{at}}-{{min(at + step, size) - 1}}"
        headers = {{"Range": span, "Accept-Encoding": "gzip"}}
        answer = pool.request("GET", url, headers=headers, preload_content=False)
        for block in answer.stream(1 << 20, decode_content=False):
            os.pwrite(target, block, at)
            at += len(block)
        answer.release_conn()
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert os.fstat(target).st_size == size
print("done", time.time(), flush=True)
"""
GOOGLE = """
import time
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage import transfer_manager
client = storage.Client("p", credentials=AnonymousCredentials(), client_options=ClientOptions(api_endpoint={server!r}))
blob = client.bucket({bucket!r}).get_blob({name!r})
transfer_manager.download_chunks_concurrently(
    blob, {target!r}, chunk_size=32 << 20, max_workers=4, worker_type=transfer_manager.THREAD
)
print("done", time.time(), flush=True)
"""


@dataclass(frozen=True)
class Bench:
    """A bucket with the dataset in it, and containers that read it."""

    engine: Engine
    image: str
    server: str
    metadata: str
    size: int

    def container(self, arguments: Sequence[str], memory_mib: int, env: dict[str, str]) -> tuple[float, str]:
        """Run one; gives when it started and what it printed."""
        name = f"lh-bench-{uuid.uuid4().hex[:8]}"
        seal = ["--read-only", "--tmpfs", f"/tmp:size={memory_mib}m", "-m", f"{memory_mib}m"]  # noqa: S108  # the container's own
        pairs = [word for key, value in env.items() for word in ("-e", f"{key}={value}")]
        try:
            done = self.engine(
                "run", "--name", name, "--network", "host", *seal, *pairs, *arguments, timeout=600, check=False
            )
            started = self.engine("inspect", "--format", "{{.State.StartedAt}}", name).stdout.strip()
        finally:
            self.engine("rm", "--force", name, check=False)
        if done.returncode:
            raise RuntimeError(
                f"the container ended with {done.returncode}: {done.stdout[-2_000:]} {done.stderr[-500:]}"
            )
        return _seconds(started), done.stdout

    def put_script(self, text: str) -> None:
        client = store(self.server)
        client.write(f"gs://{BUCKET}/{script_object(RUN_ID)}", text.encode())
        document = request_document(RUN_ID, f"gs://{BUCKET}")
        client.write(f"gs://{BUCKET}/{request_object(RUN_ID)}", json.dumps(document).encode())
        client.delete(f"gs://{BUCKET}/outputs/{RUN_ID}/status.json")

    def runner(self, script: str) -> tuple[float, list[dict[str, Any]]]:
        self.put_script(script)
        env = {
            "INPUT_URI": f"gs://{BUCKET}/{request_object(RUN_ID)}",
            "LONGHAUL_STORAGE_ENDPOINT": self.server,
            "GCE_METADATA_HOST": self.metadata,
        }
        started, out = self.container([self.image], 2 * self.size // (1 << 20) + 1_024, env)
        return started, [json.loads(line) for line in out.splitlines()]

    def ours(self) -> float:
        started, records = self.runner(FIRST_LINE)
        line = next(record["message"] for record in records if record["source"] == "script")
        return float(line.split()[-1]) - started

    def plain(self) -> float:
        url = f"{self.server}/storage/v1/b/{BUCKET}/o/{dataset_object(RUN_ID).replace('/', '%2F')}?alt=media"
        code = PLAIN.format(url=url, size=self.size)
        started, out = self.container(
            ["--entrypoint", "python", self.image, "-c", code], 2 * self.size // (1 << 20) + 1_024, {}
        )
        return float(out.split()[-1]) - started

    def google(self, folder: Path) -> float:
        target = str(folder / "download.csv")
        code = GOOGLE.format(server=self.server, bucket=BUCKET, name=dataset_object(RUN_ID), target=target)
        began = time.time()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # own code
        os.unlink(target)
        return float(done.stdout.split()[-1]) - began

    def one_round(self, folder: Path, turn: int) -> tuple[float, float, float]:
        """All three, in another order each time, so that none always follows the same one."""
        kinds: list[Callable[[], float]] = [self.ours, self.plain, partial(self.google, folder)]
        order = [(turn + step) % 3 for step in range(3)]
        taken = {kind: kinds[kind]() for kind in order}
        return taken[0], taken[1], taken[2]

    def supervisor_mib(self) -> int:
        self.runner(BUSY.format(output_mib=max(1, self.size // (4 << 20))))
        client = store(self.server)
        blob = client.stat(f"gs://{BUCKET}/outputs/{RUN_ID}/run_metadata.json")
        record = json.loads(client.read(blob, blob.size))
        return int(record["details"]["resources"]["supervisor_peak_mib"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size-mib", type=int, default=1_024, help="dataset, MiB (default 1024)")
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds (default 5)")
    asked = parser.parse_args()
    engine = find_engine()
    image = build_image(engine)
    token = json.dumps({"access_token": "t", "expires_in": 3_600}).encode()
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as folder,  # in memory: no disk is measured
        object_server(Path(folder) / "objects") as server,
        scripted_server(Script(lambda *asked: (200, {}, token))) as metadata,
    ):
        size = _put_table(server, Path(folder), asked.size_mib)
        bench = Bench(engine, image, server, metadata.removeprefix("http://"), size)
        bench.plain()  # the server has read the object once, as all that follow find it
        rounds = [bench.one_round(Path(folder), turn) for turn in range(asked.rounds)]
        memory = bench.supervisor_mib()
    _report(rounds, memory, size)


def _put_table(server: str, folder: Path, size_mib: int) -> int:
    line = b"2026-01-31,1234.5678,abcdefghij,42,0.125\n"
    path = folder / "table.csv"
    with path.open("wb") as out:
        out.write(b"date,price,name,count,share\n")
        block = line * (1 << 15)
        while out.tell() < size_mib << 20:
            out.write(block)
    with path.open("rb") as source:
        blob = store(server).upload(source.fileno(), f"gs://{BUCKET}/{dataset_object(RUN_ID)}", Transfer())
    path.unlink()
    return blob.size


def _report(rounds: Sequence[tuple[float, float, float]], memory: int, size: int) -> None:
    print(f"dataset {size / (1 << 20):,.0f} MiB, {len(rounds)} paired rounds; median (range)")
    names = ("container start to first script line", "  same image, plain download", "  Google's client, process")
    for name, values in zip(names, zip(*rounds, strict=True), strict=True):
        print(f"{name:<40} {statistics.median(values):6.2f} s ({min(values):.2f} to {max(values):.2f})")
    ratio = statistics.median(ours / plain for ours, plain, _ in rounds)
    against = statistics.median(ours / google for ours, _, google in rounds)
    print(f"{'ratio to the plain download':<40} {ratio:6.2f}")
    print(f"{'ratio to the client of Google':<40} {against:6.2f}")
    print(f"{'supervisor, peak':<40} {memory:6d} MiB")
    result = {
        "start_ratio": {"value": round(ratio, 3), "target": START_RATIO, "ok": ratio <= START_RATIO},
        "supervisor_mib": {"value": memory, "target": SUPERVISOR_MIB, "ok": memory <= SUPERVISOR_MIB},
    }
    print(json.dumps(result))


def _seconds(text: str) -> float:
    """RFC 3339 with nanoseconds."""
    head, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(head + "+00:00").timestamp() + float(f"0.{fraction or 0}")


if __name__ == "__main__":
    main()
