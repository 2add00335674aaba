"""Secret Manager v1: global secrets, by REST and gRPC on one port."""

import base64
from typing import TYPE_CHECKING, Any

import google_crc32c

from localcloud import masks
from localcloud.discovery import Discovery
from localcloud.errors import invalid
from localcloud.grpc_front import Rpc, TwoWay, front, with_grpc
from localcloud.iam.routes import policy_routes
from localcloud.list_filter import matching
from localcloud.schema import camel
from localcloud.secrets.vault import Vault
from localcloud.shell import Api, App, Call

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

API = Api("secretmanager", Discovery("secretmanager", "v1"))
_SECRETS = "secretmanager.projects.secrets"
_VERSIONS = f"{_SECRETS}.versions"
_MUTABLE = frozenset(
    {
        "labels",
        "annotations",
        "ttl",
        "expireTime",
        "topics",
        "rotation",
        "versionAliases",
        "versionDestroyTtl",
        "tags",
        "replication",
    }
)


def vault(call: Call) -> Vault:
    found: Vault = call.cloud.parts["secrets"]
    return found


def _allow(call: Call, permission: str) -> str:
    """The resource's name, once the caller may do this to it."""
    name = call.params.get("name") or call.params["parent"]
    vault(call).require(call.principal, f"secretmanager.{permission}", name)
    return name


@API.method(f"{_SECRETS}.create", permission="secretmanager.secrets.create")
async def create(call: Call) -> dict[str, Any]:
    return vault(call).create(call.params["parent"].split("/")[1], call.query.get("secretId", ""), call.body)


@API.method(f"{_SECRETS}.get")
async def get(call: Call) -> dict[str, Any]:
    return vault(call).get(_allow(call, "secrets.get"))


@API.method(f"{_SECRETS}.list", permission="secretmanager.secrets.list")
async def list_secrets(call: Call) -> dict[str, Any]:
    return _page(call, "secrets", vault(call).secrets(call.params["parent"].split("/")[1]))


@API.method(f"{_SECRETS}.patch")
async def patch(call: Call) -> dict[str, Any]:
    name = _allow(call, "secrets.update")
    mask = call.query.get("updateMask", "")
    if not mask:
        raise invalid("The update mask must be set.", "update_mask")
    current = vault(call).get(name)
    changed = masks.update(current, call.body, mask)
    if "ttl" in changed:
        changed.pop("expireTime", None)
    names = {camel(path.strip().partition(".")[0]) for path in mask.split(",")}
    if unknown := sorted(names - _MUTABLE):
        raise invalid(f"The update mask names a field that cannot be changed: {unknown[0]}.", "update_mask")
    return vault(call).update(name, changed, call.body.get("etag", ""))


@API.method(f"{_SECRETS}.delete")
async def delete(call: Call) -> dict[str, Any]:
    vault(call).delete(_allow(call, "secrets.delete"), call.query.get("etag", ""))
    return {}


@API.method(f"{_SECRETS}.addVersion")
async def add_version(call: Call) -> dict[str, Any]:
    return vault(call).add(_allow(call, "versions.add"), call.body.get("payload", {}))


@API.method(f"{_VERSIONS}.get")
async def get_version(call: Call) -> dict[str, Any]:
    return vault(call).version(_allow(call, "versions.get"))


@API.method(f"{_VERSIONS}.list")
async def list_versions(call: Call) -> dict[str, Any]:
    return _page(call, "versions", vault(call).versions(_allow(call, "versions.list")))


@API.method(f"{_VERSIONS}.access")
async def access_version(call: Call) -> dict[str, Any]:
    version, data = vault(call).read(_allow(call, "versions.access"))
    payload = {"data": base64.b64encode(data).decode(), "dataCrc32c": str(google_crc32c.value(data))}
    return {"name": version["name"], "payload": payload}


@API.method(f"{_VERSIONS}.enable")
async def enable_version(call: Call) -> dict[str, Any]:
    return vault(call).set_state(_allow(call, "versions.enable"), "ENABLED", call.body.get("etag", ""))


@API.method(f"{_VERSIONS}.disable")
async def disable_version(call: Call) -> dict[str, Any]:
    return vault(call).set_state(_allow(call, "versions.disable"), "DISABLED", call.body.get("etag", ""))


@API.method(f"{_VERSIONS}.destroy")
async def destroy_version(call: Call) -> dict[str, Any]:
    return vault(call).set_state(_allow(call, "versions.destroy"), "DESTROYED", call.body.get("etag", ""))


def _page(call: Call, key: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    found = matching(items, call.query.get("filter", ""))
    page, token = call.page(found, default=25_000, maximum=25_000)
    return {key: page, "totalSize": len(found)} | ({"nextPageToken": token} if token else {})


policy_routes(API, _SECRETS, "secretmanager.secrets", exists=lambda call: _exists(call))


def _exists(call: Call) -> None:
    vault(call).get(call.params["resource"])


SERVICE = "google.cloud.secretmanager.v1.SecretManagerService"
_NAME = "/v1/{name}"


def rpcs() -> dict[str, Rpc]:
    """The gRPC methods, each as the REST call it stands for."""
    from google.cloud.secretmanager_v1.types import resources, service
    from google.iam.v1 import iam_policy_pb2, policy_pb2
    from google.protobuf import empty_pb2

    secret, version = resources.Secret.pb(), resources.SecretVersion.pb()

    def rpc(request: Any, answer: Any, verb: str, path: str, body: str = "") -> Rpc:
        return Rpc(request.pb() if hasattr(request, "pb") else request, answer, verb, path, body)

    return {
        "ListSecrets": rpc(service.ListSecretsRequest, service.ListSecretsResponse.pb(), "GET", "/v1/{parent}/secrets"),
        "CreateSecret": rpc(service.CreateSecretRequest, secret, "POST", "/v1/{parent}/secrets", "secret"),
        "GetSecret": rpc(service.GetSecretRequest, secret, "GET", _NAME),
        "UpdateSecret": rpc(service.UpdateSecretRequest, secret, "PATCH", "/v1/{secret.name}", "secret"),
        "DeleteSecret": rpc(service.DeleteSecretRequest, empty_pb2.Empty, "DELETE", _NAME),
        "AddSecretVersion": rpc(service.AddSecretVersionRequest, version, "POST", "/v1/{parent}:addVersion", "*"),
        "ListSecretVersions": rpc(
            service.ListSecretVersionsRequest, service.ListSecretVersionsResponse.pb(), "GET", "/v1/{parent}/versions"
        ),
        "GetSecretVersion": rpc(service.GetSecretVersionRequest, version, "GET", _NAME),
        "AccessSecretVersion": rpc(
            service.AccessSecretVersionRequest, service.AccessSecretVersionResponse.pb(), "GET", f"{_NAME}:access"
        ),
        "EnableSecretVersion": rpc(service.EnableSecretVersionRequest, version, "POST", f"{_NAME}:enable", "*"),
        "DisableSecretVersion": rpc(service.DisableSecretVersionRequest, version, "POST", f"{_NAME}:disable", "*"),
        "DestroySecretVersion": rpc(service.DestroySecretVersionRequest, version, "POST", f"{_NAME}:destroy", "*"),
        "GetIamPolicy": rpc(
            iam_policy_pb2.GetIamPolicyRequest, policy_pb2.Policy, "GET", "/v1/{resource}:getIamPolicy"
        ),
        "SetIamPolicy": rpc(
            iam_policy_pb2.SetIamPolicyRequest, policy_pb2.Policy, "POST", "/v1/{resource}:setIamPolicy", "*"
        ),
        "TestIamPermissions": rpc(
            iam_policy_pb2.TestIamPermissionsRequest, iam_policy_pb2.TestIamPermissionsResponse, "POST",
            "/v1/{resource}:testIamPermissions", "*",
        ),
    }  # fmt: skip


def app(cloud: "Cloud") -> TwoWay:
    cloud.parts["secrets"] = Vault(cloud)
    return with_grpc(App(cloud, [API]), SERVICE, rpcs())


listener = front
