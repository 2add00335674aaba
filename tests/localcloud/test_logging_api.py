"""Logging by Google's Python client, and the query language."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import logging
from google.cloud.logging_v2.entries import StructEntry
from hypothesis import given
from hypothesis import strategies as st

from localcloud.errors import ApiError
from localcloud.log_filter import parse
from localcloud.testing import LocalCloud, local_cloud
from localcloud.times import from_nanoseconds, nanoseconds

EXECUTION = "run.googleapis.com/execution_name"
ENTRY: dict[str, Any] = {
    "logName": "projects/p/logs/run.googleapis.com%2Fstdout",
    "timestamp": "2026-11-24T06:00:00.123456789Z",
    "severity": "ERROR",
    "resource": {"type": "cloud_run_job", "labels": {"job_name": "heavy", "location": "europe-west1"}},
    "labels": {EXECUTION: "heavy-abc", "run.googleapis.com/task_index": "0"},
    "jsonPayload": {"message": "Hello World", "rows": 5, "done": False, "list": [{"x": "one"}, {"x": "two"}]},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ('resource.type="cloud_run_job" resource.labels.job_name=heavy', True),
        (f'labels."{EXECUTION}"="heavy-abc" AND severity>=ERROR', True),
        ("severity>ERROR", False),
        ("severity=error", True),
        ("severity>=400", True),
        ("severity>=CRITICAL OR jsonPayload.rows>4", True),
        ("NOT jsonPayload.message:hello", False),
        ("-jsonPayload.message:hello", False),
        ('jsonPayload.message=~"^Hel+o"', True),
        ('jsonPayload.message!~"^Hel+o"', False),
        ("jsonPayload.done=false", True),
        ("jsonPayload.list.x=two", True),
        ("jsonPayload.missing=1", False),
        ("jsonPayload.missing!=1", True),
        ("jsonPayload.missing:*", False),
        ("jsonPayload.rows:*", True),
        ("resource.labels.job_name=(light OR heavy)", True),
        ("resource.labels.job_name:(hea AND vy)", True),
        ('timestamp>="2026-11-24T06:00:00.1234567Z"', True),
        ('timestamp>"2026-11-24T06:00:00.123456789Z"', False),
        ('timestamp<"2026-11-24T07:00:00+01:00"', False),
        ('timestamp>="2026-11-24"', True),
        ("world", True),
        ('"hello world"', True),
        ("nothing", False),
        ('log_id("run.googleapis.com/stdout")', True),
        ('SEARCH("hello world")', True),
        ("jsonPayload.rows=1 OR jsonPayload.rows=5 AND severity=INFO", False),
        ("jsonPayload.rows=5 OR jsonPayload.rows=1 AND NOT severity=INFO", True),
        ("(jsonPayload.rows=5\n  -- a comment\n) AND NOT (severity=INFO)", True),
    ],
)
def test_the_query_language_finds_what_it_should(text: str, expected: bool) -> None:
    assert parse(text).test(ENTRY) is expected


@pytest.mark.parametrize(
    "text",
    [
        "severity>=",
        "(a=b",
        "a=b AND",
        "severity=LOUD",
        "timestamp>yesterday",
        ")",
        'a=~"("',
        "a=(b OR c AND d)",
        'a="b',
    ],
)
def test_a_broken_query_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(ApiError, match="Unparseable filter: syntax error at line 1, column"):
        parse(text)


@given(st.integers(min_value=0, max_value=4 * 10**18))
def test_times_survive_the_round_trip_to_the_nanosecond(value: int) -> None:
    assert nanoseconds(from_nanoseconds(value)) == value


@given(st.text(max_size=40))
def test_no_query_at_all_breaks_the_parser(text: str) -> None:
    try:
        found = parse(text).test(ENTRY)
    except ApiError as error:
        found = error.code == 400
    assert isinstance(found, bool)


@pytest.fixture(scope="module")
def client(cloud: LocalCloud) -> logging.Client:
    options = {"api_endpoint": cloud.url("logging")}
    return logging.Client(
        project="demo-project", credentials=AnonymousCredentials(), client_options=options, _use_grpc=False
    )


def messages(entries: Iterator[Any]) -> list[Any]:
    return [entry.payload for entry in entries]


def test_entries_are_written_and_listed_by_google_s_client(client: logging.Client) -> None:
    log = client.logger("by-client")
    log.log_text("one", severity="WARNING")
    log.log_struct({"message": "two", "rows": 3}, severity="ERROR", labels={"team": "a"})
    # the client writes an entry about itself before its first one
    own = 'logName="projects/demo-project/logs/by-client" AND NOT jsonPayload."logging.googleapis.com/diagnostic":*'
    assert messages(client.list_entries(filter_=own)) == ["one", {"message": "two", "rows": 3}]
    (entry,) = client.list_entries(filter_=f"{own} AND severity>=ERROR AND labels.team=a")
    assert isinstance(entry, StructEntry)
    assert entry.to_api_repr()["resource"]["labels"]["project_id"] == "demo-project"
    newest = client.list_entries(filter_=own, order_by=logging.DESCENDING)
    assert messages(newest)[0] == {"message": "two", "rows": 3}


def test_pages_go_on_where_the_last_one_ended_also_while_entries_arrive(cloud: LocalCloud) -> None:
    url = f"{cloud.url('logging')}/v2/entries"
    name = "projects/demo-project/logs/paged"
    start = datetime(2026, 11, 1, tzinfo=UTC)

    def write(numbers: range) -> None:
        entries = [
            {"textPayload": str(n), "timestamp": (start + timedelta(seconds=n // 2)).isoformat(), "insertId": f"id{n}"}
            for n in numbers
        ]
        body = {"logName": name, "resource": {"type": "global"}, "entries": entries}
        assert httpx.post(f"{url}:write", json=body).json() == {}

    write(range(25))
    write(range(25))
    asked: dict[str, Any] = {"resourceNames": ["projects/demo-project"], "filter": f'logName="{name}"', "pageSize": 10}
    seen: list[str] = []
    while True:
        page = httpx.post(f"{url}:list", json=asked).json()
        seen += [entry["textPayload"] for entry in page["entries"]]
        if "nextPageToken" not in page:
            break
        asked["pageToken"] = page["nextPageToken"]
        write(range(26, 27))
    assert seen == [*(str(n) for n in range(25)), "26"]
    mixed = httpx.post(f"{url}:list", json={**asked, "filter": "other"}).json()
    assert mixed["error"]["message"] == "page_token doesn't match arguments from the request."


def test_an_execution_is_found_among_many_by_its_label(cloud: LocalCloud) -> None:
    url = f"{cloud.url('logging')}/v2/entries"
    resource = {"type": "cloud_run_job", "labels": {"job_name": "j"}}
    entries = [{"textPayload": f"{n}", "labels": {EXECUTION: f"j-{n % 3}"}} for n in range(90)]
    name = "projects/demo-project/logs/run.googleapis.com%2Fstdout"
    httpx.post(f"{url}:write", json={"logName": name, "resource": resource, "entries": entries})
    asked = {"resourceNames": ["projects/demo-project"], "filter": f'labels."{EXECUTION}"="j-1"', "pageSize": 1000}
    found = httpx.post(f"{url}:list", json=asked).json()["entries"]
    assert [entry["textPayload"] for entry in found] == [str(n) for n in range(90) if n % 3 == 1]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"logName": "stdout"}, "Log name contains illegal character"),
        ({"resource": None}, "monitored resource must be specified"),
        ({"entries": [{}]}, "must have one of"),
        ({"entries": [{"textPayload": "x", "colour": 1}]}, 'Unknown name "colour"'),
        ({"entries": [{"textPayload": "x", "severity": "LOUD"}]}, "Invalid value at"),
        ({"entries": [{"textPayload": "x", "timestamp": "noon"}]}, "Invalid time format"),
    ],
)
def test_a_wrong_entry_is_refused(cloud: LocalCloud, change: dict[str, Any], text: str) -> None:
    body = {
        "logName": "projects/demo-project/logs/x",
        "resource": {"type": "global"},
        "entries": [{"textPayload": "x"}],
    }
    answer = httpx.post(f"{cloud.url('logging')}/v2/entries:write", json={**body, **change})
    assert answer.status_code == 400
    assert text in answer.json()["error"]["message"]


def test_reading_needs_a_grant(cloud: LocalCloud) -> None:
    headers = {"authorization": f"Bearer {cloud.token('user:nobody@example.com')}"}
    asked = {"resourceNames": ["projects/demo-project"]}
    answer = httpx.post(f"{cloud.url('logging')}/v2/entries:list", json=asked, headers=headers)
    assert answer.status_code == 403
    assert "logging.logEntries.list" in answer.json()["error"]["message"]


def test_the_quota_of_lists_and_the_bound_on_entries_are_settings(tmp_path: Path) -> None:
    config = {
        "projects": [{"project_id": "demo-project"}],
        "ports": {"control": 0, "logging": 0},
        "logs": {"max_entries": 100, "list_quota_per_minute": 3},
    }
    with local_cloud(tmp_path / "state", config) as running:
        url = f"{running.url('logging')}/v2/entries"
        body = {"logName": "projects/demo-project/logs/x", "resource": {"type": "global"}}
        for start in range(0, 300, 50):
            entries = [{"textPayload": str(n)} for n in range(start, start + 50)]
            assert httpx.post(f"{url}:write", json={**body, "entries": entries}).status_code == 200
        asked = {"resourceNames": ["projects/demo-project"], "pageSize": 1000}
        kept = httpx.post(f"{url}:list", json=asked).json()["entries"]
        assert [entry["textPayload"] for entry in kept][-1] == "299"
        assert len(kept) <= 110
        codes = [httpx.post(f"{url}:list", json=asked).status_code for _ in range(3)]
        assert codes == [200, 200, 429]
        running.control("PUT", "/clock", {"advance_s": 61})
        assert httpx.post(f"{url}:list", json=asked).status_code == 200


def test_a_numeric_value_is_found_however_it_is_written(cloud: LocalCloud) -> None:
    """The search first looks for the text of a value: it must not miss a number that is written differently."""
    url = f"{cloud.url('logging')}/v2/entries"
    name = "projects/demo-project/logs/numbers"
    body = {"logName": name, "resource": {"type": "global"}, "entries": [{"jsonPayload": {"rows": 5000, "share": 0.5}}]}
    httpx.post(f"{url}:write", json=body)
    for term in ("jsonPayload.rows=5000", "jsonPayload.rows=5e3", "jsonPayload.rows=5000.0", "jsonPayload.share=0.500"):
        asked = {"resourceNames": ["projects/demo-project"], "filter": f'logName="{name}" AND {term}'}
        assert "entries" in httpx.post(f"{url}:list", json=asked).json(), term
