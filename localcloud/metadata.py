"""The GCE metadata server: the identity of a task, or of the operator's tools, as an address.

Google's client libraries find it by GCE_METADATA_HOST and take their tokens from it.
https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys and
https://cloud.google.com/run/docs/container-contract#metadata-server (2026-08).
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from starlette.responses import Response

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
PREFIX = "/computeMetadata/v1/"
_HEADERS = {"Metadata-Flavor": "Google", "Server": "Metadata Server for Serverless"}

Query = dict[str, str]
Leaf = Callable[[Query], str | Response]
Tree = dict[str, "Tree | Leaf | str"]


@dataclass(frozen=True, kw_only=True)
class Instance:
    """Who and where the asker is."""

    member: str
    """Whose tokens are given: serviceAccount:EMAIL or user:EMAIL."""
    project: str
    number: str
    region: str
    instance_id: str
    token_ttl_s: int = 3599

    @property
    def email(self) -> str:
        return self.member.partition(":")[2]


class MetadataServer:
    """ASGI application for one instance."""

    def __init__(self, cloud: "Cloud", instance: Instance):
        self._cloud, self._instance = cloud, instance
        self._tree = self._build()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            response = self._respond(scope)
            response.headers.update(_HEADERS)
            await response(scope, receive, send)

    def _respond(self, scope: Any) -> Response:
        headers = {name.lower(): value for name, value in scope["headers"]}
        path, query = scope["path"], dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        if path == "/":
            return _text("computeMetadata/\n")
        if scope["method"] != "GET":
            return _text("Method not allowed", 405)
        if headers.get(b"metadata-flavor") != b"Google":
            return _text('Missing required header "Metadata-Flavor": "Google"', 403)
        if b"x-forwarded-for" in headers:
            return _text("Requests with X-Forwarded-For are not served", 403)
        if not (path + "/").startswith(PREFIX):
            return _text(f"{path} not found", 404)
        return self._find(path, query)

    def _find(self, path: str, query: Query) -> Response:
        node: Tree | Leaf | str = self._tree
        for part in [part for part in path.removeprefix(PREFIX).split("/") if part]:
            if not isinstance(node, dict) or part not in node:
                return _text(f"{path} not found", 404)
            node = node[part]
        if isinstance(node, dict):
            if query.get("recursive", "").lower() == "true":
                return _json(_recursive(node))
            if not path.endswith("/"):
                return Response(status_code=301, headers={"Location": f"{path}/"})
            return _text(
                "".join(f"{name}/\n" if isinstance(child, dict) else f"{name}\n" for name, child in node.items())
            )
        answer = node(query) if callable(node) else node
        if isinstance(answer, Response):
            return answer
        return _json(answer) if query.get("alt") == "json" else _text(answer)

    def _build(self) -> Tree:
        me = self._instance
        account: Tree = {
            "aliases": "default",
            "email": me.email,
            "identity": self._identity,
            "scopes": "\n".join(SCOPES) + "\n",
            "token": self._token,
        }
        return {
            "instance": {
                "id": me.instance_id,
                "region": f"projects/{me.number}/regions/{me.region}",
                "service-accounts": {"default": account, me.email: account},
                "zone": f"projects/{me.number}/zones/{me.region}-1",
            },
            "project": {"numeric-project-id": me.number, "project-id": me.project},
            "universe": {"universe-domain": "googleapis.com", "universe_domain": "googleapis.com"},
        }

    def _gone(self) -> Response | None:
        """Answer for an account that was deleted under a running task."""
        me = self._instance
        if me.member.startswith("serviceAccount:") and self._cloud.iam.accounts.get(me.email) is None:
            return _text(f"Service account {me.email} does not exist", 404)
        return None

    def _token(self, query: Query) -> Response:
        if gone := self._gone():
            return gone
        ttl = self._instance.token_ttl_s
        token = self._cloud.tokens.mint(self._instance.member, ttl)
        return _json({"access_token": token, "expires_in": ttl, "token_type": "Bearer"})

    def _identity(self, query: Query) -> Response:
        if not query.get("audience"):
            return _text("non-empty audience parameter required", 400)
        if gone := self._gone():
            return gone
        record = self._cloud.iam.accounts.get(self._instance.email)
        if record is None:
            return _text("only service accounts have identity tokens", 404)
        return _text(self._cloud.id_tokens.mint(record["account"], query["audience"]))


def _recursive(tree: Tree) -> dict[str, Any]:
    """Return a directory as JSON: names in camelCase, without what needs a query."""
    made: dict[str, Any] = {}
    for name, child in tree.items():
        key = name if "@" in name else _camel(name)
        if isinstance(child, dict):
            made[key] = _recursive(child)
        elif isinstance(child, str):
            made[key] = child.split() if name in ("aliases", "scopes") else child
    return made


def _camel(name: str) -> str:
    head, *rest = name.split("-")
    return head + "".join(part.capitalize() for part in rest)


def _text(text: str, status: int = 200) -> Response:
    return Response(text, status_code=status, media_type="application/text")


def _json(value: Any) -> Response:
    return Response(json.dumps(value), media_type="application/json")


def new_instance_id() -> str:
    """Return an id as Cloud Run's instances have it."""
    return hashlib.sha256(str(time.time_ns()).encode()).hexdigest()


def app(cloud: "Cloud") -> MetadataServer:
    """The operator's metadata server, for tools on this machine."""
    project = cloud.projects.list()[0]
    return MetadataServer(
        cloud,
        Instance(
            member=cloud.settings.operator,
            project=project["projectId"],
            number=project["projectNumber"],
            region=cloud.settings.region,
            instance_id=new_instance_id(),
        ),
    )
