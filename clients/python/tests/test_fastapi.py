"""FastAPI with the real packages."""

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jwt
import pytest
from adieu_server import Credentials, Server
from conftest import PATIENCE, eventually
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient
from tcp_proxy import Proxy

from adieu.fastapi import Blocklist, NotRevoked

KEY = "k" * 32
Make = Callable[..., TestClient]


@pytest.fixture
def application(request: pytest.FixtureRequest) -> Make:
    """Makes a small application, on a node that is reached at a URL."""

    def make(url: str, credentials: Credentials, *, ready: bool = True, **options: Any) -> TestClient:
        blocklist = Blocklist(url, credentials.name, credentials.secret, **options)
        request.addfinalizer(blocklist.close)
        if ready:
            blocklist.wait_ready(PATIENCE)
        current_token = NotRevoked(blocklist, lambda token: jwt.decode(token, KEY, algorithms=["HS256"]))
        app = FastAPI()

        @app.get("/")
        async def protected(payload: Annotated[Mapping[str, Any], Depends(current_token)]) -> Any:
            return payload["sub"]

        @app.post("/logout")
        def log_out(payload: Annotated[Mapping[str, Any], Depends(current_token)]) -> None:
            blocklist.revoke(payload)

        client = TestClient(app)
        request.addfinalizer(client.close)
        return client

    return make


def a_token() -> dict[str, str]:
    """In a header."""
    now = int(time.time())
    payload = {"sub": "jose", "jti": str(uuid.uuid4()), "iat": now, "exp": now + 300}
    return {"Authorization": f"Bearer {jwt.encode(payload, KEY, algorithm='HS256')}"}


def test_a_revoked_token_is_refused(shared_server: Server, shared_client: Credentials, application: Make) -> None:
    client, token = application(shared_server.url, shared_client), a_token()
    welcome = client.get("/", headers=token)
    assert (welcome.status_code, welcome.json()) == (200, "jose")
    assert client.post("/logout", headers=token).status_code == 200
    refused = client.get("/", headers=token)
    assert (refused.status_code, refused.json()) == (401, {"detail": "The token has been revoked."})
    assert refused.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_so_is_none_and_a_bad_one(shared_server: Server, shared_client: Credentials, application: Make) -> None:
    client = application(shared_server.url, shared_client)
    assert client.get("/").headers["WWW-Authenticate"] == "Bearer"
    assert client.get("/", headers={"Authorization": "Bearer x"}).status_code == 401


def test_what_can_not_be_known_or_done_is_answered_503(client: Credentials, proxy: Proxy, application: Make) -> None:
    browser, token = application(proxy.url, client), a_token()
    proxy.cut()
    not_durable = browser.post("/logout", headers=token)
    eventually(lambda: browser.get("/", headers=token).status_code == 503)
    for answer in (not_durable, browser.get("/", headers=token)):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json() == {"detail": "Please try again."}


def test_a_request_right_after_the_start_waits_for_the_first_snapshot(
    shared_server: Server, shared_client: Credentials, application: Make
) -> None:
    client = application(shared_server.url, shared_client, ready=False, start_timeout=PATIENCE)
    assert client.get("/", headers=a_token()).status_code == 200
