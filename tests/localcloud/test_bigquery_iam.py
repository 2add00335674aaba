"""Who may do what in BigQuery: sets of roles against everything a caller may try, and what the refusal says."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import httpx
import pytest
from bigquery_support import PROJECT, account, client, parquet, reader, warehouse
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types

from localcloud.testing import LocalCloud, local_cloud
from workloads.feature_pipeline.warehouse import BigQuery, WarehouseError

pytestmark = pytest.mark.container

JOBS, SESSIONS = "roles/bigquery.jobUser", "roles/bigquery.readSessionUser"
VIEWER, EDITOR, OWNER = "roles/bigquery.dataViewer", "roles/bigquery.dataEditor", "roles/bigquery.dataOwner"
META = "roles/bigquery.metadataViewer"

Attempt = Callable[[bigquery.Client, BigQuery], object]


def sql(text: str) -> Attempt:
    return lambda bq, house: bq.query(text).result()


def load(bq: bigquery.Client, house: BigQuery) -> object:
    config = bigquery.LoadJobConfig(source_format="PARQUET")
    return bq.load_table_from_file(parquet(x=[1]), f"{PROJECT}.vault.loaded", job_config=config).result()


def destination(bq: bigquery.Client, house: BigQuery) -> object:
    config = bigquery.QueryJobConfig(destination=f"{PROJECT}.vault.made", write_disposition="WRITE_TRUNCATE")
    return bq.query("SELECT 1 AS x", job_config=config).result()


ATTEMPTS: dict[str, Attempt] = {
    "nothing but a job": sql("SELECT 1"),
    "select": sql("SELECT * FROM vault.t"),
    "select in a script": sql("DECLARE n INT64; SET n = (SELECT COUNT(*) FROM vault.t); SELECT n"),
    "select by dynamic SQL": sql("EXECUTE IMMEDIATE 'SELECT * FROM vault.t'"),
    "select through a join with something open": sql("SELECT * FROM open.t JOIN vault.t USING (x)"),
    "dry run": lambda bq, house: bq.query("SELECT * FROM vault.t", job_config=bigquery.QueryJobConfig(dry_run=True)),
    "columns": lambda bq, house: house.columns(f"{PROJECT}.vault"),
    "read": lambda bq, house: house.read(f"{PROJECT}.vault", "t", datetime.now(UTC)),
    "insert": sql("INSERT INTO vault.t VALUES (1)"),
    "create": sql("CREATE OR REPLACE TABLE vault.c AS SELECT 1 AS x"),
    "drop": sql("DROP TABLE IF EXISTS vault.c"),
    "load": load,
    "destination": destination,
    "get": lambda bq, house: bq.get_table("vault.t"),
    "list": lambda bq, house: list(bq.list_tables("vault")),
    "rows": lambda bq, house: list(bq.list_rows(bigquery.TableReference.from_string(f"{PROJECT}.vault.t"), [])),
    "dataset": lambda bq, house: bq.get_dataset("vault"),
    "describe": lambda bq, house: bq.update_dataset(bq.get_dataset("vault"), ["labels"]),
    "new dataset": lambda bq, house: bq.create_dataset("mine", exists_ok=True),
}

SEES = {"get", "list", "dataset"}
SELECTS = {
    "select",
    "select in a script",
    "select by dynamic SQL",
    "select through a join with something open",
    "dry run",
}
JOB = {"nothing but a job"}
VIEWS = SEES | {"rows"}
WRITES = {"insert", "create", "drop", "load", "destination"}

GRANTS: dict[tuple[tuple[str, ...], str], set[str]] = {
    ((), ""): set(),
    ((JOBS,), ""): JOB,
    ((JOBS, SESSIONS), ""): JOB,
    ((), META): SEES,
    ((JOBS, SESSIONS), META): SEES | JOB | {"columns"},
    ((), VIEWER): VIEWS,
    ((SESSIONS,), VIEWER): VIEWS | {"read"},
    ((JOBS,), VIEWER): VIEWS | JOB | SELECTS | {"columns"},
    ((JOBS, SESSIONS), VIEWER): VIEWS | JOB | SELECTS | {"columns", "read"},
    ((), EDITOR): VIEWS,
    ((JOBS,), EDITOR): VIEWS | JOB | SELECTS | WRITES | {"columns"},
    ((JOBS, SESSIONS), OWNER): set(ATTEMPTS) - {"new dataset"},
    (("roles/bigquery.admin",), ""): set(ATTEMPTS),
}
"""(roles on the project, role on the dataset `vault`) -> what works; everything else is refused."""


@pytest.fixture(scope="module")
def accounts(cloud: LocalCloud) -> Iterator[list[str]]:
    """A token for each row of GRANTS; datasets `vault`, whose access is theirs, and `open`, which anybody may read."""
    bq = client(cloud)
    made = [account(cloud, f"bq-matrix-{number}", roles) for number, (roles, _) in enumerate(GRANTS)]
    vault, open_ = bq.create_dataset("vault"), bq.create_dataset("open")
    for name in ("vault", "open"):
        bq.query(f"CREATE TABLE {name}.t AS SELECT 1 AS x").result()
    entry = bigquery.AccessEntry
    vault.access_entries = [
        *vault.access_entries,
        *(entry(role, "userByEmail", email) for (email, _), (_, role) in zip(made, GRANTS, strict=True) if role),
    ]
    bq.update_dataset(vault, ["access_entries"])
    open_.access_entries = [*open_.access_entries, entry("READER", "specialGroup", "allAuthenticatedUsers")]
    bq.update_dataset(open_, ["access_entries"])
    yield [token for _, token in made]
    for name in ("vault", "open", "mine"):
        bq.delete_dataset(name, delete_contents=True, not_found_ok=True)


def allowed(attempt: Attempt, bq: bigquery.Client, house: BigQuery) -> bool:
    """Whether it works; any failure but a refusal is raised."""
    try:
        attempt(bq, house)
    except exceptions.Forbidden:
        return False
    except WarehouseError as error:
        if not error.denied:
            raise
        return False
    return True


@pytest.mark.parametrize("number", range(len(GRANTS)), ids=[" ".join((*on, at)) or "none" for on, at in GRANTS])
def test_roles_allow_what_they_hold_and_nothing_else(cloud: LocalCloud, accounts: list[str], number: int) -> None:
    bq, house = client(cloud, accounts[number]), warehouse(cloud, accounts[number])
    worked = {name for name, attempt in ATTEMPTS.items() if allowed(attempt, bq, house)}
    assert worked == list(GRANTS.values())[number]


def test_a_refusal_names_what_is_missing(cloud: LocalCloud, accounts: list[str]) -> None:
    nobody, jobs = client(cloud, accounts[0]), client(cloud, accounts[1])
    with pytest.raises(exceptions.Forbidden, match=r"bigquery\.jobs\.create permission in project demo-project") as one:
        nobody.query("SELECT 1")
    assert one.value.errors[0]["reason"] == "accessDenied"
    with pytest.raises(exceptions.Forbidden, match=r"permission to query table demo-project:vault\.t"):
        jobs.query("SELECT * FROM vault.t").result()
    with pytest.raises(exceptions.Forbidden, match=r"bigquery\.datasets\.get denied on dataset demo-project:vault"):
        nobody.get_dataset("vault")
    with pytest.raises(exceptions.Forbidden, match="demo-project:absent"):
        nobody.get_dataset("absent")


def test_nobody_reads_the_results_of_another(cloud: LocalCloud, accounts: list[str]) -> None:
    bq, other = client(cloud), client(cloud, accounts[8])
    job = bq.query("SELECT 42 AS secret")
    rows = job.result()
    with pytest.raises(exceptions.Forbidden):
        other.get_job(job.job_id)
    with pytest.raises(exceptions.Forbidden):
        list(other.list_rows(job.destination, [bigquery.SchemaField("secret", "INTEGER")]))
    place = job.destination
    session = types.ReadSession(
        table=f"projects/{place.project}/datasets/{place.dataset_id}/tables/{place.table_id}", data_format="ARROW"
    )
    metadata = [("authorization", f"Bearer {accounts[8]}")]
    with pytest.raises(exceptions.PermissionDenied):
        reader(cloud).create_read_session(parent=f"projects/{PROJECT}", read_session=session, metadata=metadata)
    assert next(iter(rows)).secret == 42


def test_a_grant_on_a_table_opens_that_table_alone(cloud: LocalCloud, accounts: list[str]) -> None:
    bq, jobs = client(cloud), client(cloud, accounts[1])
    bq.query("CREATE OR REPLACE TABLE vault.other AS SELECT 1 AS x").result()
    email = f"bq-matrix-1@{PROJECT}.iam.gserviceaccount.com"
    policy = bq.get_iam_policy(f"{PROJECT}.vault.t")
    policy.bindings = [{"role": VIEWER, "members": {f"serviceAccount:{email}"}}]
    policy = bq.set_iam_policy(f"{PROJECT}.vault.t", policy)
    assert len(list(jobs.query("SELECT * FROM vault.t").result())) >= 1
    with pytest.raises(exceptions.Forbidden):
        jobs.query("SELECT * FROM vault.other").result()
    policy.bindings = []
    bq.set_iam_policy(f"{PROJECT}.vault.t", policy)


def test_a_grant_ends_with_the_dataset(cloud: LocalCloud, accounts: list[str]) -> None:
    bq, viewer = client(cloud), client(cloud, accounts[5])
    made = bq.create_dataset("brief")
    email = f"bq-matrix-5@{PROJECT}.iam.gserviceaccount.com"
    made.access_entries = [*made.access_entries, bigquery.AccessEntry("READER", "userByEmail", email)]
    bq.update_dataset(made, ["access_entries"])
    assert viewer.get_dataset("brief").dataset_id == "brief"
    bq.delete_dataset("brief")
    bq.create_dataset("brief")
    with pytest.raises(exceptions.Forbidden):
        viewer.get_dataset("brief")
    bq.delete_dataset("brief")


def test_a_caller_without_a_token_is_refused_where_the_settings_say_so(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    config = {
        "projects": [{"project_id": PROJECT, "services_enabled": "all"}],
        "anonymous": "deny",
        "ports": dict.fromkeys(("control", "bigquery", "bigquerystorage"), 0),
    }
    with local_cloud(tmp_path_factory.mktemp("deny") / "state", config) as strict:
        url = f"{strict.url('bigquery')}/bigquery/v2/projects/{PROJECT}/datasets"
        assert httpx.get(url).json()["error"]["errors"][0]["reason"] == "authError"
        with pytest.raises(exceptions.Unauthenticated):
            reader(strict).create_read_session(parent=f"projects/{PROJECT}", read_session=types.ReadSession())
