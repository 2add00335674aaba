import json

import pytest
import urllib3
from gcs_support import Answer, Script, problem, scripted_server

from workloads.common.tokens import MetadataTokens, TokenError, find_tokens


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
