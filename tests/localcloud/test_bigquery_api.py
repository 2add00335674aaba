"""BigQuery by Google's own clients: datasets and their access, tables, jobs, the Storage Read API, snapshots."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from bigquery_support import PROJECT, account, client, parquet, reader, rest, warehouse
from google.api_core import exceptions
from google.cloud import bigquery

from localcloud.testing import LocalCloud
from workloads.feature_pipeline.warehouse import WarehouseError

pytestmark = pytest.mark.container


@pytest.fixture(scope="module")
def bq(cloud: LocalCloud) -> bigquery.Client:
    return client(cloud)


@pytest.fixture(scope="module")
def raw(bq: bigquery.Client) -> Iterator[str]:
    """A dataset with the table `numbers` of 1,000 rows."""
    bq.create_dataset("raw")
    bq.query("CREATE TABLE raw.numbers AS SELECT x, x * 2 AS y FROM UNNEST(GENERATE_ARRAY(1, 1000)) AS x").result()
    yield f"{PROJECT}.raw"
    bq.delete_dataset("raw", delete_contents=True)


# --- datasets -------------------------------------------------------------------------------------------------------


def test_a_dataset_made_without_access_has_the_projects_and_its_creator(cloud: LocalCloud) -> None:
    body = {"datasetReference": {"projectId": PROJECT, "datasetId": "plain"}, "location": "europe-west1"}
    made = rest(cloud, "POST", "datasets", json=body)
    assert made.status_code == 200
    assert made.json()["access"] == [
        {"role": "WRITER", "specialGroup": "projectWriters"},
        {"role": "OWNER", "specialGroup": "projectOwners"},
        {"role": "OWNER", "userByEmail": "deployer@longhaul.local"},
        {"role": "READER", "specialGroup": "projectReaders"},
    ]
    assert rest(cloud, "GET", "datasets/plain?accessPolicyVersion=3").json()["access"] == made.json()["access"]
    assert rest(cloud, "GET", "datasets/plain").json()["location"] == "europe-west1"
    assert rest(cloud, "POST", "datasets", json=body).status_code == 409
    assert rest(cloud, "DELETE", "datasets/plain").status_code in (200, 204)
    assert rest(cloud, "GET", "datasets/plain").json()["error"]["errors"][0]["reason"] == "notFound"


def test_basic_roles_come_back_by_their_old_names_and_members_by_their_kind(cloud: LocalCloud) -> None:
    email, _ = account(cloud, "bq-roundtrip")
    rest(cloud, "POST", "datasets", json={"datasetReference": {"projectId": PROJECT, "datasetId": "shared"}})
    access = [
        {"role": "roles/bigquery.dataOwner", "specialGroup": "projectOwners"},
        {"role": "roles/bigquery.dataViewer", "iamMember": f"serviceAccount:{email}"},
        {"role": "roles/bigquery.metadataViewer", "userByEmail": email},
    ]
    answer = rest(cloud, "PATCH", "datasets/shared", json={"access": access})
    assert answer.json()["access"] == [
        {"role": "OWNER", "specialGroup": "projectOwners"},
        {"role": "READER", "userByEmail": email},
        {"role": "roles/bigquery.metadataViewer", "userByEmail": email},
    ]
    changed = rest(cloud, "PATCH", "datasets/shared", json={"description": "new"}).json()
    assert changed["access"] == answer.json()["access"]
    rest(cloud, "DELETE", "datasets/shared")


def test_access_for_an_account_that_is_not_there_is_refused_and_changes_nothing(cloud: LocalCloud, raw: str) -> None:
    before = rest(cloud, "GET", "datasets/raw").json()["access"]
    ghost = {"role": "READER", "userByEmail": f"ghost@{PROJECT}.iam.gserviceaccount.com"}
    answer = rest(cloud, "PATCH", "datasets/raw", json={"access": [*before, ghost]})
    assert answer.status_code == 400
    assert "does not exist" in answer.json()["error"]["message"]
    assert rest(cloud, "GET", "datasets/raw").json()["access"] == before


def test_a_project_that_is_not_here_is_refused(cloud: LocalCloud) -> None:
    with pytest.raises(exceptions.Forbidden):
        list(client(cloud, project="nobodys-project").list_datasets())


# --- tables and jobs ------------------------------------------------------------------------------------------------


def test_rows_come_and_go_by_every_way(bq: bigquery.Client, raw: str) -> None:
    config = bigquery.LoadJobConfig(source_format="PARQUET")
    bq.load_table_from_file(parquet(k=[1, 2], v=["a", "b"]), f"{raw}.ways", job_config=config).result()
    assert bq.insert_rows_json(f"{raw}.ways", [{"k": 3, "v": "c"}]) == []
    bq.query("INSERT INTO raw.ways VALUES (4, 'd')").result()
    changed = bq.query("DELETE FROM raw.ways WHERE k = 1")
    changed.result()
    assert changed.num_dml_affected_rows == 1
    assert [tuple(row) for row in bq.list_rows(f"{raw}.ways")] == [(2, "b"), (3, "c"), (4, "d")]
    assert {table.table_id for table in bq.list_tables("raw")} >= {"numbers", "ways"}
    bq.delete_table(f"{raw}.ways")
    with pytest.raises(exceptions.NotFound):
        bq.get_table(f"{raw}.ways")


def test_a_resumable_upload_of_a_load_job_goes_through(bq: bigquery.Client, raw: str) -> None:
    lines = [{"k": number} for number in range(100)]
    bq.load_table_from_json(lines, f"{raw}.resumed").result()
    assert next(iter(bq.query("SELECT SUM(k) AS s FROM raw.resumed").result())).s == sum(range(100))


def test_a_script_of_several_statements_is_one_job(bq: bigquery.Client, raw: str) -> None:
    bq.query("CREATE OR REPLACE TABLE raw.a AS SELECT 1 AS x;\nCREATE OR REPLACE TABLE raw.b AS SELECT 2 AS x").result()
    assert [tuple(row) for row in bq.query("SELECT a.x + b.x FROM raw.a, raw.b").result()] == [(3,)]


def test_sql_that_is_wrong_says_so_as_bigquery_does(bq: bigquery.Client, raw: str) -> None:
    with pytest.raises(exceptions.BadRequest) as wrong:
        bq.query("SELEC 1").result()
    assert wrong.value.errors[0]["reason"] == "invalidQuery"
    with pytest.raises(exceptions.NotFound):
        bq.query("SELECT * FROM raw.nothing").result()


def test_a_job_names_who_started_it_and_lists_nobody_elses(cloud: LocalCloud, bq: bigquery.Client, raw: str) -> None:
    email, token = account(cloud, "bq-jobs", ("roles/bigquery.user",))
    own = client(cloud, token).query("SELECT 1")
    own.result()
    others = bq.query("SELECT 2")
    others.result()
    assert own.user_email == email
    assert [job.job_id for job in client(cloud, token).list_jobs()] == [own.job_id]
    with pytest.raises(exceptions.Forbidden):
        client(cloud, token).get_job(others.job_id)
    assert bq.get_job(own.job_id).user_email == email


def test_an_unknown_method_says_what_it_is(cloud: LocalCloud, raw: str) -> None:
    answer = rest(cloud, "GET", "datasets/raw/tables/numbers/rowAccessPolicies")
    assert answer.status_code == 501
    assert "bigquery.rowAccessPolicies.list" in answer.json()["error"]["message"]


# --- Storage Read API -----------------------------------------------------------------------------------------------


def test_results_of_a_query_are_read_by_the_storage_api(cloud: LocalCloud, bq: bigquery.Client, raw: str) -> None:
    rows = bq.query("SELECT x, y FROM raw.numbers ORDER BY x").result()
    table = rows.to_arrow(bqstorage_client=reader(cloud))
    assert table.num_rows == 1000
    assert table["y"][-1].as_py() == 2000


def test_the_feature_pipelines_client_finds_and_reads(cloud: LocalCloud, raw: str) -> None:
    house = warehouse(cloud)
    assert house.columns(raw)["numbers"] == {"x": "INT64", "y": "INT64"}
    assert house.rows(raw)["numbers"] == 1000
    assert house.time_travel_hours(raw) == 168
    assert house.read(raw, "numbers", datetime.now(UTC))["x"].to_pylist() == list(range(1, 1001))


def test_a_table_is_read_as_it_was_at_the_snapshot(cloud: LocalCloud, bq: bigquery.Client, raw: str) -> None:
    house = warehouse(cloud)
    early = datetime.now(UTC)
    time.sleep(0.05)
    bq.query("CREATE TABLE raw.moving AS SELECT 1 AS x").result()
    time.sleep(0.05)
    before = datetime.now(UTC)
    time.sleep(0.05)
    bq.query("INSERT INTO raw.moving VALUES (2)").result()
    bq.query("ALTER TABLE raw.moving ADD COLUMN z STRING").result()
    assert house.read(raw, "moving", before).to_pylist() == [{"x": 1}]
    assert len(house.read(raw, "moving", datetime.now(UTC))) == 2
    bq.query("CREATE OR REPLACE TABLE raw.moving AS SELECT 7 AS x").result()
    assert house.read(raw, "moving", before).to_pylist() == [{"x": 1}]
    with pytest.raises(WarehouseError, match="was not there then"):
        house.read(raw, "moving", early)


@pytest.mark.parametrize(("hours", "words"), [(-24 * 8, "Cannot read before"), (1, "lies ahead")])
def test_a_snapshot_out_of_reach_is_an_invalid_argument(cloud: LocalCloud, raw: str, hours: int, words: str) -> None:
    with pytest.raises(WarehouseError, match=words) as refused:
        warehouse(cloud).read(raw, "numbers", datetime.now(UTC) + timedelta(hours=hours))
    assert isinstance(refused.value.__cause__, exceptions.InvalidArgument)


def test_a_table_that_is_gone_is_not_found(cloud: LocalCloud, raw: str) -> None:
    with pytest.raises(WarehouseError) as gone:
        warehouse(cloud).read(raw, "nothing", datetime.now(UTC))
    assert gone.value.gone


def test_the_owner_reads_without_a_token_where_the_settings_say_so(cloud: LocalCloud, raw: str) -> None:
    assert len(warehouse(cloud, None).read(raw, "numbers", datetime.now(UTC))) == 1000
