"""The container's entry point: environment -> run -> exit code."""

import os
import signal
import sys
from collections.abc import Mapping
from types import FrameType

from workloads.common.contract import Endpoints, ExitCode, RunStart, Task
from workloads.common.logs import Log
from workloads.common.memory import MIB, find_memory
from workloads.common.storage import Deadline, Stop, Storage, Store
from workloads.heavy_runner.contract import ErrorCode, HeavyRunnerEnv, RunVariables
from workloads.heavy_runner.failure import RunFailure
from workloads.heavy_runner.process import become_reaper
from workloads.heavy_runner.run import HeavyRun, Host

STOP_BUDGET_S = 8.0
"""From SIGTERM to our own end, seconds; the platform waits 10."""


def main() -> ExitCode:
    """Run once."""
    env = dict(os.environ)
    log = Log(source="runner")
    stop = Stop()
    storage = Storage(lambda deadline: _bucket_store(env, deadline))

    def asked_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()
        storage.deadline.end_in(STOP_BUDGET_S)

    signal.signal(signal.SIGTERM, asked_to_stop)
    signal.signal(signal.SIGINT, asked_to_stop)
    settings, task, problem = _settings(env)
    uid = int(env.get("HEAVY_RUNNER_SCRIPT_UID") or 0) if os.geteuid() == 0 else 0
    become_reaper(guard=not uid)
    run = HeavyRun(
        variables=RunVariables.from_env(env),
        env=settings,
        task=task,
        start=RunStart.from_env(env),
        host=Host(
            script_uid=uid,
            runtime=env.get("LONGHAUL_RUNTIME") or "process",
            on_platform="CLOUD_RUN_JOB" in env and env.get("LONGHAUL_RUNTIME") == "container",
            environment=env,
        ),
        storage=storage,
        memory=find_memory(configured=settings.memory_mib * MIB),
        stop=stop,
        log=log,
        problem=problem,
    )
    return run.execute()


def _settings(env: Mapping[str, str]) -> tuple[HeavyRunnerEnv, Task, RunFailure | None]:
    """Wrong settings of the job are a failed run like any other: they end in status.json and error.json."""
    try:
        return HeavyRunnerEnv.from_env(env), Task.from_env(env), None
    except ValueError as error:
        hint = "Correct the job's environment in the stack and deploy it again."
        failure = RunFailure(ErrorCode.REQUEST_INVALID, f"The job's own settings are wrong: {error}", hint)
        return HeavyRunnerEnv(run_dir=env.get("HEAVY_RUNNER_RUN_DIR") or HeavyRunnerEnv.run_dir), Task(), failure


def _bucket_store(env: Mapping[str, str], deadline: Deadline) -> Store:
    # Imported only when a bucket is used: a run on local files starts 0.1 s sooner and 15 MiB smaller.
    from workloads.common.gcs import GcsStore
    from workloads.common.tokens import find_tokens

    endpoint = Endpoints.from_env(env).storage
    return GcsStore(lambda http: find_tokens(env, http), endpoint=endpoint, deadline=deadline)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Not sys.exit: a transfer that hangs in a thread left behind must not keep the container alive.
    os._exit(code)
