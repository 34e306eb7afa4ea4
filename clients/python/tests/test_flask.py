"""Flask-JWT-Extended with the real packages."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from adieu_server import Credentials, Server
from conftest import PATIENCE, eventually
from flask import Flask
from flask.testing import FlaskClient
from flask_jwt_extended import JWTManager, create_access_token, create_refresh_token, get_jwt, jwt_required
from flask_smorest import Api
from tcp_proxy import Proxy

import adieu
from adieu.flask import Blocklist

Make = Callable[..., FlaskClient]


@pytest.fixture
def application(request: pytest.FixtureRequest) -> Make:
    """Makes a small application, on a node that is reached at a URL."""

    def make(url: str, credentials: Credentials, *, with_smorest: bool = False) -> FlaskClient:
        blocklist = Blocklist(url, credentials.name, credentials.secret, timeout=1)
        request.addfinalizer(blocklist.close)
        blocklist.wait_ready(PATIENCE)
        app = Flask(__name__)
        app.config.update(JWT_SECRET_KEY="k" * 32, JWT_ACCESS_TOKEN_EXPIRES=timedelta(minutes=5))
        if with_smorest:
            app.config.update(API_TITLE="a", API_VERSION="1", OPENAPI_VERSION="3.0.3")
            Api(app)
        blocklist.protect(JWTManager(app))

        @app.get("/")
        @jwt_required()  # type: ignore[untyped-decorator]
        def protected() -> str:
            return "welcome"

        @app.post("/refresh")
        @jwt_required(refresh=True)  # type: ignore[untyped-decorator]
        def refresh() -> str:
            return "refreshed"

        @app.post("/logout")
        @jwt_required(verify_type=False)  # type: ignore[untyped-decorator]
        def log_out() -> str:
            blocklist.revoke(get_jwt())
            return "bye"

        @app.get("/tokens")
        def tokens() -> dict[str, str]:
            claims = {"sid": "a session"}
            return {
                "access": create_access_token("jose"),
                "refresh": create_refresh_token("jose"),
                "of_node": create_access_token("jose", additional_claims=claims),
            }

        return app.test_client()

    return make


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_revoked_token_is_refused(shared_server: Server, shared_client: Credentials, application: Make) -> None:
    client = application(shared_server.url, shared_client)
    tokens = client.get("/tokens").json
    assert tokens is not None
    assert client.get("/", headers=bearer(tokens["access"])).status_code == 200
    assert client.post("/logout", headers=bearer(tokens["access"])).status_code == 200
    refused = client.get("/", headers=bearer(tokens["access"]))
    assert (refused.status_code, refused.json) == (401, {"msg": "Token has been revoked"})

    assert client.post("/refresh", headers=bearer(tokens["refresh"])).status_code == 200
    assert client.post("/logout", headers=bearer(tokens["refresh"])).status_code == 200
    assert client.post("/refresh", headers=bearer(tokens["refresh"])).status_code == 401


@pytest.mark.parametrize("with_smorest", [False, True])
def test_what_can_not_be_known_or_done_is_answered_503(
    client: Credentials, proxy: Proxy, application: Make, *, with_smorest: bool
) -> None:
    browser = application(proxy.url, client, with_smorest=with_smorest)
    tokens = browser.get("/tokens").json
    assert tokens is not None
    proxy.cut()
    not_durable = browser.post("/logout", headers=bearer(tokens["access"]))
    assert not_durable.status_code == 503
    eventually(lambda: browser.get("/", headers=bearer(tokens["access"])).status_code == 503)
    stale = browser.get("/", headers=bearer(tokens["access"]))
    for answer in (not_durable, stale):
        assert answer.headers["Retry-After"] == "1"
        assert "127.0.0.1" not in answer.text
        assert "Please try again." in answer.text


def test_the_errors_are_those_of_the_package() -> None:
    assert issubclass(Blocklist.stale_error, adieu.StaleError)
    assert issubclass(Blocklist.unavailable_error, adieu.UnavailableError)
