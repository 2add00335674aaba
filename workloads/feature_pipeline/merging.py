"""Second stage: the merge in a process of its own, watched, and started again where it was if it is killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.common.logs import Log
from workloads.feature_pipeline.contract import ErrorCode
from workloads.feature_pipeline.failure import RunFailure

_ROOT = Path(__file__).parents[2]
_HINTS = {
    ErrorCode.TOO_LARGE: "The numbers say what does not fit; change the job's shape in the stack.",
    ErrorCode.DISK_FULL: "The scratch space is full: give the job more memory, or a larger ephemeral disk.",
    ErrorCode.MERGE_FAILED: "Start the run again: the checkpoints are kept.",
}


@dataclass
class Merger:
    """Merges by `python -m workloads.feature_pipeline.merge`, at most `tries` times."""

    log: Log
    tries: int
    _process: "subprocess.Popen[str] | None" = None
    _ended: bool = False

    def run(self, request: Mapping[str, Any], progress: Callable[[int, int, int], None]) -> dict[str, Any]:
        """Return what the merge says of its result. `progress` gets tables done, tables, bytes.

        Raises RunFailure: it cannot be done, or not within the tries.
        """
        for attempt in range(1, self.tries + 1):
            answer = self._once(request, progress)
            if "result" in answer:
                return {**answer["result"], "attempts": attempt}
            code = ErrorCode(answer["code"])
            if not answer["retry"] or attempt == self.tries or self._ended:
                raise RunFailure(code, f"The merge failed: {answer['error']}", _HINTS[code], attempts=attempt)
            self.log.warning(f"the merge is started again where it was: {answer['error']}", attempt=attempt)
        raise AssertionError("unreachable: tries is 1 or more")

    def stop(self) -> None:
        """End the process and the recoding processes it has started; no further try is made."""
        self._ended = True
        if self._process is not None:
            _kill(self._process)

    def _once(self, request: Mapping[str, Any], progress: Callable[[int, int, int], None]) -> dict[str, Any]:
        command = [sys.executable, "-m", "workloads.feature_pipeline.merge"]
        # A session of its own, so that its recoding processes can be ended with it.
        process = subprocess.Popen(  # noqa: S603  # our own module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT, start_new_session=True
        )
        self._process = process
        answer: dict[str, Any] = {}
        try:
            if process.stdin is None or process.stdout is None:
                raise TypeError("the merge is started with pipes")
            try:
                process.stdin.write(json.dumps(request))
                process.stdin.close()
            except BrokenPipeError:
                pass  # it has ended; its exit says why
            for line in process.stdout:
                record = json.loads(line) if line.endswith("\n") else {}  # cut by a kill
                if "progress" in record:
                    progress(*record["progress"])
                elif "plan" in record:
                    self.log.info("the merge's plan", **record["plan"])
                else:
                    answer = record
            process.wait()
        finally:
            _kill(process)
        if answer:
            return {"code": ErrorCode.MERGE_FAILED, **answer}
        return {"error": _ending(process.returncode), "retry": True, "code": ErrorCode.MERGE_FAILED}


def _ending(code: int) -> str:
    if code == -signal.SIGKILL:
        return "it was killed, probably for want of memory"
    return f"it ended with {code} and said nothing"


def _kill(process: "subprocess.Popen[str]") -> None:
    """End the merge, if it still runs, with all it has started: the session is ours."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
