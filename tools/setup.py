"""`make setup`: everything that the demo and the tests need, on a machine that has only Python, git and make."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tools import base_image, docker, engine, envfile, environment, plugins
from tools.common import CHILDREN, Done, Interrupted, Machine, StepError, fail, machine, say

Before = Mapping[str, Done]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to set up; it starts as soon as the steps it needs are done."""

    name: str
    run: Callable[[Machine, Before], Done]
    needs: tuple[str, ...] = ()


def _program(before: Before, name: str) -> Path:
    program = before[name].program
    if program is None:
        raise StepError(f"{name} left no program")
    return program


def steps(m: Machine) -> list[Step]:
    """The plan for this machine: the builds are left out where a Pulumi is on PATH."""
    plan = [
        Step(name="uv", run=lambda m, before: environment.uv(m)),
        Step(
            name="environment", needs=("uv",), run=lambda m, before: environment.environment(m, _program(before, "uv"))
        ),
        Step(name="docker", run=lambda m, before: docker.engine(m)),
        Step(
            name="base image",
            needs=("docker",),
            run=lambda m, before: base_image.base_image(m, before["docker"].program, dict(before["docker"].env)),
        ),
    ]
    found = engine.ready_made(m)
    if found:
        plan.append(Step(name="engine", run=lambda m, before: found))
    else:
        plan += _builds(m)
    plan.append(
        Step(
            name="plugins",
            needs=("environment", "engine"),
            run=lambda m, before: plugins.plugins(m, _program(before, "engine")),
        )
    )
    return plan


def _builds(m: Machine) -> list[Step]:
    if engine.built(m):  # then no Go is looked for, let alone installed
        return [
            Step(name="engine", run=lambda m, before: engine.engine(m, Path("go"))),
            Step(name="language", run=lambda m, before: engine.language_host(m, Path("go"))),
        ]
    return [
        Step(name="go", needs=("uv",), run=lambda m, before: engine.go(m, _program(before, "uv"))),
        # the small build first: it is done while the large one still downloads
        Step(name="language", needs=("go",), run=lambda m, before: engine.language_host(m, _program(before, "go"))),
        Step(name="engine", needs=("go",), run=lambda m, before: engine.engine(m, _program(before, "go"))),
    ]


def run(m: Machine, plan: list[Step]) -> dict[str, Done]:
    """Run the steps, those that do not need each other side by side.

    Raises:
        StepError: the first failure, after all steps that were running have ended.
    """
    done: dict[str, Done] = {}
    waiting = list(plan)
    running: dict[Future[Done], Step] = {}
    failure: BaseException | None = None
    with ThreadPoolExecutor(max_workers=len(plan)) as pool:
        try:
            while running or (waiting and failure is None):
                if failure is None:
                    ready = [step for step in waiting if all(name in done for name in step.needs)]
                    for step in ready:
                        waiting.remove(step)
                        running[pool.submit(_timed, m, step, dict(done))] = step
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    step = running.pop(future)
                    error = future.exception()
                    if error is None:
                        done[step.name] = future.result()
                    elif failure is None:
                        failure = error
                        CHILDREN.stop()
        except KeyboardInterrupt:
            CHILDREN.stop()
            raise
    if failure is not None:
        raise failure
    return done


def _timed(m: Machine, step: Step, before: Before) -> Done:
    start = time.monotonic()
    try:
        result = step.run(m, before)
    except Interrupted:
        raise
    except StepError as err:
        raise StepError(f"{step.name}: {err}") from err
    say(step.name, f"{result.detail} ({time.monotonic() - start:.1f} s)")
    return result


def _terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _only(plan: list[Step], name: str) -> list[Step]:
    """The step `name` and what it needs."""
    wanted = {name}
    for step in reversed(plan):
        if step.name in wanted:
            wanted.update(step.needs)
    return [step for step in plan if step.name in wanted]


def main() -> int:
    """Set the machine up. 0: everything is there; 1: a step failed; 130: stopped, the next call goes on."""
    parser = argparse.ArgumentParser(prog="make setup")
    parser.add_argument("--only", metavar="STEP", help="this step and what it needs, and no .local/env.sh")
    only = parser.parse_args().only
    signal.signal(signal.SIGTERM, _terminate)
    m = machine(Path(__file__).resolve().parent.parent, os.environ)
    start = time.monotonic()
    plan = steps(m) if only is None else _only(steps(m), only)
    if only is None and any(step.name == "go" for step in plan):
        print("set-up: a first call takes 3-8 min on 2 cores, most of it the build of Pulumi's engine; then seconds")
    try:
        done = run(m, plan)
    except KeyboardInterrupt:
        fail("set-up stopped; what is finished stays, the next `make setup` goes on from here")
        return 130
    except StepError as err:
        return fail(f"set-up failed at {err}")
    if only is not None:
        return 0
    path = envfile.write(m, [done[step.name] for step in plan])
    print(f"set-up: ready after {time.monotonic() - start:.1f} s; decisions are in {path.relative_to(m.root)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
