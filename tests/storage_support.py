"""What the storage tests share: clients as users make them, and raw calls where a client would hide the answer."""

import itertools
import os
from typing import Any

import httpx
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.oauth2.credentials import Credentials

from localcloud.testing import LocalCloud

PROJECT = "demo-project"
MIB = 1 << 20
QUANTUM = 256 * 1024
_names = itertools.count()
web = httpx.Client(timeout=60, verify=False, limits=httpx.Limits(max_keepalive_connections=0))  # noqa: S501 - plain http; a context costs 30 ms


def client(cloud: LocalCloud, token: str | None = None) -> storage.Client:
    """Google's client, pointed by its documented option only. Without a token the caller is the owner."""
    credentials = Credentials(token=token) if token else AnonymousCredentials()
    return storage.Client(PROJECT, credentials=credentials, client_options={"api_endpoint": cloud.url("storage")})


def new_bucket(cloud: LocalCloud, **fields: Any) -> str:
    """A bucket with uniform access of its own for a test."""
    name = f"bucket-{os.getpid()}-{next(_names)}"
    body = {"name": name, "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}}, **fields}
    call(cloud, "POST", "/storage/v1/b", params={"project": PROJECT}, json=body)
    return name


def call(cloud: LocalCloud, method: str, path: str, status: int | None = None, **options: Any) -> httpx.Response:
    """One HTTP call; `status` is the one expected, by default any 2xx. `token` goes into the header."""
    token = options.pop("token", None)
    if token:
        options["headers"] = {**options.get("headers", {}), "authorization": f"Bearer {token}"}
    answer = web.request(method, cloud.url("storage") + path, **options)
    if status is None:
        assert answer.is_success, answer.text
    else:
        assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
    return answer


def put(cloud: LocalCloud, bucket: str, name: str, data: bytes = b"x", **options: Any) -> httpx.Response:
    """A simple upload."""
    params = {"uploadType": "media", "name": name, **options.pop("params", {})}
    return call(cloud, "POST", f"/upload/storage/v1/b/{bucket}/o", params=params, content=data, **options)


def reason(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["errors"][0]["reason"])


def account(cloud: LocalCloud, name: str) -> tuple[str, str]:
    """A service account's member and a token of it."""
    body = {"accountId": name, "serviceAccount": {}}
    web.post(f"{cloud.url('iam')}/v1/projects/{PROJECT}/serviceAccounts", json=body).raise_for_status()
    member = f"serviceAccount:{name}@{PROJECT}.iam.gserviceaccount.com"
    return member, cloud.token(member)


def grant(cloud: LocalCloud, bucket: str, role: str, member: str, expression: str = "") -> None:
    """Adds one binding, as the provider does: read, change, write with the etag."""
    policy = call(cloud, "GET", f"/storage/v1/b/{bucket}/iam", params={"optionsRequestedPolicyVersion": 3}).json()
    binding: dict[str, Any] = {"role": role, "members": [member]}
    if expression:
        binding["condition"] = {"title": "t", "expression": expression}
    policy["bindings"] = [*policy.get("bindings", []), binding]
    call(cloud, "PUT", f"/storage/v1/b/{bucket}/iam", json={**policy, "version": 3})
