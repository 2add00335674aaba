"""Names, manifest and variables, as other programs rely on them."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.batch_fanout.contract import (
    MAX_TASKS,
    VARIABLES,
    FanoutEnv,
    IndexMap,
    InputEntry,
    Manifest,
    ManifestPage,
    RunPlace,
    batch_job_id,
    input_name,
    page_json,
    read_page,
    result_name,
)

PAGES = (ManifestPage(name="a", first=0, count=1000, size=1, sha256="0"), ManifestPage(name="b", first=1000, count=1, size=1, sha256="1"))  # fmt: skip
MANIFEST = Manifest(count=1001, format="pickle", model="m", seed=1, requested=1001, pages=PAGES)


@pytest.mark.parametrize(
    ("index", "count", "name"),
    [(0, 1, "0000"), (42, 200, "0042"), (9_999, 10_000, "9999"), (0, 10_001, "00000"), (99_999, 100_000, "99999")],
)
def test_a_name_is_as_wide_as_the_last_index_needs(index: int, count: int, name: str) -> None:
    assert input_name(index, count) == f"input_{name}.pkl"
    assert result_name(index, count, "json") == f"result_{name}.json"


@given(st.integers(1, MAX_TASKS))
def test_names_sort_as_their_indices(count: int) -> None:
    assert input_name(0, count) <= input_name(count - 1, count)
    assert len(input_name(0, count)) == len(input_name(count - 1, count))


def test_every_field_has_a_variable_and_survives_it() -> None:
    assert set(VARIABLES) == {item.name for item in fields(FanoutEnv)}
    env = FanoutEnv(
        bucket="b", in_prefix="i/", out_prefix="o/", job_id="j", github_repo="o/r", github_secret="s", project="p",
        repo_dir="/r", git_ref="v1", git_url="http://127.0.0.1:1", model="a.b", format="json", table="csv", parallel=3,
        manifest="m", manifest_generation=5, index_map="x", image="h/i@sha256:0",
    )  # fmt: skip
    assert len(env.to_env()) == len(VARIABLES)
    assert FanoutEnv.from_env(env.to_env()) == env


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bucket": ""}, "GCS_BUCKET: must not be empty"),
        ({"in_prefix": "inputs"}, "IN_PREFIX: must be empty, or end in `/`"),
        ({"github_repo": "https://github.com/o/r"}, "GITHUB_FORECAST_REPO: must be OWNER/REPOSITORY"),
        ({"github_repo": "o/r;rm"}, "GITHUB_FORECAST_REPO"),
        ({"git_ref": "--upload-pack=x"}, "GIT_REF: must be a branch"),
        ({"git_url": "https://user:token@github.com"}, "GIT_URL: must be a server without path and user"),
        ({"format": "dill"}, "FANOUT_FORMAT: must be pickle or json"),
        ({"table": "xlsx"}, "FANOUT_TABLE"),
        ({"parallel": 0}, "FANOUT_PARALLEL: must be 1 to 256"),
        ({"model": "os; import"}, "FANOUT_MODEL: must be the name of a module"),
    ],
)
def test_a_variable_out_of_range_is_refused_by_name(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FanoutEnv(**{"bucket": "b", **changes})  # type: ignore[arg-type]  # wrong on purpose


def test_a_folder_can_stand_for_the_bucket() -> None:
    assert FanoutEnv(bucket="b").uri("x/y") == "gs://b/x/y"
    assert FanoutEnv(bucket="/tmp/b/").uri("x/y") == "/tmp/b/x/y"


def test_places_of_a_run_are_the_documented_ones() -> None:
    place = RunPlace(dir_prefix="fanout/", sim_id="flu", run_id="r")
    assert (place.inputs, place.results) == ("fanout/flu/r/inputs/", "fanout/flu/r/results/")
    assert place.manifest == "fanout/flu/r/inputs/manifest.json"
    assert batch_job_id("e" * 36, "b-standard") == f"fanout-{'e' * 36}-b-standard"
    assert len(batch_job_id("e" * 36, "b-standard")) <= 63


def test_a_manifest_survives_its_json() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST
    assert MANIFEST.page_of(999) is PAGES[0] or MANIFEST.page_of(999) == PAGES[0]
    assert MANIFEST.page_of(1000) == PAGES[1]


@pytest.mark.parametrize("cut", [0, 1, 40, -3])
def test_a_cut_manifest_is_refused(cut: int) -> None:
    with pytest.raises(ValueError, match="manifest: is no JSON"):
        Manifest.from_json(MANIFEST.to_json()[:cut])


@pytest.mark.parametrize(
    "wrong",
    [replace(MANIFEST, count=1000), replace(MANIFEST, pages=PAGES[:1]), replace(MANIFEST, count=-1, pages=()), replace(MANIFEST, version=2)],
)  # fmt: skip
def test_a_manifest_whose_numbers_do_not_fit_is_refused(wrong: Manifest) -> None:
    with pytest.raises(ValueError, match="manifest: "):
        Manifest.from_json(wrong.to_json())


def test_a_page_that_was_changed_is_refused() -> None:
    data = page_json([InputEntry(name="i", size=1, sha256="a", generation=1)])
    with pytest.raises(ValueError, match="not the one the manifest names"):
        read_page(data, ManifestPage(name="p", first=0, count=1, size=len(data), sha256="0" * 64))


@given(st.lists(st.integers(0, MAX_TASKS - 1), unique=True, max_size=50))
def test_an_index_map_survives_its_json(indices: list[int]) -> None:
    assert list(IndexMap.from_json(IndexMap.of(indices).to_json()).indices) == indices


@pytest.mark.parametrize("text", ["[]", '{"count":2,"indices":[1]}', '{"count":2,"indices":[1,1]}', '{"count":1,"indices":[-1]}', '{"count":1,"indices":[true]}'])  # fmt: skip
def test_an_index_map_that_is_cut_or_doubled_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="index map"):
        IndexMap.from_json(text.encode())


def test_the_documentation_names_every_variable_with_its_default() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "batch-fanout.md").read_text()
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|", page, re.MULTILINE))
    assert set(rows) == {*VARIABLES.values(), "BATCH_TASK_INDEX"}
    plain = {VARIABLES[item.name]: item.default for item in fields(FanoutEnv)}
    for variable, shown in rows.items():
        if shown.startswith("`") or shown.isdecimal():
            assert shown.strip("`") == str(plain[variable]), variable
