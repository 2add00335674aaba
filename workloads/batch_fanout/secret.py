"""One secret, fetched over REST when it is needed."""

import base64
import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING

from workloads.batch_fanout.failure import BadRequest
from workloads.common.gcs_http import Http
from workloads.common.storage import Deadline, StorageError
from workloads.common.tokens import Tokens

if TYPE_CHECKING:
    import urllib3

GOOGLE = "https://secretmanager.googleapis.com"


def read_secret(
    tokens: "Callable[[urllib3.PoolManager], Tokens]", project: str, secret: str, *, endpoint: str | None = None
) -> bytes:
    """The latest version's payload without white space around it; it is in no error and no log.

    Source: https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access (2026-11).

    Raises BadRequest: no project is named, or the payload is empty or no Base64. Raises StorageError: it cannot be read.
    """
    if not project:
        raise BadRequest(f"GCLOUD_PROJECT_ID: must name the project of the secret {secret}, is empty")
    name = f"projects/{project}/secrets/{secret}/versions/latest"
    http = Http(tokens, base=endpoint or GOOGLE, connections=1, deadline=Deadline(60))
    answer = http.call(name, lambda: http.send("GET", name, f"/v1/{name}:access", {}))
    try:
        payload = base64.b64decode(answer.json()["payload"]["data"], validate=True).strip()
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise StorageError(name, "the answer holds no payload") from None  # the cause would show a part of it
    if not payload:
        raise BadRequest(f"{name}: is empty")
    return payload
