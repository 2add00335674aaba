"""The set-up: order of its steps, what a failure or a stop leaves, locks, and what it writes for the shell."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools import common, docker, engine, envfile, plugins, setup
from tools.common import Done, Interrupted, Machine, StepError
from tools.setup import Before, Step

ROOT = Path(__file__).parents[2]


@pytest.fixture
def m(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(common, "CHILDREN", common.Children())
    monkeypatch.setattr(setup, "CHILDREN", common.CHILDREN)
    root = tmp_path / "check out"
    root.mkdir()
    env = {"PATH": os.environ["PATH"], "LONGHAUL_CACHE": str(tmp_path / "cache"), "LONGHAUL_RUN": str(tmp_path / "run")}
    return common.machine(root, env)


def noted(order: list[str], name: str, *needs: str) -> Step:
    def run(m: Machine, before: Before) -> Done:
        assert set(needs) <= set(before)
        order.append(name)
        return Done(detail=name)

    return Step(name=name, run=run, needs=needs)


def test_a_step_runs_after_the_steps_it_needs(m: Machine) -> None:
    order: list[str] = []
    setup.run(m, [noted(order, "c", "a", "b"), noted(order, "b", "a"), noted(order, "a")])
    assert order == ["a", "b", "c"]


def test_steps_that_do_not_need_each_other_run_side_by_side(m: Machine) -> None:
    both = threading.Barrier(2, timeout=10)

    def meet(m: Machine, before: Before) -> Done:
        both.wait()
        return Done(detail="met")

    assert set(setup.run(m, [Step(name="a", run=meet), Step(name="b", run=meet)])) == {"a", "b"}


def test_a_failure_names_its_step_stops_the_others_and_starts_no_more(m: Machine) -> None:
    started = threading.Event()

    def sleeps(m: Machine, before: Before) -> Done:
        started.set()
        common.call(m, "long", ["sleep", "60"], timeout_s=60)
        return Done(detail="slept")

    def fails(m: Machine, before: Before) -> Done:
        assert started.wait(10)
        raise StepError("no luck")

    order: list[str] = []
    plan = [Step(name="long", run=sleeps), Step(name="short", run=fails), noted(order, "later", "short")]
    with pytest.raises(StepError, match="short: no luck"):
        setup.run(m, plan)
    assert not order


def test_only_one_step_brings_what_it_needs_and_nothing_else() -> None:
    order: list[str] = []
    plan = [noted(order, "uv"), noted(order, "docker"), noted(order, "environment", "uv")]
    assert [step.name for step in setup._only(plan, "environment")] == ["uv", "environment"]


def test_a_failed_command_is_told_with_its_last_lines_and_its_log(m: Machine) -> None:
    with pytest.raises(StepError, match=r"exited with 3.*step\.log\n.*the cause") as caught:
        common.call(m, "step", ["sh", "-c", "echo the cause; exit 3"], timeout_s=10)
    assert str(caught.value).startswith("sh -c")
    assert "the cause" in common.log_file(m, "step").read_text()


def test_a_command_over_its_time_is_ended_with_its_children(m: Machine) -> None:
    with pytest.raises(StepError, match="took longer than 1 s"):
        common.call(m, "step", ["sh", "-c", "sleep 61.7 & wait"], timeout_s=1)
    assert not common.processes_with("61.7")


def test_what_is_started_after_a_stop_ends_at_once(m: Machine) -> None:
    common.CHILDREN.stop()
    with pytest.raises(Interrupted):
        common.call(m, "step", ["sleep", "60"], timeout_s=60)


def test_a_folder_appears_whole_or_not_at_all(m: Machine) -> None:
    target = m.cache / "thing" / "1"

    def half(draft: Path) -> None:
        (draft / "a").touch()
        raise StepError("stopped in the middle")

    with pytest.raises(StepError):
        common.build_folder(target, half)
    assert not target.exists()
    common.build_folder(target, lambda draft: (draft / "b").touch())
    assert [path.name for path in target.iterdir()] == ["b"]
    assert [path.name for path in target.parent.iterdir()] == ["1"], "the half one is gone"


@pytest.fixture
def holder(m: Machine) -> Iterator[subprocess.Popen[str]]:
    """Another set-up that holds the lock `thing` and does not let go."""
    code = (
        "import os, sys, time; from pathlib import Path; from tools.common import lock, machine\n"
        "with lock(machine(Path(sys.argv[1]), os.environ), 'thing', 'x'): print('held', flush=True); time.sleep(60)"
    )
    argv = [sys.executable, "-c", code, str(m.root)]
    with subprocess.Popen(argv, cwd=ROOT, env=dict(m.env), stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield other
        other.kill()


def test_a_lock_is_free_once_its_holder_is_killed(
    m: Machine, holder: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    threading.Timer(0.5, holder.send_signal, [signal.SIGKILL]).start()
    with common.lock(m, "thing", "step"):
        assert holder.wait(10) == -signal.SIGKILL
    assert "another set-up holds thing" in capsys.readouterr().out


def test_a_stop_ends_the_wait_for_a_lock(m: Machine, holder: subprocess.Popen[str]) -> None:
    threading.Timer(0.3, common.CHILDREN.stop).start()
    with pytest.raises(Interrupted), common.lock(m, "thing", "step"):
        pytest.fail("the lock is held by another")


def test_env_file_quotes_and_puts_its_folders_on_path_once(m: Machine) -> None:
    value = "it's $HOME"
    step = Done(detail="", env={"A": value}, path=(m.cache / "bin",))
    path = envfile.write(m, [step])
    script = f". '{path}'; . '{path}'; printf '%s\\n' \"$A\" \"$PATH\" \"$PULUMI_BACKEND_URL\""
    shell = subprocess.run(["/bin/sh", "-c", script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=True)
    a, folders, backend = shell.stdout.decode().splitlines()
    assert a == value
    assert folders == f"{m.local}/bin:{m.root}/.venv/bin:{m.cache}/bin:/usr/bin:/bin"
    assert backend == f"file://{m.local}/pulumi"


def test_env_file_that_has_not_changed_is_not_written_again(m: Machine) -> None:
    path = envfile.write(m, [])
    os.utime(path, (0, 0))
    envfile.write(m, [])
    assert path.stat().st_mtime == 0


def with_plugin_versions(m: Machine) -> Machine:
    for name in plugins.NAMES:
        folder = m.root / f".venv/lib/python3.11/site-packages/pulumi_{name}"
        folder.mkdir(parents=True)
        (folder / "pulumi-plugin.json").write_text('{"version": "1.2.3"}')
    return m


def with_env(m: Machine, **env: str) -> Machine:
    return Machine(root=m.root, cache=m.cache, run=m.run, env={**m.env, **env})


def test_stand_ins_are_put_on_path_and_taken_away_once_the_real_plugins_are_there(m: Machine, tmp_path: Path) -> None:
    m = with_env(with_plugin_versions(m), PLUGINS="stand-in", HOME=str(tmp_path))
    done = plugins.plugins(m, Path("pulumi"))
    wrapper = m.local / "bin" / "pulumi-resource-gcp"
    assert "STAND-INS" in done.detail
    assert "-m localcloud.plugins.gcp" in wrapper.read_text()
    assert os.access(wrapper, os.X_OK)

    real = tmp_path / "real"
    real.mkdir()
    for name in plugins.NAMES:
        (real / f"pulumi-resource-{name}").touch(mode=0o755)
    m = with_env(m, PLUGINS="auto", PATH=f"{m.local / 'bin'}:{real}")
    assert plugins.plugins(m, Path("pulumi")).detail == "the real gcp and docker plugins"
    assert not wrapper.exists()


def test_a_plugin_choice_that_does_not_exist_is_refused(m: Machine) -> None:
    with pytest.raises(StepError, match="PLUGINS must be auto, real or stand-in, got 'fake'"):
        plugins.plugins(with_env(with_plugin_versions(m), PLUGINS="fake"), Path("pulumi"))


def test_an_engine_that_was_asked_for_and_is_down_is_an_error(m: Machine, tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"does not answer: start that engine, or unset DOCKER_HOST"):
        docker.engine(with_env(m, DOCKER_HOST=f"unix://{tmp_path}/absent.sock"))


def test_docker_down_ends_no_process_that_is_not_ours(m: Machine) -> None:
    m.run.mkdir()
    with subprocess.Popen(["sleep", "60"]) as other:
        docker.pid_path(m).write_text(str(other.pid))
        assert docker.down(m) == "no private Docker engine runs"
        time.sleep(0.1)
        assert other.poll() is None
        other.kill()


def test_what_the_set_up_built_is_not_taken_for_a_pulumi_of_the_machine(m: Machine) -> None:
    ours = m.cache / "engine" / "1" / "bin"
    ours.mkdir(parents=True)
    for name in ("pulumi", "pulumi-language-python"):
        (ours / name).touch(mode=0o755)
    assert engine.ready_made(with_env(m, PATH=str(ours))) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change its root directory")
def test_a_process_of_another_root_directory_is_not_taken_for_ours(tmp_path: Path) -> None:
    code = "import os, sys, time; os.chroot(sys.argv[2]); print('in', flush=True); time.sleep(60)"
    word = str(tmp_path / "data")
    for root, ours in (("/", True), (str(tmp_path), False)):
        argv = [sys.executable, "-c", code, word, root]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "in\n"
            assert common.processes_with(word) == ([other.pid] if ours else [])
            other.kill()
