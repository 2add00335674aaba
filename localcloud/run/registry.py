"""Cloud Run's own access to images: the reference to pull, the login, whether it is there."""

import asyncio
from typing import TYPE_CHECKING

import httpx

from localcloud.errors import ApiError
from localcloud.run import images

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

_READY_S = 20.0


class Registry:
    """Reads images as the cloud itself.

    In the cloud this is the Cloud Run Service Agent, whose role the cloud grants in every project with the API enabled
    (https://cloud.google.com/iam/docs/service-agents, 2026-08); here it is the owner, so that no policy gains a member.
    """

    def __init__(self, cloud: "Cloud"):
        self._cloud = cloud
        self._http = httpx.AsyncClient(timeout=10, trust_env=False)

    async def close(self) -> None:
        await self._http.aclose()

    @property
    def address(self) -> str:
        """HOST:PORT of the local registry, empty if there is none."""
        settings = self._cloud.settings
        return settings.url("registry").removeprefix("http://") if "registry" in settings.ports else ""

    def local(self, image: str) -> str:
        """Return the reference to pull."""
        return images.local_reference(image, self.address, self._cloud.settings.image_hosts)

    async def ready(self) -> None:
        """Wait until the registry of this cloud answers; not longer than a while."""
        for _ in range(int(_READY_S / 0.2) if self.address else 0):
            try:
                await self._http.get(f"http://{self.address}/v2/")
            except httpx.TransportError:
                await asyncio.sleep(0.2)
            else:
                return

    async def check(self, image: str, project: str) -> ApiError | None:
        """Return why an image cannot be used; None if it can, or if its registry is not on this machine."""
        reference = self.local(image)
        if not images.checkable(reference):
            return None
        try:
            there = await images.exists(self._http, reference, self._token())
        except ApiError:
            return images.unreadable(image, self._agent(project))
        return None if there else images.missing(image)

    async def login(self, reference: str) -> dict[str, str] | None:
        """Return the engine's login for a reference of the local registry."""
        host = reference.partition("/")[0]
        if host != self.address:
            return None
        return {"username": "oauth2accesstoken", "password": self._token(), "serveraddress": host}

    def _token(self) -> str:
        return self._cloud.tokens.mint(self._cloud.settings.owner, 3600)

    def _agent(self, project: str) -> str:
        number = (self._cloud.projects.get(project) or {}).get("projectNumber", project)
        return f"service-{number}@serverless-robot-prod.iam.gserviceaccount.com"
