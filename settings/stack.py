"""Settings of a stack as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from settings.batch_fanout import Fanout
from settings.checks import each
from settings.feature_pipeline import FeaturePipeline
from settings.heavy_runner import HeavyRunner
from settings.shared import Build, Retention
from workloads.common.contract import Endpoints

SERVICES = (
    *(service.name for service in fields(Endpoints)),
    *("artifact_registry", "batch", "billing", "iam", "metadata", "resource_manager", "run", "service_usage"),
    *("workflow_executions", "workflows"),
)
"""Services that `longhaul:endpoints` may name."""

WORKLOADS = ("batch_fanout", "feature_pipeline", "heavy_runner")
"""Workloads with an image, which `longhaul:images` may pin."""

_LABEL = r"[a-z][a-z0-9_-]{0,62}"
_LABEL_VALUE = r"[a-z0-9_-]{0,63}"
_GRANTEE = r"[a-z][a-z0-9-]{0,20}"
_PRINCIPAL = r"(user|group|serviceAccount|domain|principal|principalSet):\S+"
_URL = r"https?://[^/\s]+"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one stack is."""

    project: str
    """Project id, from gcp:project."""
    region: str
    """Region of everything, from gcp:region."""
    stack: str
    deletion_protection: bool
    """Whether jobs refuse to be deleted or replaced, and the engine to delete bucket and repository."""
    operators: Mapping[str, str]
    """Principals that use the `longhaul` command, as {label: principal}."""
    force_destroy: bool = False
    """Whether `pulumi destroy` deletes the bucket with its objects. Default false."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels for cost reports on everything that has labels. Default none but stack and system."""
    registry: str = ""
    """Host of the image registry. Default REGION-docker.pkg.dev."""
    images: Mapping[str, str] = field(default_factory=dict)
    """Workload -> HOST/PATH@sha256:DIGEST; a workload that is not here is built. Default none."""
    image_readers: Mapping[str, str] = field(default_factory=dict)
    """Principals that may pull this stack's images, as {label: principal}. Default none."""
    build: Build = field(default_factory=Build)
    retention: Retention = field(default_factory=Retention)
    endpoints: Mapping[str, str] = field(default_factory=dict)
    """Service -> base URL without path, for a local cloud. Default none, which is the real one."""
    heavy_runner: HeavyRunner | None = None
    """None: the stack has no heavy runner."""
    feature_pipeline: FeaturePipeline | None = None
    """None: the stack has no feature pipeline."""
    batch_fanout: Fanout | None = None
    """None: the stack has no fan-out."""

    def __post_init__(self) -> None:
        if self.force_destroy and self.deletion_protection:
            raise ValueError("force_destroy must be false while deletion_protection is true, got true")
        each(
            "labels", self.labels, _LABEL, _LABEL_VALUE, "1..63 lower-case letters, digits, _ and -, as in {team: core}"
        )
        each("operators", self.operators, _GRANTEE, _PRINCIPAL, "user:, group:, serviceAccount:… by label")
        each("image_readers", self.image_readers, _GRANTEE, _PRINCIPAL, "user:, group:, serviceAccount:… by label")
        pins = f"HOST/PATH@sha256:DIGEST by {', '.join(WORKLOADS)}"
        each("images", self.images, "|".join(WORKLOADS), r"\S+/\S+@sha256:[0-9a-f]{64}", pins)
        each("endpoints", self.endpoints, "|".join(SERVICES), _URL, f"http://HOST:PORT by {', '.join(SERVICES)}")

    @property
    def registry_host(self) -> str:
        return self.registry or f"{self.region}-docker.pkg.dev"

    def endpoints_of(self, *services: str) -> Endpoints:
        """The endpoints of `services` for a container that calls them."""
        return Endpoints(**{service: self.endpoints.get(service) for service in services})
