"""Process that aligns foreign checkpoints for the merge: one JSON line in, one JSON line out, until its input ends.

Started by `merge/pool.py` with its own process id, the key file, the name of the key and the policies as JSON.
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workloads.feature_pipeline import align, checkpoint


class Recoder:
    """Aligns one file after the other to the key in `key_file`."""

    def __init__(self, key_file: Path, key: str, policies: align.Policies):
        found = pq.ParquetFile(key_file)
        self.key, self.policies = key, policies
        self.target = found.read()[key].combine_chunks()
        self.group_rows = [found.metadata.row_group(i).num_rows for i in range(found.num_row_groups)]

    def recode(self, path: Path, target: Path) -> tuple[Path, dict[str, int]]:
        """Return (an aligned file, counts): `path` itself where only the encoding of its key differs."""
        with pq.ParquetFile(path) as found:
            groups = [found.metadata.row_group(i).num_rows for i in range(found.num_row_groups)]
            table = found.read()
        table, counts = align.align(table, self.target, self.key, self.policies)
        unchanged = not any((counts.missing, counts.duplicate, counts.extra, counts.null_key, counts.reordered))
        if unchanged and groups == self.group_rows:
            return path, counts.to_dict()
        checkpoint.write(table, self.key, target, self.group_rows)
        return target, counts.to_dict()


def main(arguments: list[str]) -> None:
    """Serve requests from standard input for the process with the id in the first argument."""
    parent, key_file, key, policies = arguments
    if not _end_with(int(parent)):
        return
    # One thread: as many of these processes run as there are cores to use.
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    recoder = Recoder(Path(key_file), key, align.Policies(**json.loads(policies)))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            path, counts = recoder.recode(Path(request["path"]), Path(request["target"]))
            answer: dict[str, object] = {"path": str(path), "counts": counts}
        except (ValueError, OSError) as error:  # ArrowInvalid is a ValueError
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


def _end_with(parent: int) -> bool:
    """Be killed when `parent` is, and say whether it still lives.

    A merge that is killed must not leave a writer behind: its next attempt writes the same files.
    Source: https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html (2026-11).
    """
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    return os.getppid() == parent  # it may have ended while this process was starting


if __name__ == "__main__":
    main(sys.argv[1:])
