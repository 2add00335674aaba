"""BigQuery's clients, asked as the extraction needs it: what is sent, and what their errors mean."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pyarrow as pa
import pytest
from google.api_core import exceptions
from google.auth.exceptions import TransportError
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient

from workloads.feature_pipeline.warehouse import BigQuery, WarehouseError, _AddToken

AT = datetime(2026, 1, 1, tzinfo=UTC)
TABLE = pa.table({"k": pa.array([1, 2, 3]), "v": pa.array([0.5, None, 1.5])})


class Client:
    """google.cloud.bigquery.Client as far as it is used."""

    def __init__(self, rows: list[dict[str, Any]] | Exception, **properties: str) -> None:
        self.rows, self.properties, self.asked = rows, properties, list[str]()

    def query(self, sql: str) -> Any:
        self.asked.append(sql)
        if isinstance(self.rows, Exception):
            raise self.rows
        return SimpleNamespace(result=lambda: self.rows)

    def get_dataset(self, name: str) -> Any:
        return SimpleNamespace(_properties=self.properties)


class Reader:
    """BigQueryReadClient as far as it is used."""

    def __init__(self, batches: list[pa.RecordBatch], failure: Exception | None = None) -> None:
        self.batches, self.failure, self.asked = batches, failure, list[Any]()

    def create_read_session(self, **asked: Any) -> Any:
        self.asked.append(asked)
        if self.failure:
            raise self.failure
        schema = SimpleNamespace(serialized_schema=TABLE.schema.serialize().to_pybytes())
        streams = [SimpleNamespace(name="s")] if self.batches else []
        return SimpleNamespace(arrow_schema=schema, streams=streams)

    def read_rows(self, stream: str) -> Any:
        pages = [SimpleNamespace(to_arrow=lambda batch=batch: batch) for batch in self.batches]
        return SimpleNamespace(rows=lambda session: SimpleNamespace(pages=pages))


def warehouse(client: Client | None = None, reader: Reader | None = None) -> BigQuery:
    return BigQuery("p", cast(bigquery.Client, client or Client([])), cast(BigQueryReadClient, reader or Reader([])))


def test_a_table_is_read_whole_at_the_snapshots_time_in_one_stream() -> None:
    reader = Reader(TABLE.to_batches(max_chunksize=2))
    assert warehouse(reader=reader).read("q.d", "t", AT).equals(TABLE)
    asked = reader.asked[0]
    assert (asked["parent"], asked["max_stream_count"]) == ("projects/p", 1)
    assert asked["read_session"].table == "projects/q/datasets/d/tables/t"
    assert asked["read_session"].table_modifiers.snapshot_time == AT


def test_a_table_without_rows_has_its_columns() -> None:
    assert warehouse().read("d", "t", AT).equals(TABLE.slice(0, 0))


def test_columns_come_by_table_in_their_order() -> None:
    rows = [{"table_name": "t", "column_name": name, "data_type": "INT64"} for name in ("b", "a")]
    client = Client(rows)
    assert list(warehouse(client).columns("p.d")["t"]) == ["b", "a"]
    assert "`p.d`.INFORMATION_SCHEMA.COLUMNS" in client.asked[0]
    assert "BASE TABLE" in client.asked[0]


@pytest.mark.parametrize(("properties", "hours"), [({}, 168), ({"maxTimeTravelHours": "48"}, 48)])
def test_how_far_back_a_dataset_can_be_read(properties: dict[str, str], hours: int) -> None:
    assert warehouse(Client([], **properties)).time_travel_hours("p.d") == hours


@pytest.mark.parametrize(
    ("error", "denied", "gone"),
    [
        (exceptions.NotFound("no such table"), False, True),
        (exceptions.Forbidden("no bigquery.tables.getData"), True, False),
        (exceptions.Unauthenticated("who are you"), True, False),
        (exceptions.ServiceUnavailable("later"), False, False),
        (exceptions.RetryError("gave up", cause=None), False, False),
        (TransportError("no token"), False, False),
        (grpc.RpcError(), False, False),
    ],
)
def test_every_error_of_the_clients_names_the_table_and_its_kind(error: Exception, denied: bool, gone: bool) -> None:
    with pytest.raises(WarehouseError, match=r"table p\.d\.t") as caught:
        warehouse(reader=Reader([], error)).read("p.d", "t", AT)
    assert (caught.value.denied, caught.value.gone) == (denied, gone)


def test_a_token_goes_with_every_call_and_no_token_with_none() -> None:
    details = SimpleNamespace(metadata=[("a", "b")], _replace=lambda metadata: SimpleNamespace(metadata=metadata))
    seen: list[Any] = []
    tokens: list[str | None] = ["secret", None]
    interceptor = _AddToken(lambda: tokens.pop(0))
    for _ in range(2):
        interceptor.intercept_unary_stream(lambda told, request: seen.append(told.metadata), details, None)
    assert seen == [[("a", "b"), ("authorization", "Bearer secret")], [("a", "b")]]
