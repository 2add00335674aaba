import os
import time
from pathlib import Path

import pytest

from workloads.common.storage import Blob, LocalStore, Storage, Transfer, Unavailable
from workloads.heavy_runner import outputs
from workloads.heavy_runner.failure import RunFailure

INPUTS = ["data/cleaned_data.csv"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run_dir = tmp_path / "run"
    for name in ("data", "artifacts", "reports", "other"):
        (run_dir / name).mkdir(parents=True)
    for name in ("data/cleaned_data.csv", "data/read.json", "data/metrics.json", "reports/r.html", "other/model.bin"):
        (run_dir / name).write_text("x")
    return run_dir


def names(found: outputs.Found) -> list[str]:
    return [file.path for file in found.files]


def local() -> Storage:
    def no_bucket(deadline: object) -> None:
        raise AssertionError("no bucket here")

    return Storage(no_bucket)  # type: ignore[arg-type]  # never called


def test_output_folders_are_taken_without_the_inputs(folder: Path) -> None:
    assert names(outputs.find(folder, inputs=INPUTS, required=[])) == ["data/metrics.json", "reports/r.html"]


def test_required_outputs_are_found_anywhere_in_the_run_folder(folder: Path) -> None:
    found = outputs.find(folder, inputs=INPUTS, required=["other/*.bin", "none/*.png", "data/*.csv"])
    assert "other/model.bin" in names(found)
    assert found.missing == ["none/*.png"]
    assert "data/cleaned_data.csv" not in names(found)


def test_input_that_is_required_by_name_is_an_output(folder: Path) -> None:
    found = outputs.find(folder, inputs=INPUTS, required=["data/cleaned_data.csv"])
    assert "data/cleaned_data.csv" in names(found)


def test_required_output_that_cannot_be_uploaded_is_missing(folder: Path) -> None:
    (folder / "data" / "scored_rows.csv").symlink_to("/etc/passwd")
    (folder / "linked").symlink_to("/etc")
    found = outputs.find(folder, inputs=INPUTS, required=["data/scored_rows.csv", "linked/passwd"])
    assert found.missing == ["data/scored_rows.csv", "linked/passwd"]
    assert set(found.skipped.values()) == {"leads out of the run folder"}


def test_hard_link_to_somebody_elses_file_is_not_uploaded(folder: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a file of another user")
    secret = tmp_path / "secret"
    secret.write_text("s")
    os.chown(secret, 4711, 4711)
    os.link(secret, folder / "data" / "taken")
    found = outputs.find(folder, inputs=INPUTS, required=[])
    assert found.skipped == {"data/taken": "is a second name of somebody else's file"}


def test_too_many_files_are_counted_and_few_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "MAX_FILES", 5)
    monkeypatch.setattr(outputs, "MAX_NAMED", 3)
    for number in range(20):
        (folder / "artifacts" / f"{number:02}").touch()
    found = outputs.find(folder, inputs=INPUTS, required=[])
    assert (len(found.files), found.skipped_count, len(found.skipped)) == (5, 17, 3)


def test_upload_keeps_the_layout_and_counts(folder: Path, tmp_path: Path) -> None:
    found = outputs.find(folder, inputs=INPUTS, required=[])
    uploaded: dict[str, int] = {}
    outputs.upload(local(), found, f"{tmp_path}/out/", Transfer(), uploaded)
    assert uploaded == {"data/metrics.json": 1, "reports/r.html": 1}
    assert (tmp_path / "out" / "data" / "metrics.json").read_text() == "x"


def test_one_output_that_cannot_be_written_does_not_keep_the_others(folder: Path, tmp_path: Path) -> None:
    found = outputs.find(folder, inputs=INPUTS, required=[])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "data").write_text("a file where a folder should be")
    uploaded: dict[str, int] = {}
    with pytest.raises(RunFailure, match=r"output data/metrics\.json cannot be written"):
        outputs.upload(local(), found, f"{tmp_path}/out/", Transfer(), uploaded)
    assert uploaded == {"reports/r.html": 1}


def test_service_that_is_away_is_not_waited_for_by_every_file(folder: Path, tmp_path: Path) -> None:
    class Away(LocalStore):
        def upload(self, source: int, uri: str, transfer: Transfer, *, if_generation: int | None = None) -> Blob:
            raise Unavailable(uri, "no answer")

    storage = Storage(lambda deadline: Away())
    found = outputs.find(folder, inputs=INPUTS, required=[])
    with pytest.raises(RunFailure) as caught:
        outputs.upload(storage, found, "gs://out/", Transfer(), {})
    assert caught.value.code == "storage_unavailable"
    assert storage.deadline.left(time.monotonic()) <= outputs.GIVE_UP_S
