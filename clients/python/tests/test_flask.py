"""Flask-JWT-Extended with the real packages."""

import time
from collections.abc import Callable
from datetime import timedelta

import jwt
import pytest
from adieu_server import Credentials, Server
from conftest import TEST_TIMEOUT, eventually, new_id
from flask import Flask
from flask.testing import FlaskClient
from flask_jwt_extended import JWTManager, create_access_token, create_refresh_token, get_jwt, jwt_required
from flask_smorest import Api
from tcp_proxy import Proxy

import adieu
from adieu.flask import Adieu, Blocklist

KEY = "k" * 32
Make = Callable[..., FlaskClient]


@pytest.fixture
def application(request: pytest.FixtureRequest) -> Make:
    """Creates a small application that follows the node at a URL."""

    def make(url: str, credentials: Credentials, *, with_smorest: bool = False) -> FlaskClient:
        blocklist = Blocklist(url, credentials.name, credentials.secret, timeout=TEST_TIMEOUT)
        request.addfinalizer(blocklist.close)
        blocklist.wait_ready(TEST_TIMEOUT)
        app = Flask(__name__)
        app.config.update(
            JWT_SECRET_KEY=KEY,
            JWT_ACCESS_TOKEN_EXPIRES=timedelta(minutes=5),
            JWT_TOKEN_LOCATION=["headers", "cookies"],
            JWT_COOKIE_CSRF_PROTECT=False,
        )
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
            claims = {"sid": get_jwt()["sid"]}
            return create_access_token("jose", additional_claims=claims)  # type: ignore[no-any-return]

        @app.post("/logout")
        @jwt_required(verify_type=False)  # type: ignore[untyped-decorator]
        def log_out() -> str:
            blocklist.revoke(get_jwt())
            return "bye"

        app.add_url_rule("/readyz", view_func=blocklist.readiness)

        @app.post("/login")
        def log_in() -> dict[str, str]:
            claims = {"sid": new_id()}
            return {
                "access": create_access_token("jose", additional_claims=claims),
                "refresh": create_refresh_token("jose", additional_claims=claims),
            }

        return app.test_client()

    return make


def log_in(client: FlaskClient) -> dict[str, str]:
    tokens = client.post("/login").json
    assert isinstance(tokens, dict)
    return tokens


def a_token(**claims: object) -> str:
    now = int(time.time())
    payload = {"sub": "jose", "jti": new_id(), "iat": now, "exp": now + 300, "csrf": new_id(), **claims}
    return jwt.encode({name: value for name, value in payload.items() if value is not None}, KEY)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_logout_ends_the_whole_session(shared_server: Server, shared_client: Credentials, application: Make) -> None:
    client = application(shared_server.url, shared_client)
    for shown in ("access", "refresh"):
        tokens, others = log_in(client), log_in(client)
        assert client.get("/", headers=bearer(tokens["access"])).status_code == 200
        refreshed = client.post("/refresh", headers=bearer(tokens["refresh"])).text
        assert client.get("/", headers=bearer(refreshed)).status_code == 200

        assert client.post("/logout", headers=bearer(tokens[shown])).status_code == 200
        for method, path, token in (
            ("GET", "/", tokens["access"]),
            ("GET", "/", refreshed),
            ("POST", "/refresh", tokens["refresh"]),
            ("POST", "/logout", tokens[shown]),
        ):
            refused = client.open(path, method=method, headers=bearer(token))
            assert (refused.status_code, refused.json) == (401, {"msg": "Token has been revoked"}), (shown, path)
        assert client.get("/", headers=bearer(others["access"])).status_code == 200
        assert client.post("/refresh", headers=bearer(others["refresh"])).status_code == 200


def test_a_refresh_token_is_good_for_refreshing_only(
    shared_server: Server, shared_client: Credentials, application: Make
) -> None:
    client = application(shared_server.url, shared_client)
    tokens = log_in(client)
    assert client.get("/", headers=bearer(tokens["refresh"])).status_code == 422
    assert client.post("/refresh", headers=bearer(tokens["access"])).status_code == 422
    # Under every name for the kind: Flask-JWT-Extended knows only its own.
    for another in ({"type": "Refresh"}, {"token_type": "refresh"}, {"token_use": "id"}, {"typ": "Offline"}):
        assert client.get("/", headers=bearer(a_token(**another))).status_code == 422, another
    for access in ({}, {"type": "access"}, {"typ": "Bearer"}, {"token_use": "access"}):
        assert client.get("/", headers=bearer(a_token(**access))).status_code == 200, access


def test_a_token_from_the_future_is_refused(
    shared_server: Server, shared_client: Credentials, application: Make
) -> None:
    client, now = application(shared_server.url, shared_client), int(time.time())
    client.application.config["JWT_DECODE_LEEWAY"] = 7200
    for ahead, status in ((1, 200), (3600, 422)):
        for token_type, path in (("access", "/"), ("refresh", "/refresh")):
            token = a_token(iat=now + ahead, type=token_type, sid=new_id())
            answer = client.open(path, method="GET" if path == "/" else "POST", headers=bearer(token))
            assert answer.status_code == status, (ahead, path)


def test_a_token_without_jti_can_be_logged_out(
    shared_server: Server, shared_client: Credentials, application: Make
) -> None:
    client = application(shared_server.url, shared_client)
    token, another = a_token(jti=None), a_token(jti=None)
    assert client.get("/", headers=bearer(token)).status_code == 200
    assert client.post("/logout", headers=bearer(token)).status_code == 200
    assert client.get("/", headers=bearer(token)).status_code == 401
    client.set_cookie("access_token_cookie", token)
    # A second token in the request does not bypass the check.
    assert client.get("/", headers={"Cookie": f"access_token_cookie={token}", "X-Token": another}).status_code == 401
    assert client.get("/", headers=bearer(another)).status_code == 200


def test_a_token_that_no_revocation_could_name_is_no_good_one(
    shared_server: Server, shared_client: Credentials, application: Make
) -> None:
    client = application(shared_server.url, shared_client)
    for wrong in ({"sid": 7}, {"exp": None}, {"jti": ""}):
        assert client.get("/", headers=bearer(a_token(**wrong))).status_code == 422, wrong


@pytest.mark.parametrize("with_smorest", [False, True])
def test_what_can_not_be_known_or_done_is_answered_503(
    client: Credentials, proxy: Proxy, application: Make, *, with_smorest: bool
) -> None:
    browser = application(proxy.url, client, with_smorest=with_smorest)
    tokens = log_in(browser)
    assert browser.get("/readyz").status_code == 200
    proxy.cut()
    not_durable = browser.post("/logout", headers=bearer(tokens["access"]))
    assert not_durable.status_code == 503
    eventually(lambda: browser.get("/", headers=bearer(tokens["access"])).status_code == 503)
    stale = browser.get("/", headers=bearer(tokens["access"]))
    for answer in (not_durable, stale):
        assert answer.headers["Retry-After"] == "1"
        assert "127.0.0.1" not in answer.text
        assert "Please try again." in answer.text
    unready = browser.get("/readyz")
    assert unready.status_code == 503
    assert unready.get_json()["status"] == "stale"


def test_the_errors_are_those_of_the_package() -> None:
    assert issubclass(Blocklist.stale_error, adieu.StaleError)
    assert issubclass(Blocklist.unavailable_error, adieu.UnavailableError)


def test_a_list_of_issuers_is_not_the_issuer_of_the_blocklist() -> None:
    extension, app = Adieu(), Flask(__name__)
    app.config.update(JWT_SECRET_KEY=KEY, JWT_DECODE_ISSUER=["https://a.example", "https://b.example"])
    app.config.update(ADIEU_URL="memory:")
    JWTManager(app)
    extension.init_app(app)
    with app.app_context(), extension.blocklist as blocklist:
        blocklist.add("jti")
        assert "jti" in blocklist


@pytest.mark.parametrize("issuer", [None, "https://shop.example"])
def test_an_application_factory_initialises_the_extension(
    shared_server: Server, shared_client: Credentials, request: pytest.FixtureRequest, issuer: str | None
) -> None:
    extension, manager, app = Adieu(), JWTManager(), Flask(__name__)
    options = {"start_timeout": TEST_TIMEOUT, "timeout": TEST_TIMEOUT, "skew": 60}
    app.config.update(JWT_SECRET_KEY=KEY, ADIEU_URL=shared_server.url, ADIEU_CLIENT=shared_client.name)
    app.config.update(ADIEU_SECRET=shared_client.secret, ADIEU_OPTIONS=options, JWT_DECODE_LEEWAY=7200)
    app.config.update(JWT_DECODE_ISSUER=issuer)
    with pytest.raises(RuntimeError, match="JWTManager"):
        extension.init_app(app)
    manager.init_app(app)
    extension.init_app(app)
    request.addfinalizer(app.extensions["adieu"].close)

    @app.post("/logout")
    @jwt_required()  # type: ignore[untyped-decorator]
    def log_out() -> str:
        extension.blocklist.revoke(get_jwt())
        return "bye"

    user, now = new_id(), int(time.time())
    client, token, another = app.test_client(), *(a_token(type="access", iss=issuer, sub=user, iat=now) for _ in "ab")
    assert client.post("/logout", headers=bearer(token)).status_code == 200
    assert client.post("/logout", headers=bearer(token)).status_code == 401
    with app.app_context():
        extension.blocklist.revoke_subject(user)
    assert client.post("/logout", headers=bearer(another)).status_code == 401
    for ahead, status in ((30, 200), (600, 422)):
        early = a_token(type="access", iss=issuer, sub=new_id(), iat=now + ahead)
        assert client.post("/logout", headers=bearer(early)).status_code == status


def test_the_claim_that_names_the_user_is_that_of_the_application() -> None:
    extension, app, user = Adieu(), Flask(__name__), new_id()
    app.config.update(JWT_SECRET_KEY=KEY, JWT_IDENTITY_CLAIM="uid", ADIEU_URL="memory:")
    JWTManager(app)
    extension.init_app(app)

    @app.get("/")
    @jwt_required()  # type: ignore[untyped-decorator]
    def protected() -> str:
        return "welcome"

    client = app.test_client()
    with app.app_context(), extension.blocklist as blocklist:
        token = create_access_token(user)
        assert client.get("/", headers=bearer(token)).status_code == 200
        blocklist.revoke_subject(user)
        assert client.get("/", headers=bearer(token)).status_code == 401
