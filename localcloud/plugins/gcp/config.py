"""The provider's configuration: keys of the stack (`gcp:…`), arguments of `gcp.Provider`, environment variables."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from localcloud.plugins.contract import Failure, PluginError
from localcloud.plugins.gcp.schema import snake
from localcloud.plugins.values import UNKNOWN, Plain

ENDPOINT: Final = re.compile(r".*/[^/]+/$")
KNOWN: Final = frozenset(
    {
        "accessToken",
        "addPulumiAttributionLabel",
        "batching",
        "billingProject",
        "credentials",
        "defaultLabels",
        "defaultRegion",
        "disableGooglePartnerName",
        "externalCredentials",
        "googlePartnerName",
        "impersonateServiceAccount",
        "impersonateServiceAccountDelegates",
        "pollInterval",
        "project",
        "pulumiAttributionLabelAdditionStrategy",
        "region",
        "requestReason",
        "requestTimeout",
        "scopes",
        "skipRegionValidation",
        "universeDomain",
        "userProjectOverride",
        "version",
        "zone",
    }
)
SECRET_KEYS: Final = ("accessToken", "credentials")
ENVIRONMENT: Final[dict[str, tuple[str, ...]]] = {
    "project": ("GOOGLE_PROJECT", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"),
    "region": ("GOOGLE_REGION", "GCLOUD_REGION", "CLOUDSDK_COMPUTE_REGION"),
    "zone": ("GOOGLE_ZONE", "GCLOUD_ZONE", "CLOUDSDK_COMPUTE_ZONE"),
    "accessToken": ("GOOGLE_OAUTH_ACCESS_TOKEN",),
    "billingProject": ("GOOGLE_BILLING_PROJECT",),
    "userProjectOverride": ("USER_PROJECT_OVERRIDE",),
}
# services whose client cuts the last path segment of the endpoint and puts its own version there
CUT: Final = {"resourceManager": "v1/", "iamBeta": "v1/", "serviceUsage": "v1/", "cloudBilling": "v1/"}
# the last path segment belongs to the path of every call
ADDED: Final = {"monitoring": "v3/"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the provider works with. `token` is a secret and never written anywhere."""

    token: str = field(repr=False)
    project: str = ""
    region: str = ""
    default_labels: Mapping[str, str] = field(default_factory=dict)
    mark: bool = True
    poll_interval_s: float | None = None
    request_timeout_s: float = 120.0
    billing_project: str = ""
    endpoints: Mapping[str, str] = field(default_factory=dict)

    def base(self, service: str) -> str:
        """The base URL of a service, ending in a slash. Raises PluginError if none is set: there is no default."""
        url = self.endpoints.get(service)
        if not url:
            name = f"{snake(service)}_custom_endpoint".upper()
            raise PluginError(
                f"no endpoint for {service}: set gcp:{service}CustomEndpoint (or GOOGLE_{name}) to the local cloud's "
                "address; this stand-in never calls the real Google Cloud"
            )
        if service in CUT:
            # a host alone has no segment to cut
            url = re.sub(r"[^/]+/$", "", url) if urlsplit(url).path.strip("/") else url
            return url + CUT[service]
        return url + ADDED.get(service, "")

    def loopback(self, service: str) -> bool:
        """Whether the service is on this machine, where waiting for a cloud to agree with itself is pointless."""
        host = urlsplit(self.endpoints.get(service, "")).hostname or ""
        return host == "localhost" or host == "::1" or host.startswith("127.")


def check(news: Mapping[str, Any]) -> list[Failure]:
    """What is wrong with the configuration, in the provider's words."""
    failures = []
    for key, value in news.items():
        if key.startswith("__") or value is UNKNOWN or value is None:
            continue
        if key.endswith("CustomEndpoint"):
            if not ENDPOINT.match(str(value)):
                problem = f'"{snake(key)}" ("{value}") doesn\'t match regexp {json.dumps(ENDPOINT.pattern)}'
                failures.append(Failure(reason=f"could not validate provider configuration: {problem}"))
        elif key not in KNOWN:
            problem = f"Invalid or unknown key. Check `pulumi config get gcp:{key}`."
            failures.append(Failure(reason=f"could not validate provider configuration: {problem}"))
    return failures


def read(args: Plain, environment: Mapping[str, str]) -> Settings:
    """Settings from configuration, else from the environment. Raises PluginError without an access token."""

    def get(key: str) -> str:
        value = args.get(key)
        if isinstance(value, str) and value:
            return value
        if value is not None and not isinstance(value, str):
            return json.dumps(value)
        return next((environment[name] for name in ENVIRONMENT.get(key, ()) if environment.get(name)), "")

    token = get("accessToken")
    if not token:
        raise PluginError(
            "failed to load application credentials: this stand-in takes an access token only: set gcp:accessToken or "
            "GOOGLE_OAUTH_ACCESS_TOKEN (google: could not find default credentials)"
        )
    override = get("userProjectOverride").lower() == "true"
    return Settings(
        token=token,
        project=get("project"),
        region=get("region"),
        default_labels=json.loads(get("defaultLabels") or "{}"),
        mark=get("addPulumiAttributionLabel").lower() != "false",
        poll_interval_s=_seconds(get("pollInterval")) if get("pollInterval") else None,
        request_timeout_s=_seconds(get("requestTimeout")) if get("requestTimeout") else 120.0,
        billing_project=(get("billingProject") or get("project")) if override else "",
        endpoints=_endpoints(args, environment),
    )


def _endpoints(args: Plain, environment: Mapping[str, str]) -> dict[str, str]:
    endpoints = {}
    for name, value in environment.items():
        found = re.fullmatch(r"GOOGLE_(\w+)_CUSTOM_ENDPOINT", name)
        if found and value:
            first, *rest = found[1].lower().split("_")
            endpoints[first + "".join(part.capitalize() for part in rest)] = value
    for key, value in args.items():
        if key.endswith("CustomEndpoint") and isinstance(value, str) and value:
            endpoints[key.removesuffix("CustomEndpoint")] = value
    return endpoints


def _seconds(text: str) -> float:
    """A Go duration such as `1s`, `500ms` or `1m30s`, in seconds."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise PluginError(f"duration: argument must be like 10s, 500ms or 1m30s, got {text!r}")
    return sum(float(number) * units[unit] for number, unit in parts)
