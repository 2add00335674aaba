"""Clients of the local cloud's BigQuery, and accounts with roles."""

import io
from collections.abc import Mapping
from typing import Any

import grpc
import httpx
import pyarrow as pa
import pyarrow.parquet as pq
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
from google.oauth2.credentials import Credentials

from localcloud.testing import LocalCloud
from workloads.feature_pipeline.warehouse import BigQuery, connect

PROJECT = "demo-project"
OWNER = "local-deployer"


def client(cloud: LocalCloud, token: str | None = OWNER, project: str = PROJECT) -> bigquery.Client:
    credentials = Credentials(token=token) if token else AnonymousCredentials()
    options = {"api_endpoint": cloud.url("bigquery")}
    return bigquery.Client(project=project, credentials=credentials, client_options=options)


def address(cloud: LocalCloud) -> str:
    return f"127.0.0.1:{cloud.ports['bigquerystorage']}"


def warehouse(cloud: LocalCloud, token: str | None = OWNER) -> BigQuery:
    """The feature pipeline's own client."""
    return connect(PROJECT, rest=cloud.url("bigquery"), grpc_address=address(cloud), token=lambda: token)


def reader(cloud: LocalCloud) -> BigQueryReadClient:
    """Google's client over a channel without TLS; it sends no identity."""
    options = [("grpc.max_receive_message_length", -1)]
    return BigQueryReadClient(
        transport=BigQueryReadGrpcTransport(channel=grpc.insecure_channel(address(cloud), options=options))
    )


def account(cloud: LocalCloud, name: str, roles: tuple[str, ...] = ()) -> tuple[str, str]:
    """A service account with roles on the project; (email, token)."""
    headers = {"authorization": f"Bearer {OWNER}"}
    made = httpx.post(
        f"{cloud.url('iam')}/v1/projects/{PROJECT}/serviceAccounts", json={"accountId": name}, headers=headers
    )
    made.raise_for_status()
    email = str(made.json()["email"])
    base = f"{cloud.url('resourcemanager')}/v1/projects/{PROJECT}"
    policy = httpx.post(f"{base}:getIamPolicy", json={}, headers=headers).json()
    bindings = [*policy["bindings"], *({"role": role, "members": [f"serviceAccount:{email}"]} for role in roles)]
    body = {"policy": {**policy, "bindings": bindings}}
    httpx.post(f"{base}:setIamPolicy", json=body, headers=headers).raise_for_status()
    return email, cloud.token(f"serviceAccount:{email}")


def rest(cloud: LocalCloud, method: str, path: str, token: str = OWNER, **options: Any) -> httpx.Response:
    headers: Mapping[str, str] = {"authorization": f"Bearer {token}"}
    url = f"{cloud.url('bigquery')}/bigquery/v2/projects/{PROJECT}/{path}"
    return httpx.request(method, url, headers=headers, timeout=60, **options)


def parquet(**columns: list[Any]) -> io.BytesIO:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    buffer.seek(0)
    return buffer
