"""ID tokens (JWT, RS256) signed with a key of the state directory, and the key set that verifies them."""

import json
import os
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from localcloud.clock import Clock
from localcloud.errors import unauthenticated
from localcloud.identity import decode, encode

ISSUER = "https://accounts.google.com"
TTL_S = 3600
KEY_ID = "localcloud"


class IdTokens:
    """The key is made on first use, which takes some tenths of a second."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._loaded: rsa.RSAPrivateKey | None = None

    @property
    def _key(self) -> rsa.RSAPrivateKey:
        if self._loaded is None:
            if not self._path.exists():
                self._make()
            key = serialization.load_pem_private_key(self._path.read_bytes(), None)
            if not isinstance(key, rsa.RSAPrivateKey):
                raise ValueError(f"{self._path} must hold an RSA key; remove it to have a new one made")
            self._loaded = key
        return self._loaded

    def _make(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        temporary = self._path.with_suffix(".new")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(pem)
        temporary.replace(self._path)

    def mint(self, account: dict[str, Any], audience: str) -> str:
        """`account`: email and uniqueId of a service account."""
        now = int(self._clock.now())
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "azp": account["uniqueId"],
            "sub": account["uniqueId"],
            "email": account["email"],
            "email_verified": True,
            "iat": now,
            "exp": now + TTL_S,
        }
        head = {"alg": "RS256", "kid": KEY_ID, "typ": "JWT"}
        signed = ".".join(encode(json.dumps(part, separators=(",", ":")).encode()) for part in (head, claims))
        return f"{signed}.{encode(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def verify(self, token: str, audience: str) -> dict[str, Any]:
        """The claims. Raises ApiError 401 for another signature or audience, or past its time."""
        signed, _, signature = token.rpartition(".")
        try:
            self._key.public_key().verify(decode(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
            claims: dict[str, Any] = json.loads(decode(signed.partition(".")[2]))
        except (InvalidSignature, ValueError):
            raise unauthenticated() from None
        if claims["aud"] != audience or claims["exp"] <= self._clock.now():
            raise unauthenticated()
        return claims

    def key_set(self) -> dict[str, Any]:
        """As https://www.googleapis.com/oauth2/v3/certs has it."""
        numbers = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "alg": "RS256",
            "use": "sig",
            "kid": KEY_ID,
            "n": _number(numbers.n),
            "e": _number(numbers.e),
        }
        return {"keys": [key]}


def _number(value: int) -> str:
    return encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))
