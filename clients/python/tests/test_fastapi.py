"""FastAPI with the real packages."""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

import jwt
import pytest
from adieu_server import Credentials, Server
from conftest import TEST_TIMEOUT, eventually
from fastapi import Depends, FastAPI, Request, WebSocket
from fastapi.security import HTTPAuthorizationCredentials
from starlette.concurrency import run_in_threadpool
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from tcp_proxy import Proxy

from adieu import Verifier
from adieu.fastapi import Blocklist, NotRevoked, _in_thread, readiness

KEY = "k" * 32
Make = Callable[..., TestClient]


@pytest.fixture
def application(request: pytest.FixtureRequest) -> Make:
    """Creates a small application that follows the node at a URL."""

    def make(
        url: str, credentials: Credentials, *, ready: bool = True, leeway: float = 0, skew: float = 3, **options: Any
    ) -> TestClient:
        blocklist = Blocklist(url, credentials.name, credentials.secret, **options)
        request.addfinalizer(blocklist.close)
        if ready:
            blocklist.wait_ready(TEST_TIMEOUT)

        def decode(token: str) -> Mapping[str, Any]:
            payload: Mapping[str, Any] = jwt.decode(token, KEY, algorithms=["HS256"], leeway=leeway)
            return payload

        current_token = NotRevoked(blocklist, decode, skew=skew)
        refresh_token = NotRevoked(blocklist, decode, types=("refresh",))
        either_token = NotRevoked(blocklist, decode, types=("access", "refresh"))
        app = FastAPI()

        @app.get("/")
        async def protected(payload: Annotated[Mapping[str, Any], Depends(current_token)]) -> Any:
            return payload["sub"]

        @app.post("/refresh")
        def refresh(payload: Annotated[Mapping[str, Any], Depends(refresh_token)]) -> dict[str, str]:
            return a_token(sid=payload["sid"])

        @app.post("/logout")
        def log_out(payload: Annotated[Mapping[str, Any], Depends(either_token)]) -> None:
            blocklist.revoke(payload)

        @app.websocket("/news")
        async def news(socket: WebSocket, payload: Annotated[Mapping[str, Any], Depends(current_token)]) -> None:
            await socket.accept()
            loop, revoked = asyncio.get_running_loop(), asyncio.Event()
            cancel = blocklist.on_revoked(payload, lambda: loop.call_soon_threadsafe(revoked.set))
            await socket.send_text("welcome")
            await revoked.wait()
            cancel()
            await socket.close(4401)

        client = TestClient(app)
        request.addfinalizer(client.close)
        return client

    return make


def a_token(headers: Mapping[str, Any] | None = None, **claims: Any) -> dict[str, str]:
    """Returns the header with the token."""
    now = int(time.time())
    payload = {
        "sub": "jose",
        "jti": str(uuid.uuid4()),
        "nonce": str(uuid.uuid4()),
        "iat": now,
        "exp": now + 300,
        **claims,
    }
    payload = {name: value for name, value in payload.items() if value is not None}
    return {"Authorization": f"Bearer {jwt.encode(payload, KEY, algorithm='HS256', headers=dict(headers or {}))}"}


def test_a_revoked_token_is_refused(shared_server: Server, shared_client: Credentials, application: Make) -> None:
    client, token = application(shared_server.url, shared_client), a_token()
    welcome = client.get("/", headers=token)
    assert (welcome.status_code, welcome.json()) == (200, "jose")
    assert client.post("/logout", headers=token).status_code == 200
    refused = client.get("/", headers=token)
    assert (refused.status_code, refused.json()) == (401, {"detail": "The token has been revoked."})
    assert refused.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_a_logout_ends_the_whole_session(shared_server: Server, shared_client: Credentials, application: Make) -> None:
    client = application(shared_server.url, shared_client)
    for shown in ("access", "refresh"):
        sid = str(uuid.uuid4())
        tokens = {"access": a_token(sid=sid), "refresh": a_token(sid=sid, type="refresh")}
        refreshed = client.post("/refresh", headers=tokens["refresh"]).json()
        assert client.get("/", headers=refreshed).status_code == 200

        assert client.post("/logout", headers=tokens[shown]).status_code == 200
        for answer in (
            client.get("/", headers=tokens["access"]),
            client.get("/", headers=refreshed),
            client.post("/refresh", headers=tokens["refresh"]),
            client.post("/logout", headers=tokens[shown]),
        ):
            assert (answer.status_code, answer.json()) == (401, {"detail": "The token has been revoked."})


def test_a_logout_of_a_token_of_the_node_ends_its_session_there(
    server: Server, client: Credentials, request: pytest.FixtureRequest
) -> None:
    blocklist = Blocklist(server.url, client.name, client.secret)
    request.addfinalizer(blocklist.close)
    keys = jwt.PyJWKClient(f"{server.url}/.well-known/jwks.json")

    def decode(token: str) -> Mapping[str, Any]:
        key = keys.get_signing_key_from_jwt(token).key
        payload: Mapping[str, Any] = jwt.decode(token, key, algorithms=["EdDSA"], issuer="adieu")
        return payload

    app = FastAPI()

    @app.post("/logout")
    def log_out(payload: Annotated[Mapping[str, Any], Depends(NotRevoked(blocklist, decode))]) -> None:
        blocklist.revoke(payload)

    blocklist.wait_ready(TEST_TIMEOUT)
    tokens = server.log_in("jose")
    with TestClient(app) as browser:
        # The node's refresh tokens are for the node alone: every route rejects them.
        header = {"Authorization": f"Bearer {tokens['refresh_token']}"}
        assert browser.post("/logout", headers=header).status_code == 401
        header = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert browser.post("/logout", headers=header).status_code == 200
        assert browser.post("/logout", headers=header).status_code == 401
    assert server.ask("POST", "/refresh", token=tokens["refresh_token"])[0] == 401
    assert server.ask("GET", "/verify", token=tokens["access_token"])[0] == 401


def test_a_token_of_another_kind_is_refused(
    shared_server: Server, shared_client: Credentials, application: Make
) -> None:
    client = application(shared_server.url, shared_client)
    for other in (
        a_token(type="refresh"),
        a_token(token_type="refresh"),
        a_token(token_use="id"),
        a_token(typ="Offline"),
        a_token(typ=7),
        a_token({"typ": "rt+jwt"}),
        a_token({"typ": "logout+jwt"}),
    ):
        assert client.get("/", headers=other).status_code == 401
    for header in ({"typ": "rt+jwt"}, {"typ": "at+jwt"}):
        both = a_token(header, sid="x", type="refresh")
        assert client.post("/refresh", headers=both).status_code == 401, "of the node, or one that contradicts itself"
    for access in (a_token(), a_token(type="bearer"), a_token(typ="Bearer"), a_token({"typ": "application/at+JWT"})):
        assert client.get("/", headers=access).status_code == 200


def test_a_token_from_the_future_is_refused(
    shared_server: Server, shared_client: Credentials, application: Make
) -> None:
    # PyJWT 2.4 accepts any `iat`.
    client, now = application(shared_server.url, shared_client, leeway=7200), int(time.time())
    for ahead, status in ((1, 200), (1.5, 200), (3600, 401), (3600.5, 401)):
        assert client.get("/", headers=a_token(iat=now + ahead)).status_code == status, ahead
        refresh = a_token(iat=now + ahead, sid="x", type="refresh")
        assert client.post("/refresh", headers=refresh).status_code == status, ahead
    patient = application(shared_server.url, shared_client, leeway=7200, skew=4000)
    assert patient.get("/", headers=a_token(iat=now + 3600)).status_code == 200


def test_a_token_without_jti_can_be_logged_out(
    shared_server: Server, shared_client: Credentials, application: Make
) -> None:
    client, token, another = application(shared_server.url, shared_client), a_token(jti=None), a_token(jti=None)
    assert client.get("/", headers=token).status_code == 200
    assert client.post("/logout", headers=token).status_code == 200
    assert client.get("/", headers=token).status_code == 401
    assert client.get("/", headers=another).status_code == 200


def test_a_token_that_no_revocation_could_name_is_no_good_one(
    shared_server: Server, shared_client: Credentials, application: Make
) -> None:
    client = application(shared_server.url, shared_client)
    for wrong in (a_token(sid=7), a_token(exp=None), a_token(jti="")):
        assert client.get("/", headers=wrong).status_code == 401


def test_so_is_none_and_a_bad_one(shared_server: Server, shared_client: Credentials, application: Make) -> None:
    client = application(shared_server.url, shared_client)
    assert client.get("/").headers["WWW-Authenticate"] == "Bearer"
    assert client.get("/", headers={"Authorization": "Bearer x"}).status_code == 401


def test_a_websocket_is_closed_when_its_token_is_revoked(
    shared_server: Server, shared_client: Credentials, application: Make
) -> None:
    client, token = application(shared_server.url, shared_client), a_token()
    with client.websocket_connect("/news", headers=token) as socket:
        assert socket.receive_text() == "welcome"
        assert client.post("/logout", headers=token).status_code == 200
        closed = socket.receive()
        assert (closed["type"], closed["code"]) == ("websocket.close", 4401)
    for refused in (token, {}, {"Authorization": "Basic eA=="}):
        with pytest.raises(WebSocketDisconnect) as closing, client.websocket_connect("/news", headers=refused):
            pass
        assert closing.value.code == 1008


def test_what_can_not_be_known_or_done_is_answered_503(client: Credentials, proxy: Proxy, application: Make) -> None:
    browser, token = application(proxy.url, client), a_token()
    proxy.cut()
    not_durable = browser.post("/logout", headers=token)
    eventually(lambda: browser.get("/", headers=token).status_code == 503)
    for answer in (not_durable, browser.get("/", headers=token)):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json() == {"detail": "Please try again."}


def test_a_verifier_that_is_stale_is_answered_503_and_not_401(
    server: Server, client: Credentials, proxy: Proxy, request: pytest.FixtureRequest
) -> None:
    blocklist = Blocklist(proxy.url, client.name, client.secret)
    request.addfinalizer(blocklist.close)
    verifier = Verifier(blocklist=blocklist, issuer="adieu")
    app = FastAPI()
    app.get("/readyz")(readiness(verifier))

    @app.get("/")
    def protected(payload: Annotated[Mapping[str, Any], Depends(NotRevoked(blocklist, verifier.verify))]) -> Any:
        return payload["sub"]

    verifier.wait_ready(TEST_TIMEOUT)
    tokens = server.log_in("jose")
    token, refresh = ({"Authorization": f"Bearer {tokens[kind]}"} for kind in ("access_token", "refresh_token"))
    with TestClient(app) as browser:
        assert browser.get("/", headers=token).status_code == 200
        assert browser.get("/", headers=refresh).status_code == 401
        ready = browser.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        proxy.cut()
        eventually(lambda: browser.get("/readyz").status_code == 503)
        answer = browser.get("/", headers=token)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


@pytest.mark.parametrize("is_shared", [True, False])
def test_the_event_loop_runs_while_a_verifier_waits_for_news(
    client: Credentials, proxy: Proxy, request: pytest.FixtureRequest, is_shared: bool
) -> None:
    options: dict[str, Any] = {"max_staleness": 0.5, "stale_timeout": TEST_TIMEOUT}
    verifying = Blocklist(proxy.url, client.name, client.secret, **options)
    asked = verifying if is_shared else Blocklist.in_memory()
    for blocklist in (verifying, asked):
        request.addfinalizer(blocklist.close)
    verifier = Verifier(blocklist=verifying, issuer="shop", key=KEY, algorithm="HS256")
    verifier.wait_ready(TEST_TIMEOUT)
    proxy.cut()
    eventually(lambda: not verifier.is_ready)
    bearer = a_token({"typ": "at+jwt"}, iss="shop")["Authorization"].removeprefix("Bearer ")
    current_token = NotRevoked(asked, partial(verifier.verify, type="access") if is_shared else verifier.verify)

    async def run() -> Any:
        asyncio.get_running_loop().call_later(0.3, proxy.mend)
        connection = Request({"type": "http", "headers": []})
        return await current_token(connection, HTTPAuthorizationCredentials(scheme="bearer", credentials=bearer))

    # Only the loop mends the network.
    assert asyncio.run(run())["sub"] == "jose"


def test_a_request_right_after_the_start_waits_for_the_first_snapshot(
    shared_server: Server, shared_client: Credentials, application: Make
) -> None:
    client = application(shared_server.url, shared_client, ready=False, start_timeout=TEST_TIMEOUT)
    assert client.get("/", headers=a_token()).status_code == 200


def test_a_lookup_that_may_wait_needs_no_loop_of_asyncio(
    shared_server: Server, shared_client: Credentials, application: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trio")
    app = application(shared_server.url, shared_client).app
    monkeypatch.setattr(Blocklist, "may_wait", True)
    with TestClient(app, backend="trio") as client:
        token = a_token()
        assert client.get("/", headers=token).status_code == 200
        assert client.post("/logout", headers=token).status_code == 200
        assert client.get("/", headers=token).status_code == 401


def test_lookups_that_wait_leave_the_threads_of_handlers_free() -> None:
    mended = threading.Event()

    async def run() -> Any:
        waiting = [asyncio.create_task(_in_thread(mended.wait, TEST_TIMEOUT)) for _ in range(100)]
        await asyncio.sleep(0.1)
        try:
            return await asyncio.wait_for(run_in_threadpool(lambda: "answered"), TEST_TIMEOUT / 2)
        finally:
            mended.set()
            await asyncio.gather(*waiting)

    assert asyncio.run(run()) == "answered"


def test_a_verifier_and_a_blocklist_of_two_issuers_are_an_error_of_the_application(
    client: Credentials, proxy: Proxy, request: pytest.FixtureRequest
) -> None:
    proxy.hold_answers()
    blocklist = Blocklist(proxy.url, client.name, client.secret)
    request.addfinalizer(blocklist.close)
    verifier = Verifier(blocklist=blocklist, issuer="shop", key=KEY, algorithm="HS256", profile="plain")
    app = FastAPI()

    @app.get("/")
    def protected(payload: Annotated[Mapping[str, Any], Depends(NotRevoked(blocklist, verifier.verify))]) -> Any:
        return payload["sub"]

    proxy.mend()
    blocklist.wait_ready(TEST_TIMEOUT)
    with TestClient(app) as browser:
        assert browser.get("/", headers=a_token(iss="shop")).status_code == 200
        with pytest.raises(ValueError, match="must be made with issuer='shop'"):
            browser.get("/", headers=a_token())
