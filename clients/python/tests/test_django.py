"""Django REST framework and simplejwt with the real packages."""

import base64
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import django_project  # noqa: F401  First: it configures Django.
import pytest
from adieu_server import Credentials, Server
from conftest import TEST_TIMEOUT, eventually
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from rest_framework.test import APIClient
from rest_framework_simplejwt import state
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import AccessToken
from tcp_proxy import Proxy

from adieu.django import RefreshToken, SlidingToken, blocklist, readiness
from adieu.simplejwt import SERIALIZERS

Follow = Callable[[str, Credentials], None]


@pytest.fixture
def follow_from_django(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Follow:
    """Makes the project follow the node at a URL."""

    def configure(url: str, client: Credentials) -> None:
        options = {"skew": 3, "url": url, "client_id": client.name, "secret": client.secret, "timeout": TEST_TIMEOUT}
        monkeypatch.setattr(settings, "ADIEU", options)
        blocklist.cache_clear()
        request.addfinalizer(blocklist.cache_clear)
        request.addfinalizer(blocklist().close)
        blocklist().wait_ready(TEST_TIMEOUT)

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


def test_a_logout_ends_both_tokens_of_a_pair_and_all_that_came_of_them(
    shared_server: Server, shared_client: Credentials, follow_from_django: Follow
) -> None:
    follow_from_django(shared_server.url, shared_client)
    others, other_refresh = log_in()
    for shown in ("access", "refresh"):
        client, first = log_in()
        anybody = APIClient()
        renewed = anybody.post("/token/refresh", {"refresh": first}).json()
        if shown == "access":
            assert client.post("/logout").status_code == 200
        else:
            assert anybody.post("/token/blacklist", {"refresh": renewed["refresh"]}).status_code == 200
        assert client.get("/").status_code == 401
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {renewed['access']}")
        assert client.get("/").status_code == 401
        assert anybody.post("/token/refresh", {"refresh": renewed["refresh"]}).status_code == 401
        for token in (first, renewed["access"], renewed["refresh"]):
            refused = anybody.post("/token/verify", {"token": token})
            assert (refused.status_code, refused.json()["detail"]) == (401, "The token has been revoked.")
    assert others.get("/").status_code == 200
    assert APIClient().post("/token/verify", {"token": other_refresh}).status_code == 200
    assert APIClient().post("/token/refresh", {"refresh": other_refresh}).status_code == 200


def test_a_refresh_token_that_is_used_many_times_at_once_succeeds_once(
    shared_server: Server, shared_client: Credentials, follow_from_django: Follow
) -> None:
    follow_from_django(shared_server.url, shared_client)
    for _ in range(3):
        # As the serializer does, without the database of the test, which belongs to one connection.
        refresh = str(RefreshToken.for_user(User(pk=1)))
        tokens = [RefreshToken(refresh) for _ in range(6)]

        def use_up(token: Any) -> bool:
            try:
                token.blacklist()
            except TokenError:
                return False
            return True

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(use_up, tokens)).count(True) == 1


def test_a_sliding_token_that_was_logged_out_stays_so_however_it_slides(
    shared_server: Server, shared_client: Credentials, follow_from_django: Follow
) -> None:
    follow_from_django(shared_server.url, shared_client)
    client, anybody = APIClient(), APIClient()
    token = anybody.post("/sliding", {"username": "jose", "password": "1234"}).json()["token"]
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert client.get("/").status_code == 200
    slid = anybody.post("/sliding/refresh", {"token": token}).json()["token"]
    assert client.post("/logout").status_code == 200

    assert client.get("/").status_code == 401
    assert anybody.post("/sliding/refresh", {"token": token}).status_code == 401
    assert anybody.post("/sliding/refresh", {"token": slid}).status_code == 401
    assert anybody.post("/token/verify", {"token": slid}).status_code == 401
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {slid}")
    assert client.get("/").status_code == 401
    # The revocation is kept for as long as the token could have been refreshed.
    basic = base64.b64encode(f"{shared_client.name}:{shared_client.secret}".encode()).decode()
    payload = SlidingToken(slid, verify=False).payload
    eventually(
        lambda: any(
            entry.get("id") == payload["jti"] and entry["lapses_at"] >= payload["refresh_exp"] + 120
            for entry in shared_server.ask("GET", "/revocations", basic=basic)[1]["entries"]
        )
    )


def test_only_access_tokens_and_sliding_ones_let_anybody_in(
    shared_server: Server, shared_client: Credentials, follow_from_django: Follow
) -> None:
    follow_from_django(shared_server.url, shared_client)
    client, refresh = log_in()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {refresh}")
    assert client.get("/").status_code == 401
    # The token has the right type by simplejwt's claim only.
    for claims in ({"token_use": "id"}, {"typ": "Refresh"}, {"type": 7}):
        token = AccessToken.for_user(User(pk=1))
        token.payload.update(claims)
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
        assert client.get("/").status_code == 401, claims


def test_a_token_from_the_future_is_refused(
    shared_server: Server, shared_client: Credentials, follow_from_django: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow_from_django(shared_server.url, shared_client)
    monkeypatch.setattr(state, "token_backend", TokenBackend("HS256", settings.SECRET_KEY, leeway=7200))
    client, anybody = APIClient(), APIClient()
    for ahead, skew, is_good in ((1, 3, True), (3600, 3, False), (3600, 4000, True)):
        settings.ADIEU["skew"] = skew
        access, refresh, sliding = (
            kind.for_user(User.objects.get()) for kind in (AccessToken, RefreshToken, SlidingToken)
        )
        for token in (access, refresh, sliding):
            token.set_iat(at_time=token.current_time + timedelta(seconds=ahead))
        for token in (access, sliding):
            client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
            assert (client.get("/").status_code == 200) == is_good, (ahead, token.token_type)
        for path, name, token in (
            ("/token/verify", "token", access),
            ("/token/verify", "token", refresh),
            ("/sliding/refresh", "token", sliding),
            ("/token/refresh", "refresh", refresh),
        ):
            assert (anybody.post(path, {name: str(token)}).status_code == 200) == is_good, (ahead, path)


def test_a_token_whose_id_has_another_name_or_none_can_be_logged_out(
    shared_server: Server, shared_client: Credentials, follow_from_django: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow_from_django(shared_server.url, shared_client)
    for claim in ("token_id", None):
        monkeypatch.setattr(api_settings, "JTI_CLAIM", claim)
        token, another = (AccessToken.for_user(User(pk=1)) for _ in range(2))
        another.payload["nonce"] = "another"
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
        assert client.get("/").status_code == 200
        assert client.post("/logout").status_code == 200
        assert client.get("/").status_code == 401
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {another}")
        assert client.get("/").status_code == 200


@pytest.mark.parametrize("setting", sorted(SERIALIZERS))
def test_a_project_with_a_view_that_asks_nobody_does_not_start(setting: str) -> None:
    bare = f"rest_framework_simplejwt.serializers.{SERIALIZERS[setting].rpartition('.')[2]}"
    assert setting in start_a_project(simple_jwt={**SERIALIZERS, setting: bare})


def test_nor_does_one_with_an_authentication_that_asks_nobody() -> None:
    bare = "rest_framework_simplejwt.authentication.JWTAuthentication"
    authentication = ["adieu.django.JWTAuthentication", bare]
    assert "DEFAULT_AUTHENTICATION_CLASSES" in start_a_project(authentication=authentication)


SHOPAUTH = """
from {module} import {name}
import {imports}

class CookieAuthentication({name}):
    def get_header(self, request):
        return b"Bearer " + request.COOKIES["token"].encode()
"""


@pytest.mark.parametrize("imports", ["json", "adieu.django"])
@pytest.mark.parametrize("name", ["JWTAuthentication", "JWTStatelessUserAuthentication"])
@pytest.mark.parametrize("module", ["adieu.django", "rest_framework_simplejwt.authentication"])
def test_an_authentication_of_the_projects_own_must_be_derived_from_ours(
    tmp_path: Path, module: str, name: str, imports: str
) -> None:
    (tmp_path / "shopauth.py").write_text(SHOPAUTH.format(module=module, name=name, imports=imports))
    own = "shopauth.CookieAuthentication"
    authentication = ["rest_framework.authentication.SessionAuthentication", own]
    error = start_a_project(authentication=authentication, path=tmp_path)
    if module == "adieu.django":
        assert error == ""
    else:
        assert "DEFAULT_AUTHENTICATION_CLASSES" in error
        assert own in error


def test_a_serializer_of_the_projects_own_must_be_derived_from_ours(
    shared_server: Server, shared_client: Credentials, follow_from_django: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow_from_django(shared_server.url, shared_client)
    monkeypatch.setattr(api_settings, "TOKEN_VERIFY_SERIALIZER", "rest_framework.serializers.Serializer")
    blocklist().close()
    blocklist.cache_clear()
    with pytest.raises(ImproperlyConfigured, match="TOKEN_VERIFY_SERIALIZER"):
        blocklist()


def start_a_project(
    simple_jwt: dict[str, str] = SERIALIZERS,
    authentication: Sequence[str] = ("adieu.django.JWTAuthentication",),
    path: Path = Path(),
) -> str:
    """Loads a project with these settings as a server does, with modules of its own; returns the error."""
    program = f"""
import sys
sys.path.append({str(path)!r})
from django.conf import settings
settings.configure(
    SECRET_KEY="k" * 50, ADIEU={{}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"],
    REST_FRAMEWORK={{"DEFAULT_AUTHENTICATION_CLASSES": {list(authentication)!r}}}, SIMPLE_JWT={simple_jwt!r},
)
import django
django.setup()
import rest_framework_simplejwt.views
import adieu.django
from django.core.signals import request_started
request_started.send(None)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=TEST_TIMEOUT, check=False
    )
    if done.returncode == 0:
        return ""
    assert "ImproperlyConfigured" in done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("issuer", [None, "https://shop.example"])
def test_everything_of_a_user_ends(
    shared_server: Server,
    shared_client: Credentials,
    follow_from_django: Follow,
    monkeypatch: pytest.MonkeyPatch,
    issuer: str | None,
) -> None:
    monkeypatch.setattr(api_settings, "ISSUER", issuer)
    monkeypatch.setattr(state, "token_backend", TokenBackend("HS256", settings.SECRET_KEY, issuer=issuer))
    follow_from_django(shared_server.url, shared_client)
    client, refresh = log_in()
    assert client.get("/").status_code == 200
    blocklist().revoke_subject("1")
    assert client.get("/").status_code == 401
    assert client.post("/token/refresh", {"refresh": refresh}).status_code == 401


def test_what_can_not_be_known_or_done_is_answered_503(
    client: Credentials, proxy: Proxy, follow_from_django: Follow
) -> None:
    follow_from_django(proxy.url, client)
    browser, _ = log_in()
    assert readiness().status_code == 200
    proxy.cut()
    not_durable = browser.post("/logout")
    eventually(lambda: browser.get("/").status_code == 503)
    for answer in (not_durable, browser.get("/")):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json() == {"detail": "Please try again."}
    assert readiness().status_code == 503
