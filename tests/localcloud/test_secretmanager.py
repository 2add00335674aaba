"""Secret Manager by Google's own client, over REST and over gRPC."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import grpc
import httpx
import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import secretmanager_v1 as secretmanager
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
    SecretManagerServiceGrpcTransport,
)
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.oauth2.credentials import Credentials
from google.protobuf import duration_pb2, field_mask_pb2

from localcloud.testing import LocalCloud, local_cloud

PROJECT, NUMBER = "demo-project", "123456789012"
PARENT = f"projects/{PROJECT}"
AUTOMATIC: dict[str, Any] = {"replication": {"automatic": {}}}
READER = "user:reader@example.com"


def rest(cloud: LocalCloud, member: str = "") -> Any:
    credentials: Any = Credentials(token=cloud.token(member)) if member else AnonymousCredentials()
    return secretmanager.SecretManagerServiceClient(
        credentials=credentials, transport="rest", client_options={"api_endpoint": cloud.url("secretmanager")}
    )


def by_grpc(cloud: LocalCloud) -> Any:
    channel = grpc.insecure_channel(cloud.url("secretmanager").removeprefix("http://"))
    return secretmanager.SecretManagerServiceClient(transport=SecretManagerServiceGrpcTransport(channel=channel))


@pytest.fixture(scope="module", params=[rest, by_grpc], ids=["rest", "grpc"])
def client(request: pytest.FixtureRequest, cloud: LocalCloud) -> Any:
    made: Any = request.param(cloud)
    return made


@pytest.fixture
def secret(client: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"s{abs(hash(request.node.nodeid))}"
    client.create_secret(parent=PARENT, secret_id=name, secret=AUTOMATIC | {"labels": {"of": "tests"}})
    yield f"{PARENT}/secrets/{name}"
    try:
        client.delete_secret(name=f"{PARENT}/secrets/{name}")
    except exceptions.NotFound:
        return


def test_a_secret_is_created_read_listed_changed_and_deleted(client: Any, secret: str) -> None:
    held = client.get_secret(name=secret)
    assert held.name == secret.replace(PROJECT, NUMBER)
    assert dict(held.labels) == {"of": "tests"}
    assert "automatic" in held.replication
    assert held.etag
    assert held.name in [item.name for item in client.list_secrets(parent=PARENT)]
    assert [item.name for item in client.list_secrets({"parent": PARENT, "filter": f"name:{secret[-8:]}"})] == [
        held.name
    ]
    held.labels = {"of": "nobody"}
    changed = client.update_secret(secret=held, update_mask=field_mask_pb2.FieldMask(paths=["labels"]))
    assert dict(changed.labels) == {"of": "nobody"}
    with pytest.raises(exceptions.Conflict):
        client.delete_secret({"name": secret, "etag": held.etag})  # changed meanwhile
    client.delete_secret(name=secret)
    with pytest.raises(exceptions.NotFound):
        client.get_secret(name=secret)


def test_refusals_name_what_is_wrong(client: Any, secret: str) -> None:
    with pytest.raises(exceptions.Conflict):
        client.create_secret(parent=PARENT, secret_id=secret.rpartition("/")[2], secret=AUTOMATIC)
    with pytest.raises(exceptions.BadRequest, match="replication"):
        client.create_secret(parent=PARENT, secret_id="bare", secret={})
    with pytest.raises(exceptions.BadRequest, match="Secret ID"):
        client.create_secret(parent=PARENT, secret_id="not.an.id", secret=AUTOMATIC)
    with pytest.raises(exceptions.BadRequest, match="empty"):
        client.add_secret_version(parent=secret, payload={"data": b""})
    with pytest.raises(exceptions.BadRequest, match="65536"):
        client.add_secret_version(parent=secret, payload={"data": bytes(65537)})
    with pytest.raises(exceptions.NotFound):
        client.access_secret_version(name=f"{secret}/versions/latest")


def test_versions_are_numbered_and_latest_is_the_last_whatever_its_state(client: Any, secret: str) -> None:
    for data in (b"one", b"two\x00\xff"):
        client.add_secret_version(parent=secret, payload={"data": data})
    answer = client.access_secret_version(name=f"{secret}/versions/latest")
    assert answer.payload.data == b"two\x00\xff"
    assert answer.payload.data_crc32c == google_crc32c.value(b"two\x00\xff")
    assert answer.name.endswith("/versions/2")
    assert [item.name.rpartition("/")[2] for item in client.list_secret_versions(parent=secret)] == ["2", "1"]
    client.disable_secret_version(name=f"{secret}/versions/2")
    with pytest.raises(exceptions.BadRequest, match="DISABLED") as caught:
        client.access_secret_version(name=f"{secret}/versions/latest")
    assert "two" not in str(caught.value)
    client.enable_secret_version(name=f"{secret}/versions/2")
    gone = client.destroy_secret_version(name=f"{secret}/versions/2")
    assert gone.state == secretmanager.SecretVersion.State.DESTROYED
    assert gone.destroy_time
    for again in (client.enable_secret_version, client.access_secret_version):
        with pytest.raises(exceptions.BadRequest, match="DESTROYED"):
            again(name=f"{secret}/versions/2")
    assert client.access_secret_version(name=f"{secret}/versions/1").payload.data == b"one"


def test_an_alias_names_a_version(client: Any, secret: str) -> None:
    client.add_secret_version(parent=secret, payload={"data": b"one"})
    changed = secretmanager.Secret(name=secret, version_aliases={"live": 1})
    client.update_secret(secret=changed, update_mask={"paths": ["version_aliases"]})
    assert client.access_secret_version(name=f"{secret}/versions/live").payload.data == b"one"


def test_a_payload_whose_checksum_is_wrong_is_refused(client: Any, secret: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="checksum") as caught:
        client.add_secret_version(parent=secret, payload={"data": b"hush-hush", "data_crc32c": 1})
    assert "hush-hush" not in str(caught.value)
    good = {"data": b"hush-hush", "data_crc32c": google_crc32c.value(b"hush-hush")}
    assert client.add_secret_version(parent=secret, payload=good).client_specified_payload_checksum


def test_access_takes_the_accessor_role_and_obeys_its_condition(cloud: LocalCloud, secret: str) -> None:
    owner, reader = rest(cloud), rest(cloud, READER)
    for data in (b"one", b"two"):
        owner.add_secret_version(parent=secret, payload={"data": data})
    with pytest.raises(exceptions.Forbidden, match=r"secretmanager\.versions\.access") as caught:
        reader.access_secret_version(name=f"{secret}/versions/1")
    assert "one" not in str(caught.value)
    numbered = secret.replace(PROJECT, NUMBER)
    condition = {"title": "first only", "expression": f'resource.name == "{numbered}/versions/1"'}
    policy = owner.get_iam_policy(iam_policy_pb2.GetIamPolicyRequest(resource=secret))
    binding = {"role": "roles/secretmanager.secretAccessor", "members": [READER], "condition": condition}
    wanted = policy_pb2.Policy(version=3, etag=policy.etag, bindings=[binding])
    owner.set_iam_policy(iam_policy_pb2.SetIamPolicyRequest(resource=secret, policy=wanted))
    assert reader.access_secret_version(name=f"{secret}/versions/1").payload.data == b"one"
    for refused in (reader.access_secret_version, reader.get_secret_version):
        with pytest.raises(exceptions.Forbidden):
            refused(name=f"{secret}/versions/2")
    with pytest.raises(exceptions.Forbidden):
        reader.create_secret(parent=PARENT, secret_id="mine", secret=AUTOMATIC)


def test_the_policy_of_a_deleted_secret_is_not_inherited_by_the_next_of_its_name(cloud: LocalCloud) -> None:
    owner, name = rest(cloud), f"{PARENT}/secrets/reborn"
    for _ in range(2):
        owner.create_secret(parent=PARENT, secret_id="reborn", secret=AUTOMATIC)
        owner.add_secret_version(parent=name, payload={"data": b"x"})
        with pytest.raises(exceptions.Forbidden):
            rest(cloud, READER).access_secret_version(name=f"{name}/versions/1")
        binding = {"role": "roles/secretmanager.secretAccessor", "members": [READER]}
        request = iam_policy_pb2.SetIamPolicyRequest(resource=name, policy=policy_pb2.Policy(bindings=[binding]))
        owner.set_iam_policy(request)
        owner.delete_secret(name=name)


def test_versions_and_secrets_outlive_a_crash_and_lie_sealed_on_disk(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with local_cloud(state, {"projects": [{"project_id": PROJECT, "services_enabled": "all"}]}) as cloud:
        client = rest(cloud)
        client.create_secret(parent=PARENT, secret_id="kept", secret=AUTOMATIC)
        client.add_secret_version(parent=f"{PARENT}/secrets/kept", payload={"data": b"needle-in-a-haystack"})
        ttl = duration_pb2.Duration(seconds=60)
        short = client.create_secret(parent=PARENT, secret_id="short", secret=AUTOMATIC | {"ttl": ttl})
        assert short.expire_time
        cloud.kill()
        assert all(b"needle-in-a-haystack" not in file.read_bytes() for file in state.rglob("*") if file.is_file())
        cloud.start()
        held = rest(cloud).access_secret_version(name=f"{PARENT}/secrets/kept/versions/latest")
        assert held.payload.data == b"needle-in-a-haystack"
        cloud.control("PUT", "/clock", {"advance_s": 61})
        with pytest.raises(exceptions.NotFound):
            rest(cloud).get_secret(name=f"{PARENT}/secrets/short")
        status = json.dumps(httpx.get(f"{cloud.url('control')}/status").json())
        assert "needle-in-a-haystack" not in status


def test_one_port_serves_http_1_clients_whose_first_bytes_look_like_http_2(cloud: LocalCloud) -> None:
    answer = httpx.request("PROPFIND", f"{cloud.url('secretmanager')}/v1/projects/{PROJECT}/secrets")
    assert answer.status_code == 404
