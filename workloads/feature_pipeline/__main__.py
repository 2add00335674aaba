"""The container's entry point: environment -> run -> exit code."""

import os
import secrets
import signal
import sys
from collections.abc import Mapping
from types import FrameType

from workloads.common.contract import Endpoints, ExitCode, RunStart, Task, check_run_id, new_run_id
from workloads.common.gcs import GcsStore
from workloads.common.logs import Log, utc_now
from workloads.common.memory import find_memory
from workloads.common.storage import Deadline, Stop, Storage, Store
from workloads.common.tokens import find_tokens
from workloads.feature_pipeline.contract import PAIR_PATTERN, ErrorCode, FeatureEnv
from workloads.feature_pipeline.failure import RunFailure
from workloads.feature_pipeline.run import FeatureRun
from workloads.feature_pipeline.warehouse import Warehouse, connect

STOP_BUDGET_S = 8.0
"""From SIGTERM to our own end, seconds; the platform waits 10."""


def main() -> ExitCode:
    """Run once."""
    environment = dict(os.environ)
    log = Log(source="features")
    stop = Stop()
    storage = Storage(lambda deadline: _bucket_store(environment, deadline))

    def asked_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()
        storage.deadline.end_in(STOP_BUDGET_S)

    signal.signal(signal.SIGTERM, asked_to_stop)
    signal.signal(signal.SIGINT, asked_to_stop)
    task = Task.from_env(environment)
    env, problem = _settings(environment)
    if env is None or not env.pair:
        said = problem.message if problem else "TARGET_PAIR is not set"
        log.error(f"{ErrorCode.SETTINGS_INVALID}: {said}; no place is known for the status")
        return ExitCode.BAD_REQUEST
    run_id, wrong = _run_id(env, task)
    log.bind(run_id=run_id, pair=env.pair)
    on_platform = "CLOUD_RUN_JOB" in environment
    run = FeatureRun(
        env=env,
        run_id=run_id,
        task=task,
        start=RunStart.from_env(environment),
        storage=storage,
        warehouse=lambda: _warehouse(env, environment),
        memory=find_memory(configured=int(env.memory_gib * (1 << 30))),
        stop=stop,
        log=log,
        runtime=environment.get("LONGHAUL_RUNTIME") or "process",
        in_memory=on_platform,
        problem=problem or wrong,
    )
    return run.execute()


def _settings(environment: Mapping[str, str]) -> tuple[FeatureEnv | None, RunFailure | None]:
    """Wrong settings end in a status like any other failure if the place of the status is known."""
    try:
        return FeatureEnv.from_env(environment), None
    except ValueError as error:
        hint = "Correct the job's environment in the stack and deploy it again."
        problem = RunFailure(ErrorCode.SETTINGS_INVALID, f"The job's own settings are wrong: {error}", hint)
    bucket, pair = environment.get("FEATURES_OUTPUT_BUCKET", ""), environment.get("TARGET_PAIR", "")
    if not bucket or not PAIR_PATTERN.fullmatch(pair):
        return None, problem
    unknown = "unknown"
    env = FeatureEnv(
        project=unknown,
        features_dataset=unknown,
        raw_dataset=unknown,
        output_bucket=bucket,
        staging_bucket=unknown,
        pair=pair,
        run_id=environment.get("RUN_ID", ""),
    )
    return env, problem


def _run_id(env: FeatureEnv, task: Task) -> tuple[str, RunFailure | None]:
    """The run's name: as told, else the execution's, which a retry of the platform keeps, else one made of the time."""
    try:
        return check_run_id(env.run_id or task.execution), None
    except ValueError as error:
        made = new_run_id(utc_now(), secrets.token_bytes(4))
        if not env.run_id:
            return made, None
        return made, RunFailure(ErrorCode.SETTINGS_INVALID, str(error), "Start the run with another RUN_ID.")


def _bucket_store(environment: Mapping[str, str], deadline: Deadline) -> Store:
    endpoint = Endpoints.from_env(environment).storage
    return GcsStore(lambda http: find_tokens(environment, http), endpoint=endpoint, deadline=deadline)


def _warehouse(env: FeatureEnv, environment: Mapping[str, str]) -> Warehouse:
    import urllib3

    endpoints = Endpoints.from_env(environment)
    if endpoints.bigquery is None or endpoints.bigquery_storage is None:
        return connect(env.project, token=lambda: None)
    tokens = find_tokens(environment, urllib3.PoolManager())
    address = endpoints.bigquery_storage.partition("://")[2]
    return connect(env.project, rest=endpoints.bigquery, grpc_address=address, token=tokens.get)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Not sys.exit: a transfer that hangs in a thread left behind must not keep the container alive.
    os._exit(code)
