"""Django REST framework and simplejwt with the real packages."""

from collections.abc import Callable
from typing import Any

import django_project  # noqa: F401  First: it configures Django.
import pytest
from adieu_server import Credentials, Server
from conftest import PATIENCE, eventually
from django.conf import settings
from rest_framework.test import APIClient
from tcp_proxy import Proxy

from adieu.django import blocklist

Follow = Callable[[str, Credentials], None]


@pytest.fixture
def follow_from_django(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Follow:
    """Lets the project follow a node that is reached at a URL."""

    def configure(url: str, client: Credentials) -> None:
        options = {"url": url, "client_id": client.name, "secret": client.secret, "timeout": 1}
        monkeypatch.setattr(settings, "ADIEU", options)
        blocklist.cache_clear()
        request.addfinalizer(blocklist.cache_clear)
        request.addfinalizer(blocklist().close)
        blocklist().wait_ready(PATIENCE)

    return configure


def log_in() -> tuple[Any, str]:
    """A client with an access token, and the refresh token."""
    client = APIClient()
    tokens = client.post("/token", {"username": "jose", "password": "1234"}).json()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {tokens['access']}")
    return client, tokens["refresh"]


def test_a_revoked_token_is_refused(
    shared_server: Server, shared_client: Credentials, follow_from_django: Follow
) -> None:
    follow_from_django(shared_server.url, shared_client)
    client, _ = log_in()
    assert client.get("/").json() == "jose"
    assert client.post("/logout").status_code == 200
    refused = client.get("/")
    assert refused.status_code == 401
    assert refused.json() == {"detail": "The token has been revoked.", "code": "token_revoked"}


def test_refresh_tokens_are_used_once_and_can_be_revoked(
    shared_server: Server, shared_client: Credentials, follow_from_django: Follow
) -> None:
    follow_from_django(shared_server.url, shared_client)
    _, first = log_in()
    client = APIClient()
    second = client.post("/token/refresh", {"refresh": first}).json()["refresh"]
    assert client.post("/token/refresh", {"refresh": first}).status_code == 401
    assert client.post("/token/blacklist", {"refresh": second}).status_code == 200
    refused = client.post("/token/refresh", {"refresh": second})
    assert refused.status_code == 401
    assert refused.json()["detail"] == "The token has been revoked."


def test_everything_of_a_user_ends(
    shared_server: Server, shared_client: Credentials, follow_from_django: Follow
) -> None:
    follow_from_django(shared_server.url, shared_client)
    client, refresh = log_in()
    blocklist().revoke_subject("1")
    assert client.get("/").status_code == 401
    assert client.post("/token/refresh", {"refresh": refresh}).status_code == 401


def test_what_can_not_be_known_or_done_is_answered_503(
    client: Credentials, proxy: Proxy, follow_from_django: Follow
) -> None:
    follow_from_django(proxy.url, client)
    browser, _ = log_in()
    proxy.cut()
    not_durable = browser.post("/logout")
    eventually(lambda: browser.get("/").status_code == 503)
    for answer in (not_durable, browser.get("/")):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json() == {"detail": "Please try again."}
