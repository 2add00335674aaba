"""Settings from a file: a slip is named, with what is allowed, before anything is started."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localcloud.batch.settings import from_settings as batch_settings
from localcloud.run.settings import from_settings
from localcloud.settings import ProjectSettings, Settings, WrongSettings, from_dict
from localcloud.workflows.settings import from_settings as workflow_settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"portz": {}}, r"settings: keys must be of accounts, .*, got portz"),
        ({"runtime": {"max_memory": 1}}, r"settings: runtime must have keys of .*max_memory_mib.*, got max_memory"),
        ({"runtime": 7}, r"settings: runtime must be an object with keys of .*, got 7"),
        ({"logs": {"quota": 1}}, r"settings: logs must have keys of .*list_quota_per_minute.*, got quota"),
        ({"faults": {"error_rate": 2}}, r"faults: error_rate must be 0 to 1, got 2"),
        ({"faults": {"error_rate": "a lot"}}, r"settings: faults holds a value of the wrong type: "),
        ({"projects": [{"id": "p"}]}, r"settings: projects must have keys of .*project_id.*, got id"),
        ({"projects": [{}]}, r"settings: projects holds a value of the wrong type: .*project_id"),
        ({"host": "192.0.2.1"}, r"settings: host must be a loopback address"),
        ({"ports": {"control": 1, "run": 1}}, r"settings: ports must differ"),
        (
            {"extra": {"run": {"log_mib": 1}}},
            r"settings: extra.run must have keys of .*log_mib_per_attempt.*, got log_mib",
        ),
        ({"extra": {"run": {"start_delay_s": 601}}}, r"extra.run: start_delay_s must be 0 to 600, got 601"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        from_settings(from_dict(tmp_path, values))


@pytest.mark.parametrize(
    ("read", "part", "said"),
    [
        (
            batch_settings,
            {"batch": {"queue": 1}},
            r"settings: extra.batch must have keys of .*queue_delay_s.*, got queue",
        ),
        (batch_settings, {"batch": {"queue_delay_s": 601}}, r"extra.batch: queue_delay_s must be 0 to 600, got 601"),
        (workflow_settings, {"workflows": {"poll": 1}}, r"settings: extra.workflows must have keys of .*, got poll"),
    ],
)
def test_what_is_wrong_for_one_service_is_named_likewise(
    tmp_path: Path, read: Callable[[Settings], object], part: dict[str, Any], said: str
) -> None:
    with pytest.raises(WrongSettings, match=said):
        read(from_dict(tmp_path, {"extra": part}))


def test_a_project_may_be_a_name_or_say_more(tmp_path: Path) -> None:
    projects = ["one", {"project_id": "two", "services_enabled": "all"}, {"project_id": "three", "number": 3}]
    assert from_dict(tmp_path, {"projects": projects}).projects == (
        ProjectSettings(project_id="one"),
        ProjectSettings(project_id="two", services_enabled=("all",)),
        ProjectSettings(project_id="three", number=3),
    )


@pytest.mark.parametrize("wrong", [{"extra": {"run": {"nonsense": 1}}}, {"nonsense": 1}])
def test_the_process_ends_with_one_line(tmp_path: Path, wrong: dict[str, Any]) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"ports": {"control": 0, "run": 0}, **wrong}))
    command = [sys.executable, "-m", "localcloud", "serve", "--state", str(tmp_path / "state"), "--config", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("localcloud: settings: ")
    assert done.stderr.count("\n") == 1
