import json
from pathlib import Path

import pytest
import urllib3
from gcs_support import Answer, Script, problem, scripted_server

from workloads.common.gcs import GcsStore
from workloads.common.storage import Denied
from workloads.common.tokens import MetadataTokens, NoIdentity, TokenError, UserTokens, find_tokens


def test_token_is_asked_for_once_and_again_a_minute_before_it_ends() -> None:
    now = [0.0]
    given: list[str] = []

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        assert path == "/computeMetadata/v1/instance/service-accounts/default/token"
        assert headers["Metadata-Flavor"] == "Google"
        given.append(f"token-{len(given)}")
        return 200, {}, json.dumps({"access_token": given[-1], "expires_in": 3_600}).encode()

    with scripted_server(Script(answer)) as url:
        tokens = MetadataTokens(urllib3.PoolManager(), url.removeprefix("http://"), clock=lambda: now[0])
        assert [tokens.get(), tokens.get()] == ["token-0", "token-0"]
        now[0] = 3_541
        assert tokens.get() == "token-1"
        tokens.forget()
        assert tokens.get() == "token-2"


def test_metadata_server_that_refuses_or_is_not_there_is_named() -> None:
    with scripted_server(Script(lambda *asked: problem(404, "no account"))) as url:
        tokens = MetadataTokens(urllib3.PoolManager(), url.removeprefix("http://"))
        with pytest.raises(TokenError, match="answered 404"):
            tokens.get()
    with pytest.raises(TokenError, match="does not answer"):
        MetadataTokens(urllib3.PoolManager(), "127.0.0.1:1").get()


@pytest.mark.parametrize("env", [{"GCE_METADATA_HOST": "127.0.0.1:1"}, {"CLOUD_RUN_JOB": "heavy"}])
def test_on_a_platform_the_tasks_own_identity_is_used(env: dict[str, str]) -> None:
    assert isinstance(find_tokens(env, urllib3.PoolManager()), MetadataTokens)


def log_in(folder: Path, monkeypatch: pytest.MonkeyPatch, token_uri: str) -> None:
    """A person's login as gcloud keeps it, with its tokens from `token_uri`, which such a file cannot name."""
    file = folder / "login.json"
    fields = {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "kept-secret"}
    file.write_text(json.dumps(fields))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    monkeypatch.setattr("google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", token_uri)


@pytest.fixture
def no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


def test_a_persons_login_gives_tokens_until_it_is_refused(
    tmp_path: Path, no_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[Answer] = []

    def answer(*asked: object) -> Answer:
        return refused[0] if refused else (200, {}, json.dumps({"access_token": "t", "expires_in": 3_600}).encode())

    with scripted_server(Script(answer)) as url:
        log_in(tmp_path, monkeypatch, f"{url}/token")
        tokens = find_tokens({"GOOGLE_APPLICATION_CREDENTIALS": "set"}, urllib3.PoolManager())
        assert isinstance(tokens, UserTokens)
        assert tokens.get() == "t"
        tokens.forget()
        refused.append((400, {}, b'{"error": "invalid_grant", "error_description": "Token has been revoked."}'))
        with pytest.raises(NoIdentity, match=r"invalid_grant: Token has been revoked\.$"):
            tokens.get()


def test_a_service_of_tokens_that_is_not_there_may_be_asked_again(
    tmp_path: Path, no_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(tmp_path, monkeypatch, "http://127.0.0.1:1/token")
    with pytest.raises(TokenError, match="does not answer") as raised:
        UserTokens(urllib3.PoolManager()).get()
    assert not isinstance(raised.value, NoIdentity)


@pytest.mark.parametrize("file", ["", "/no/such/file.json"])
def test_who_has_no_credentials_is_denied_and_told_so(
    file: str, no_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if file:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
    store = GcsStore(
        lambda http: find_tokens({"GOOGLE_APPLICATION_CREDENTIALS": file}, http), endpoint="http://127.0.0.1:1"
    )
    with pytest.raises(Denied, match=r"no use can be made of Google credentials: .*not found"):
        store.stat("gs://bucket/object")
