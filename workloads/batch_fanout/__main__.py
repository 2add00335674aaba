"""The container's entry point: environment -> stage -> exit code."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from workloads.batch_fanout.contract import MAX_TASKS, FanoutEnv, Repository, Stage
from workloads.batch_fanout.failure import BadRequest, exit_code
from workloads.common.contract import Endpoints, ExitCode, Task
from workloads.common.gcs import GcsStore
from workloads.common.logs import Log
from workloads.common.storage import Deadline, Storage, Store
from workloads.common.tokens import CLOUD_SCOPE, Tokens, find_tokens

if TYPE_CHECKING:
    import urllib3


def main(arguments: Sequence[str] | None = None) -> ExitCode:
    """Run one stage, which the first argument names."""
    asked = _parser().parse_args(arguments)
    environment = dict(os.environ)
    log = Log(source="fanout", fields={"stage": asked.stage})
    try:
        env = FanoutEnv.from_env(environment)
    except ValueError as error:
        log.error(f"The environment is wrong: {error}")
        return ExitCode.BAD_REQUEST
    storage = Storage(lambda deadline: _bucket_store(environment, deadline, env.parallel))
    log.bind(run=env.job_id)
    try:
        _run(asked, env, environment, storage, log)
    except Exception as error:
        code = exit_code(error)
        log.error(f"{type(error).__name__}: {error}", code=int(code), error=_where(error))
        return code
    return ExitCode.DONE


def _run(asked: argparse.Namespace, env: FanoutEnv, environment: Mapping[str, str], storage: Storage, log: Log) -> None:
    if asked.stage == Stage.DISPATCH:
        from workloads.batch_fanout.dispatcher import dispatch

        def bring() -> Repository | None:
            return _bring(env, environment, storage, log)

        dispatch(env, count=asked.count, seed=asked.seed, storage=storage, log=log, clone=bring)
    elif asked.stage == Stage.RUN:
        from workloads.batch_fanout.runner import run_task

        task = _task(environment)
        log.bind(task=task.index, attempt=task.attempt)
        run_task(env, task, storage=storage, log=log)
    else:
        from workloads.batch_fanout.gather import gather

        gather(env, storage=storage, log=log, allow_missing=asked.allow_missing)


def _task(environment: Mapping[str, str]) -> Task:
    """Raises BadRequest: no platform and no person has said which task this is."""
    index = environment.get("BATCH_TASK_INDEX", "")
    if not index.isdecimal():
        raise BadRequest(f"BATCH_TASK_INDEX: must be a whole number of 0 or more, got {index[:40]!r}")
    return Task.from_env(environment)


def _bring(env: FanoutEnv, environment: Mapping[str, str], storage: Storage, log: Log) -> Repository | None:
    """Clone the repository that is asked for, and keep it for the tasks."""
    if not env.github_repo:
        return None
    from workloads.batch_fanout.repository import clone, store_archive
    from workloads.batch_fanout.secret import read_secret

    def tokens(http: "urllib3.PoolManager") -> Tokens:
        return find_tokens(environment, http, CLOUD_SCOPE)

    def token() -> bytes:
        endpoint = Endpoints.from_env(environment).secret_manager
        return read_secret(tokens, env.project, env.github_secret, endpoint=endpoint)

    path = environment.get("PATH", os.defpath)
    commit = clone(env, token, path)
    log.info(f"{env.github_repo} is at {commit}", repository=env.github_repo, commit=commit)
    return store_archive(storage, env, commit, path)


def _bucket_store(environment: Mapping[str, str], deadline: Deadline, connections: int) -> Store:
    return GcsStore(
        lambda http: find_tokens(environment, http),
        endpoint=Endpoints.from_env(environment).storage,
        deadline=deadline,
        connections=connections,
    )


def _where(error: BaseException) -> str:
    """File and line that raised `error`, for whoever wrote the model."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workloads.batch_fanout", description=__doc__)
    stages = parser.add_subparsers(dest="stage", required=True)
    dispatch = stages.add_parser(Stage.DISPATCH, help="stage A: write inputs and manifest under OUT_PREFIX")
    dispatch.add_argument("--count", type=int, required=True, help=f"number of inputs, 0 to {MAX_TASKS}")
    dispatch.add_argument("--seed", type=int, required=True, help="the same seed gives the same inputs")
    stages.add_parser(Stage.RUN, help="stage B: turn the input BATCH_TASK_INDEX into a result")
    gather = stages.add_parser(Stage.GATHER, help="stage C: one table and one page of all results")
    gather.add_argument("--allow-missing", action="store_true", help="gather what is there, and end in success")
    return parser


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.exit(code)
