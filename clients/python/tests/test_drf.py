"""Django REST framework without simplejwt: the tokens of the node, verified by this package."""

from collections.abc import Callable
from typing import Any

import django_project  # noqa: F401  First: it configures Django.
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

Follow = Callable[[str, Credentials], None]


class View(APIView):  # type: ignore[misc]
    authentication_classes = (VerifierAuthentication,)
    permission_classes = (IsAuthenticated,)

    def get(self, request: Any) -> Any:
        return Response([str(request.user), request.auth["sub"]])

    def delete(self, request: Any) -> Any:
        verifier().blocklist.revoke(request.auth, request.auth.token)
        return Response()


@pytest.fixture
def verify_from_django(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Follow:
    """Makes the project follow the node at a URL."""

    def configure(url: str, client: Credentials) -> None:
        place = {"url": url, "client_id": client.name, "secret": client.secret}
        monkeypatch.setattr(settings, "ADIEU", {**place, "issuer": "adieu", "timeout": TEST_TIMEOUT})
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
