"""Django REST framework without simplejwt: the tokens of the node, verified by this package."""

import time
from collections.abc import Callable
from typing import Any

import django_project  # noqa: F401  First: it configures Django.
import jwt
import pytest
from adieu_server import Credentials, Server
from conftest import TEST_TIMEOUT, eventually, new_id
from django.conf import settings
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView
from tcp_proxy import Proxy

from adieu.drf import VerifierAuthentication, readiness, verifier

Follow = Callable[..., None]


class View(APIView):  # type: ignore[misc]
    authentication_classes = (VerifierAuthentication,)
    permission_classes = (IsAuthenticated,)

    def get(self, request: Any) -> Any:
        return Response([str(request.user), request.auth.get("sub")])

    def delete(self, request: Any) -> Any:
        verifier().blocklist.revoke(request.auth, request.auth.token)
        return Response()


@pytest.fixture
def verify_from_django(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Follow:
    """Makes the project follow the node at a URL."""

    def configure(url: str, client: Credentials, **options: Any) -> None:
        place = {"url": url, "client_id": client.name, "secret": client.secret}
        monkeypatch.setattr(settings, "ADIEU", {**place, "issuer": "adieu", "timeout": TEST_TIMEOUT, **options})
        verifier.cache_clear()
        request.addfinalizer(verifier.cache_clear)
        request.addfinalizer(verifier().close)
        verifier().wait_ready(TEST_TIMEOUT)

    return configure


def ask(method: str, authorization: str | None) -> Any:
    headers = {} if authorization is None else {"HTTP_AUTHORIZATION": authorization}
    response = View.as_view()(getattr(APIRequestFactory(), method)("/", **headers))
    return response.render()


def test_the_token_of_the_node_is_good_until_its_logout(
    shared_server: Server, shared_client: Credentials, verify_from_django: Follow
) -> None:
    verify_from_django(shared_server.url, shared_client)
    user = new_id()
    tokens = shared_server.log_in(user)
    bearer = f"Bearer {tokens['access_token']}"
    answer = ask("get", bearer)
    assert answer.status_code == 200
    assert answer.data[0] == answer.data[1] != ""

    assert ask("delete", bearer).status_code == 200
    refused = ask("get", bearer)
    assert (refused.status_code, refused.data["code"]) == (401, "token_revoked")
    assert refused["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    # The logout ended the session at the node, too.
    assert shared_server.ask("POST", "/refresh", token=tokens["refresh_token"])[0] == 401


def test_the_user_is_the_one_that_can_be_revoked(
    shared_server: Server, shared_client: Credentials, verify_from_django: Follow
) -> None:
    key = "k" * 32

    def ask_with(**claims: Any) -> Any:
        now = int(time.time())
        payload = {"iss": "shop", "jti": new_id(), "iat": now - 10, "exp": now + 300, **claims}
        token = jwt.encode(payload, key, headers={"typ": "at+jwt"})
        return ask("get", f"Bearer {token}")

    options = {"issuer": "shop", "key": key, "algorithm": "HS256"}
    for subject_claim in ("oid", "sub"):
        verify_from_django(shared_server.url, shared_client, **options, subject_claim=subject_claim)
        user, other = new_id(), "sub" if subject_claim == "oid" else "oid"
        for claims in ({subject_claim: user}, {subject_claim: user, other: "another"}):
            answer = ask_with(**claims)
            assert (answer.status_code, answer.data[0]) == (200, user)
    verify_from_django(shared_server.url, shared_client, **options, profile="plain")
    for number in (7, 7.0):
        answer = ask_with(sub=number)
        assert (answer.status_code, answer.data[0]) == (200, "7")


def test_a_logout_ends_the_session_of_tokens_without_an_issuer(
    shared_server: Server, shared_client: Credentials, verify_from_django: Follow
) -> None:
    options = {"issuer": "shop", "key": "k" * 32, "algorithm": "HS256", "profile": "plain"}
    verify_from_django(shared_server.url, shared_client, **options)
    now, session = int(time.time()), new_id()
    payloads = ({"sub": "jose", "jti": new_id(), "sid": session, "iat": now, "exp": now + 300} for _ in range(2))
    one, another = (f"Bearer {jwt.encode(payload, 'k' * 32)}" for payload in payloads)
    assert ask("get", another).status_code == 200
    assert ask("delete", one).status_code == 200
    assert ask("get", another).status_code == 401


def test_nobody_else_is_let_in(shared_server: Server, shared_client: Credentials, verify_from_django: Follow) -> None:
    verify_from_django(shared_server.url, shared_client)
    refresh = shared_server.log_in(new_id())["refresh_token"]
    for authorization in (None, "Basic eDp5", "Bearer", "Bearer "):
        refused = ask("get", authorization)
        assert (refused.status_code, refused["WWW-Authenticate"]) == (401, "Bearer"), authorization
    for authorization in (f"Bearer {refresh}", "bearer x.y.z", "Bearer \xff", f"Bearer {refresh} {refresh}"):
        refused = ask("get", authorization)
        assert (refused.status_code, refused.data["code"]) == (401, "invalid_token"), authorization
        assert refused["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_what_can_not_be_known_or_done_is_answered_503(
    server: Server, client: Credentials, proxy: Proxy, verify_from_django: Follow
) -> None:
    verify_from_django(proxy.url, client)
    bearer = f"Bearer {server.log_in('jose')['access_token']}"
    assert ask("get", bearer).status_code == 200
    assert readiness().status_code == 200
    proxy.cut()
    not_durable = ask("delete", bearer)
    eventually(lambda: ask("get", bearer).status_code == 503)
    for answer in (not_durable, ask("get", bearer)):
        assert (answer.status_code, answer["Retry-After"]) == (503, "1")
        assert answer.data == {"detail": "Please try again."}
    assert readiness().status_code == 503
