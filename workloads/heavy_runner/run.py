"""One run from request to final state. Reads no environment: everything comes in as arguments."""

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from workloads.common import run_index
from workloads.common.background import interruptible
from workloads.common.contract import ExitCode, RunStart, RunState, Task
from workloads.common.ledger import ClaimLost, Ledger
from workloads.common.logs import Log, rfc3339, utc_now
from workloads.common.memory import MIB, Memory, cpu_count
from workloads.common.storage import Blob, Interrupted, Stop, Storage, StorageError, Transfer
from workloads.heavy_runner import ending, outputs, script, staging
from workloads.heavy_runner.capture import Capture
from workloads.heavy_runner.contract import (
    ERROR,
    SCRIPT_NAME,
    STATUS,
    SYSTEM,
    ErrorCode,
    HeavyRunnerEnv,
    Phase,
    RunVariables,
    Status,
    attempt_folder,
)
from workloads.heavy_runner.failure import (
    RunFailure,
    from_output,
    internal,
    missing_outputs,
    unreadable_request,
)
from workloads.heavy_runner.process import LaunchError, Outcome, Sandbox, ScriptProcess
from workloads.heavy_runner.request import MAX_REQUEST_BYTES, Ping, Request, default_output, parse

STAGING_GRACE_S = 1.0
UPLOAD_GRACE_S = 4.0
"""Seconds that staging and uploads have left once the platform has asked us to stop; it leaves 10 for everything."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """What this process may do, and where it is."""

    script_uid: int
    """User for the script; 0 keeps our own, which is a reduced sandbox."""
    runtime: str
    """`container` or `process`."""
    on_platform: bool
    """Cloud Run, where files are held in memory."""
    environment: Mapping[str, str]
    """Our own environment, of which the script gets an allow-list."""


class HeavyRun:
    """One run. Create it, `execute` it once, from the main thread."""

    def __init__(
        self,
        *,
        variables: RunVariables,
        env: HeavyRunnerEnv,
        task: Task,
        start: RunStart,
        host: Host,
        storage: Storage,
        memory: Memory,
        stop: Stop,
        log: Log,
        problem: RunFailure | None = None,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.env, self.task, self.start, self.host = env, task, start, host
        self.input_uri = variables.input_uri
        self.output_uri = folder_uri(variables.output_uri or default_output(variables.input_uri))
        self.override = bool(variables.output_uri)
        self.problem = problem
        self.storage, self.memory, self.stop, self.log = storage, memory, stop, log
        self.now, self.clock = now, clock
        self.run_dir = Path(env.run_dir)
        self.reserve = min(env.memory_reserve_mib * MIB, (memory.limit or 0) // 4)
        self.started, self._began = now(), clock()
        self.request: Request | Ping | None = None
        self.capture: Capture | None = None
        self.outcome: Outcome | None = None
        self.inputs: list[tuple[staging.Input, Blob]] = []
        self.found = outputs.Found()
        self.uploaded: dict[str, int] = {}
        self.timings: dict[str, float] = {}
        self.read_checked = False
        self.ledger: Ledger[Status] | None = None
        self._process: ScriptProcess | None = None
        self._transfer = Transfer(stop)
        self._peak_before = 0
        self._upload_tried = False

    def execute(self) -> ExitCode:
        """Do the run; whatever happens, its final state is written if it can be.

        `problem` is one the caller met before: the run then ends with it.
        """
        try:
            return self._all_steps()
        except RunFailure as failure:
            return self._fail(failure)
        except Interrupted:
            return self._fail(script.terminated())
        except (run_index.HeldByOther, ClaimLost) as held:
            self.log.error(f"nothing is written about this run: {held}")
            return ExitCode.BAD_REQUEST
        except Exception as error:
            self.log.error(traceback.format_exc(limit=20))
            return self._fail(internal(error))

    @property
    def elapsed_s(self) -> float:
        return self.clock() - self._began

    @property
    def peak_mib(self) -> int:
        return max(self._peak_before, self._process.peak_mib if self._process else 0)

    def _all_steps(self) -> ExitCode:
        request = self._read_request()
        if self.problem:
            raise self.problem
        self._claim(request)
        if isinstance(request, Ping):
            self.log.info("ping answered; nothing was run")
            return ending.conclude(self, RunState.SUCCEEDED, "pong")
        self._stage(request)
        self._run_script(request)
        self._upload(request)
        if self.found.missing:
            raise missing_outputs(self.found.missing, self.found.skipped)
        return ending.conclude(self, RunState.SUCCEEDED, "done")

    def _read_request(self) -> Request | Ping:
        if not self.input_uri:
            raise RunFailure(
                ErrorCode.REQUEST_UNREADABLE,
                "INPUT_URI is not set.",
                "Start the job with INPUT_URI=gs://…/inputs/RUN.json.",
            )
        try:
            data, _ = self.storage.read_small(self.input_uri, MAX_REQUEST_BYTES)
        except (StorageError, ValueError) as error:
            raise unreadable_request(self.input_uri, error) from error
        request = parse(data, self.input_uri)
        self.request = request
        self.log.bind(run_id=request.run_id)
        if not self.override:
            self.output_uri = folder_uri(request.output_uri) or self.output_uri
        if not self.output_uri:
            raise RunFailure(
                ErrorCode.REQUEST_INVALID,
                "output_uri: neither the request nor OUTPUT_URI says where the outputs go.",
                "Set one of them to a gs:// prefix or a folder.",
                field="output_uri",
            )
        attempt = getattr(request, "attempt", None)
        if attempt is not None and not self.output_uri.endswith(f"/{attempt_folder(attempt)}"):
            self.output_uri += attempt_folder(attempt)
        if isinstance(request, Request) and request.unknown:
            self.log.warning(
                "the request has fields this version does not know; they are ignored", fields=request.unknown
            )
        return request

    def _claim(self, request: Request | Ping) -> None:
        if self.env.bucket and isinstance(request, Request):
            try:
                run_index.claim(
                    self.storage,
                    self.env.bucket,
                    system=SYSTEM,
                    run_id=request.run_id,
                    start=self.start,
                    task=self.task,
                    output_uri=self.output_uri,
                    now=self.now,
                )
            except StorageError as error:
                raise from_output(error, "the run index") from error
        self._open_ledger()

    def _open_ledger(self) -> Ledger[Status]:
        first = Status(
            state=RunState.RUNNING,
            run_id=self.request.run_id if self.request else "",
            started_at=rfc3339(self.started),
            attempt=getattr(self.request, "attempt", None),
            task_attempt=self.task.attempt,
            execution=self.task.execution,
            output_uri=self.output_uri,
            memory_limit_mib=(self.memory.limit or 0) // MIB,
        )
        self.ledger = Ledger(
            self.storage,
            self.output_uri + STATUS,
            first,
            read=Status.from_json,
            stale=(self.output_uri + ERROR,),
            log=self.log,
            now=self.now,
            gauges=self._gauges,
            on_lost=self.stop.set,
        )
        try:
            self.ledger.claim()
        except StorageError as error:
            raise from_output(error, STATUS) from error
        return self.ledger

    def _stage(self, request: Request) -> None:
        self._phase(Phase.STAGING, "staging the inputs")
        began = self.clock()
        uid = self.host.script_uid
        default = Path(HeavyRunnerEnv.run_dir) if self.host.runtime == "container" else None
        staging.prepare(self.run_dir, uid, default=default)
        wanted = staging.inputs_of(request)

        def work() -> None:
            blobs = staging.look(self.storage, wanted)
            self.inputs = list(zip(wanted, blobs, strict=True))
            self._transfer.total = sum(blob.size for blob in blobs)
            staging.check_room(self._transfer.total, self.run_dir, memory_left=self._memory_left())
            self.read_checked = staging.check_read(self.storage, request, blobs[0])
            staging.fetch(self.storage, wanted, blobs, self.run_dir, uid, self._transfer)

        interruptible(work, self.stop, grace_s=STAGING_GRACE_S)
        staging.write_settings(self.run_dir, uid, script.settings_of(request))
        self.timings["staging_s"] = round(self.clock() - began, 3)

    def _memory_left(self) -> int | None:
        """Bytes free for files in the run folder, if they are held in memory."""
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        if self.memory.limit is None or not staging.in_memory(self.run_dir, mounts, on_platform=self.host.on_platform):
            return None
        return self.memory.limit - self.reserve - self.memory.read().used

    def _run_script(self, request: Request) -> None:
        timeout_s = script.timeout_of(
            request,
            default_s=self.env.script_timeout_s,
            task_timeout_s=self.env.task_timeout_s,
            elapsed_s=self.elapsed_s,
        )
        self._phase(Phase.SCRIPT, f"the script starts; it has {timeout_s:,.0f} s", staged_bytes=self._transfer.done)
        self.capture = Capture(
            self.log,
            head_bytes=self.env.log_head_kib << 10,
            tail_bytes=self.env.log_tail_kib << 10,
            live_bytes=self.env.log_live_mib << 20,
            clock=self.clock,
        )
        self.outcome = self._start_script(request, self.capture, timeout_s)
        self.timings["script_s"] = round(self.outcome.seconds, 3)
        self.log.info(
            f"the script ended: {self.outcome.end}, exit code {self.outcome.exit_code}",
            seconds=round(self.outcome.seconds, 1),
            peak_mib=self.peak_mib,
            leftovers=self.outcome.leftovers,
        )
        failure = script.judge(
            self.outcome,
            timeout_s=timeout_s,
            memory_bytes=self.memory.limit,
            reserve_bytes=self.reserve,
            log_tail="\n".join(self.capture.last_lines(ending.LOG_TAIL_LINES)),
            run_dir=self.run_dir,
        )
        if failure:
            raise failure

    def _start_script(self, request: Request, capture: Capture, timeout_s: float) -> Outcome:
        sandbox = Sandbox(
            uid=self.host.script_uid,
            max_processes=self.env.max_processes,
            max_file_bytes=self.env.max_file_gib << 30,
        )
        self._process = ScriptProcess(
            sandbox=sandbox,
            capture=capture,
            memory=self.memory,
            reserve_bytes=self.reserve,
            stop=self.stop,
            clock=self.clock,
        )
        environment = script.environment(
            request,
            self.run_dir,
            base=self.host.environment,
            timeout_s=timeout_s,
            memory_bytes=self.memory.limit,
            cpus=cpu_count(),
        )
        command = script.command(self.run_dir / SCRIPT_NAME)
        try:
            return self._process.run(command, cwd=self.run_dir, env=environment, timeout_s=timeout_s)
        except LaunchError as error:
            raise RunFailure(
                ErrorCode.INTERNAL_ERROR,
                f"The sandbox of the script could not be set up: {error}",
                "The image starts as root and drops its rights itself; start it with the default capabilities.",
            ) from error

    def _upload(self, request: Request) -> None:
        if self.ledger and self.ledger.lost:
            raise ClaimLost("it was ended by somebody else")  # its outputs are not to be mixed with ours
        began = self.clock()
        self._upload_tried = True
        self.found = outputs.find(
            self.run_dir,
            inputs=[request.data_path, *(file.path for file in request.support_files)],
            required=request.required_outputs,
        )
        transfer = Transfer(Stop(), self.found.total_bytes)
        self._transfer = transfer
        self._phase(Phase.UPLOADING, f"uploading {len(self.found.files)} files", bytes=self.found.total_bytes)
        for path, why in self.found.skipped.items():
            self.log.warning(f"not uploaded: {path} {why}")
        interruptible(
            lambda: outputs.upload(self.storage, self.found, self.output_uri, transfer, self.uploaded),
            self.stop,
            grace_s=UPLOAD_GRACE_S,
        )
        self.timings["upload_s"] = round(self.clock() - began, 3)

    def _fail(self, failure: RunFailure) -> ExitCode:
        self.log.error(f"{failure.code}: {failure.message} {failure.hint}", code=failure.code)
        if self.ledger is None and not self.output_uri:
            self.log.error("no place is known for status.json and error.json")
            return failure.code.exit_code
        try:
            if self.ledger is None:
                self._open_ledger()
            if self.outcome and not self._upload_tried and isinstance(self.request, Request):
                self._upload(self.request)
        except (RunFailure, Interrupted) as also:
            self.log.error(f"some outputs are not uploaded: {also or 'no time left'}")
        except ClaimLost as lost:
            self.log.error(f"nothing is written about this run: {lost}")
            return ExitCode.BAD_REQUEST
        return ending.conclude(self, RunState.FAILED, failure.message, failure)

    def _phase(self, phase: Phase, message: str, **fields: object) -> None:
        if self.ledger:
            self.ledger.set(phase=phase, message=message)
        self.log.info(message, phase=phase, **fields)

    def _gauges(self) -> Mapping[str, Any]:
        used = self.memory.read().used // MIB
        self._peak_before = max(self._peak_before, used)
        return {
            "memory_mib": used,
            "peak_memory_mib": self.peak_mib,
            "bytes_done": self._transfer.done,
            "bytes_total": self._transfer.total,
        }


def folder_uri(uri: str) -> str:
    """With `/` at its end, unless it is empty."""
    return uri if not uri or uri.endswith("/") else uri + "/"
