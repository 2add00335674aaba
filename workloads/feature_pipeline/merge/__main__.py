"""Merge checkpoints as a process of its own, on the standard library: `python -m workloads.feature_pipeline.merge`.

Reads one JSON object from standard input:
    {"key": …, "output": …, "sources": [{"table": …, "path": …}, …], "consume": false, "workers": 2,
     "policies": {…}, "memory_limit": null, "in_memory": null, "plan_only": false}
and writes JSON lines: {"plan": …}, {"progress": [tables done, tables, bytes]} at most ten a second, then {"result": …},
or {"error": …, "code": …} with exit code 2 where a retry cannot help and 1 where it may.
"""

import dataclasses
import errno
import json
import sys
import time
from pathlib import Path
from typing import Any

from workloads.feature_pipeline.merge import footer, journal, plan, pool, splice

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def main(request: dict[str, Any]) -> int:
    """Carry out one request; return the exit code."""
    sources = [plan.Source(table=item["table"], path=Path(item["path"])) for item in request.pop("sources")]
    output, plan_only = Path(request.pop("output")), request.pop("plan_only", False)
    try:
        options = splice.Options(**request)
        if plan_only:
            outlines = [footer.outline(source.path) for source in sources]
            planned = plan.make(outlines, options.key, consume=options.consume, workers=options.workers)
            plan.check(planned, output.parent, options.memory_limit, options.in_memory)
            _say({"plan": planned.summary()})
            return 0
        result = splice.merge(sources, output, options, _Reporter(), lambda made: _say({"plan": made.summary()}))
        _say({"result": {**dataclasses.asdict(result), "peak_bytes": _peak_bytes()}})
    except plan.TooLargeError as error:
        return _fail(error, "too_large", retry=False)
    except (footer.BadParquetError, journal.JournalError, ValueError) as error:
        return _fail(error, "merge_failed", retry=False)
    except OSError as error:
        return _fail(error, "disk_full" if error.errno in _FULL else "merge_failed", retry=error.errno not in _FULL)
    except pool.RecodeError as error:
        return _fail(error, "merge_failed", retry=True)
    return 0


def _fail(error: Exception, code: str, *, retry: bool) -> int:
    _say({"error": str(error), "code": code, "retry": retry})
    return 1 if retry else 2


def _peak_bytes() -> int:
    """Return this process's peak memory. (getrusage would count what the parent had when it forked.)"""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


class _Reporter:
    """Writes progress, at most ten lines a second."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, done: int, tables: int, size: int) -> None:
        now = time.monotonic()
        if now >= self._next or done == tables:
            self._next = now + 0.1
            _say({"progress": [done, tables, size]})


def _say(record: dict[str, Any]) -> None:
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    sys.exit(main(json.load(sys.stdin)))
