"""BigQuery as the extraction needs it: columns of a dataset, and whole tables as Arrow at one moment.

Tables are read with the Storage Read API and nothing else. The REST API pages tables as JSON, which for 120,000 rows
of 17 columns costs 3 s of Python where an Arrow stream costs 0.01 s; so a missing Storage Read API is an error here.
"""

from collections.abc import Callable, MutableMapping
from datetime import datetime
from typing import Any, Protocol, TypeVar

import grpc
import pyarrow as pa
import requests
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

T = TypeVar("T")

DEFAULT_TIME_TRAVEL_HOURS = 168
"""How far back a dataset can be read unless it says otherwise.
Source: https://cloud.google.com/bigquery/docs/time-travel (2026-08)."""


class WarehouseError(Exception):
    """A read failed; `denied` and `gone` say why where it matters."""

    def __init__(self, what: str, *, denied: bool = False, gone: bool = False) -> None:
        super().__init__(what)
        self.denied, self.gone = denied, gone


class Warehouse(Protocol):
    """What the extraction asks of BigQuery."""

    def columns(self, dataset: str) -> dict[str, dict[str, str]]:
        """{table: {column: type}} of all tables of `dataset` (PROJECT.DATASET), views left out."""

    def time_travel_hours(self, dataset: str) -> int:
        """How many hours back `dataset` can be read."""

    def rows(self, dataset: str) -> dict[str, int]:
        """{table: rows it has about now} of `dataset`, for an estimate of what a run will take."""

    def read(self, dataset: str, table: str, at: datetime) -> pa.Table:
        """The whole table as it was at the moment `at`."""


class BigQuery:
    """The real service, or one that speaks like it."""

    def __init__(self, project: str, client: bigquery.Client, reader: BigQueryReadClient):
        self._project, self._client, self._reader = project, client, reader

    def columns(self, dataset: str) -> dict[str, dict[str, str]]:
        # The dataset is a setting of the stack; INFORMATION_SCHEMA takes no parameter in its place.
        sql = (
            "SELECT c.table_name, c.column_name, c.data_type "  # noqa: S608 (see above)
            f"FROM `{dataset}`.INFORMATION_SCHEMA.COLUMNS AS c "
            f"JOIN `{dataset}`.INFORMATION_SCHEMA.TABLES AS t USING (table_name) "
            "WHERE t.table_type = 'BASE TABLE' ORDER BY c.table_name, c.ordinal_position"
        )
        found: dict[str, dict[str, str]] = {}
        for row in _asked(lambda: list(self._client.query(sql).result()), f"the columns of {dataset}"):
            found.setdefault(row["table_name"], {})[row["column_name"]] = row["data_type"]
        return found

    def time_travel_hours(self, dataset: str) -> int:
        found = _asked(lambda: self._client.get_dataset(dataset), f"dataset {dataset}")
        return int(found._properties.get("maxTimeTravelHours") or DEFAULT_TIME_TRAVEL_HOURS)

    def rows(self, dataset: str) -> dict[str, int]:
        sql = f"SELECT table_id, row_count FROM `{dataset}`.__TABLES__"  # noqa: S608 (as above)
        found = _asked(lambda: list(self._client.query(sql).result()), f"the sizes of {dataset}")
        return {row["table_id"]: int(row["row_count"] or 0) for row in found}

    def read(self, dataset: str, table: str, at: datetime) -> pa.Table:
        project, _, name = dataset.rpartition(".")
        session = types.ReadSession(
            table=f"projects/{project or self._project}/datasets/{name}/tables/{table}",
            data_format=types.DataFormat.ARROW,
            table_modifiers=types.ReadSession.TableModifiers(snapshot_time=at),
        )

        def load() -> pa.Table:
            # One stream: a table is small, many are read at once, and its rows come in their order.
            made = self._reader.create_read_session(
                parent=f"projects/{self._project}", read_session=session, max_stream_count=1
            )
            schema = pa.ipc.read_schema(pa.py_buffer(made.arrow_schema.serialized_schema))
            if not made.streams:
                return schema.empty_table()
            pages = self._reader.read_rows(made.streams[0].name).rows(made).pages
            return pa.Table.from_batches([page.to_arrow() for page in pages], schema=schema)

        return _asked(load, f"table {dataset}.{table}")


def _asked(call: Callable[[], T], what: str) -> T:
    try:
        return call()
    except exceptions.NotFound as error:
        raise WarehouseError(f"{what} is not there: {error.message}", gone=True) from error
    except (exceptions.Forbidden, exceptions.Unauthenticated) as error:
        raise WarehouseError(f"{what} may not be read: {error.message}", denied=True) from error
    except exceptions.GoogleAPICallError as error:
        raise WarehouseError(f"{what} cannot be read: {error.message}") from error
    except (exceptions.RetryError, GoogleAuthError, requests.RequestException, grpc.RpcError) as error:
        raise WarehouseError(f"{what} cannot be read: no answer from BigQuery ({type(error).__name__})") from error


def connect(
    project: str, *, rest: str | None = None, grpc_address: str | None = None, token: Callable[[], str | None]
) -> BigQuery:
    """Make the clients. `rest` and `grpc_address` name another service than Google's, as the local cloud's.

    Such a service is reached without TLS, where Google's libraries send no identity of their own; `token` gives it.
    """
    if rest is None or grpc_address is None:
        return BigQuery(project, bigquery.Client(project=project), BigQueryReadClient())
    credentials = _Bearer(token)
    client = bigquery.Client(project=project, credentials=credentials, client_options=ClientOptions(api_endpoint=rest))
    channel = grpc.intercept_channel(
        grpc.insecure_channel(grpc_address, options=[("grpc.max_receive_message_length", -1)]), _AddToken(token)
    )
    return BigQuery(project, client, BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel)))


class _Bearer(Credentials):
    """Google's credentials interface over a function that gives a valid token."""

    def __init__(self, token: Callable[[], str | None]):
        super().__init__()  # type: ignore[no-untyped-call]  # google.auth has no annotations
        self._get = token

    def refresh(self, request: object) -> None:
        self.token = self._get()

    def before_request(self, request: object, method: str, url: str, headers: MutableMapping[str, str]) -> None:
        token = self._get()
        if token:
            headers["authorization"] = f"Bearer {token}"


class _AddToken(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Adds the bearer token to every call."""

    def __init__(self, token: Callable[[], str | None]):
        self._token = token

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(self._with_token(details), request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(self._with_token(details), request)

    def _with_token(self, details: Any) -> Any:
        token = self._token()
        if not token:
            return details
        metadata = [*(details.metadata or ()), ("authorization", f"Bearer {token}")]
        return details._replace(metadata=metadata)
