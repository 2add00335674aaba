"""What a stack file says before anything is deployed: which endpoints the stack is pointed at."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ops.environment import Project
from ops.errors import BadRequest

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_SUFFIX = "CustomEndpoint"


@dataclass(frozen=True, kw_only=True)
class StackFile:
    """The plain configuration of one stack."""

    stack: str
    config: dict[str, Any]
    """Keys as in the file, `gcp:project` say; secret values are left as the file has them."""

    @property
    def provider_endpoints(self) -> dict[str, str]:
        """The Google provider's custom endpoints: `cloudRunV2` -> URL."""
        return {
            key.removeprefix("gcp:").removesuffix(_SUFFIX): str(value)
            for key, value in self.config.items()
            if key.startswith("gcp:") and key.endswith(_SUFFIX)
        }

    @property
    def own_endpoints(self) -> dict[str, str]:
        """The endpoints of the project's own configuration, `longhaul:endpoints`: name -> URL; {} if there are none."""
        found = self.config.get("longhaul:endpoints") or {}
        return {str(name): str(url) for name, url in found.items()}

    @property
    def is_local(self) -> bool:
        """Whether the provider is pointed at this machine."""
        urls = self.provider_endpoints.values()
        return bool(urls) and all(urlsplit(url).hostname in _LOOPBACK for url in urls)

    @property
    def project(self) -> str:
        """The Google Cloud project; empty if the file leaves it to the environment."""
        return str(self.config.get("gcp:project", ""))


def load(project: Project, stack: str) -> StackFile:
    """Read Pulumi.STACK.yaml. Raises BadRequest: there is none, or it is not YAML of that form."""
    import yaml

    path = project.root / f"Pulumi.{stack}.yaml"
    if not path.is_file():
        known = sorted(p.name.split(".")[1] for p in project.root.glob("Pulumi.*.yaml"))
        raise BadRequest(
            f"there is no stack {stack!r} in {project.root}", f"stacks are {', '.join(known) or 'none yet'}"
        )
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as exc:
        raise BadRequest(f"{path.name} is not YAML: {exc}") from exc
    return StackFile(stack=stack, config=dict(document.get("config") or {}))
