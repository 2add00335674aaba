"""Credentials from a metadata server at a given address, without touching this process's environment."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from google.auth.credentials import Credentials
from google.auth.exceptions import RefreshError

# https://cloud.google.com/compute/docs/access/authenticate-workloads (read 2026-08-21)
_TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"  # noqa: S105 - a path, not a password
_EMAIL = "/computeMetadata/v1/instance/service-accounts/default/email"
_FLAVOR = {"Metadata-Flavor": "Google"}


class MetadataCredentials(Credentials):
    """Tokens of the default account of the metadata server at `address`, a base URL."""

    def __init__(self, address: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # google.auth annotates only a part of itself
        self._address = address.rstrip("/")

    def refresh(self, request: Any) -> None:
        """Get a new token. Raises RefreshError: the server does not give one."""
        try:
            answer = httpx.get(f"{self._address}{_TOKEN}", headers=_FLAVOR, timeout=10, trust_env=False)
            answer.raise_for_status()
            grant = answer.json()
            self.token: str = grant["access_token"]
            # google.auth compares with a time without a zone
            self.expiry = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=float(grant["expires_in"]))
        except (httpx.HTTPError, ValueError, KeyError) as exc:
            raise RefreshError(f"metadata server {self._address}: {exc}") from exc

    @property
    def service_account_email(self) -> str:
        """The account's address; asked for each time. Raises RefreshError: the server does not tell."""
        try:
            answer = httpx.get(f"{self._address}{_EMAIL}", headers=_FLAVOR, timeout=10, trust_env=False)
            return answer.raise_for_status().text.strip()
        except httpx.HTTPError as exc:
            raise RefreshError(f"metadata server {self._address}: {exc}") from exc
