"""Checks the table of verdicts that every implementation reads; `tests/verdicts.md` describes it."""

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import django_project  # noqa: F401  First: it configures Django.
import jwt
import pytest
from adieu_server import REPOSITORY, Credentials, Server, running
from conftest import TEST_TIMEOUT
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from fake_node import a_node_that_answers
from fastapi import Depends, FastAPI
from flask import Flask
from flask_jwt_extended import JWTManager, jwt_required
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView
from rest_framework_simplejwt import state
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.settings import api_settings
from starlette.testclient import TestClient

import adieu.django
import adieu.fastapi
import adieu.flask
from adieu import Blocklist, TokenError, Verifier, token_id_of
from adieu.kind import is_one_of

TABLE = json.loads((REPOSITORY / "tests" / "verdicts.json").read_text())
ROWS = {row["name"]: row for row in TABLE["rows"]}

TIMES = "PyJWT checks the times, with one leeway for all of them"
HEADER = "PyJWT requires no type in the header"
NO_KIND = "a token without a kind counts as an access token, unless the library requires one"
NO_ID = "Flask-JWT-Extended requires no jti"
AUDIENCE = "the library checks aud only if it is configured with an audience"
NUMBER = "simplejwt lets PyJWT reject a number as sub"
LENIENT = "the profile `plain` accepts it, and the settings of this issuer do not"

SKIPPED = {
    "fastapi": {
        "a generic header is not enough": HEADER,
        "nothing says what it is": NO_KIND,
        "bearer says as much as nothing": NO_KIND,
        "iat is a second ahead": TIMES,
        "iat and nbf are two seconds ahead": TIMES,
    },
}
SKIPPED["flask"] = {
    **SKIPPED["fastapi"],
    "no jti, which is not accepted": NO_ID,
    "a jti that is null": "Flask-JWT-Extended makes a missing jti null",
    "for another audience": AUDIENCE,
    "meant for several others": AUDIENCE,
}
SKIPPED["django"] = {
    **SKIPPED["fastapi"],
    "for another audience": AUDIENCE,
    "meant for several others": AUDIENCE,
    "an integer subject, which is accepted": NUMBER,
    "a negative integer subject": NUMBER,
    "an integer subject that would be the same as another without its sign": NUMBER,
}
SKIPPED["verifier"] = {
    "nothing says what it is": LENIENT,
    "bearer says as much as nothing": LENIENT,
    "no jti, which is not accepted": LENIENT,
    "an integer subject, which is not accepted": LENIENT,
    "no iss, which is not accepted": LENIENT,
}
"""Rows that a client cannot judge, and the reason."""


@dataclass
class Signed:
    """A row with its signed token."""

    row: Mapping[str, Any]
    token: str
    claims: Mapping[str, Any]

    @property
    def issuer(self) -> str:
        """The issuer whose rules apply."""
        named = self.claims.get("iss")
        return named if isinstance(named, str) and named in TABLE["issuers"] else str(self.row["issuer"])


def sign(row: Mapping[str, Any], now: int) -> Signed:
    # Signed by hand, because a library would reject some of these.
    claims = {
        name: now + value if name in ("exp", "nbf", "iat") and type(value) in (int, float) else value
        for name, value in row["claims"].items()
    }
    key = load_pem_private_key(TABLE["issuers"][row["issuer"]]["private_key"].encode(), None)
    assert isinstance(key, Ed25519PrivateKey)
    signed = b".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "EdDSA", **row["header"]}, claims))
    return Signed(row, (signed + b"." + _encoded(key.sign(signed))).decode(), claims)


def _encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


@dataclass
class InForce:
    server: Server
    client: Credentials
    rows: list[Signed]


@pytest.fixture(scope="module")
def in_force(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InForce]:
    """A node that trusts the issuers of all rows, and has all their revocations."""
    folder: Path = tmp_path_factory.mktemp("verdicts")
    trusted = []
    for number, (name, issuer) in enumerate(TABLE["issuers"].items()):
        key = folder / f"{number}.pem"
        key.write_text(issuer["public_key"])
        settings = "".join(f", {setting} = {json.dumps(value)}" for setting, value in issuer["settings"].items())
        settings += f", revocable_claims = {json.dumps(issuer.get('revocable_claims', []))}"
        settings += f", key_id = {json.dumps(issuer['key_id'])}" if "key_id" in issuer else ""
        trusted.append(f'{{name = "{name}", pem_file = "{key}"{settings}}}')
    with running(folder / "data", ADIEU_TRUSTED_ISSUER=f"[{', '.join(trusted)}]") as server:
        client = server.add_client("shop")
        rows = [sign(row, int(time.time())) for row in ROWS.values()]
        revocations = [
            {"token": signed.token} if "token" in revoked else {**revoked, "issuer": signed.row["issuer"]}
            for signed in rows
            for revoked in signed.row.get("revoked", [])
        ]
        status, answer = server.ask(
            "POST", "/revocations", {"revocations": revocations}, token=server.log_in_as_admin("ana")
        )
        assert status == 200, answer
        yield InForce(server, client, rows)


@pytest.fixture
def follow_as(in_force: InForce, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Creates a blocklist of a framework that follows the node."""

    def make(kind: type[Blocklist], issuer: str) -> Blocklist:
        # Only tokens without an issuer count as tokens of the blocklist's issuer.
        blocklist = kind(in_force.server.url, in_force.client.name, in_force.client.secret, issuer=issuer)
        request.addfinalizer(blocklist.close)
        blocklist.wait_ready(TEST_TIMEOUT)
        return blocklist

    return make


def test_is_revoked_says_what_the_table_says(in_force: InForce, follow_as: Callable[..., Blocklist]) -> None:
    blocklists = {name: follow_as(Blocklist, name) for name in TABLE["issuers"]}
    asked = 0
    for signed in in_force.rows:
        blocklist = blocklists[signed.issuer]
        if "is_revoked" in signed.row:
            asked += 1
            kid = signed.row["header"].get("kid")
            found = blocklist.is_revoked(signed.claims, signed.token, kid=kid)
            assert found == signed.row["is_revoked"], signed.row["name"]
            if "jti" in signed.claims:
                assert blocklist.is_revoked(signed.claims, kid=kid) == found, signed.row["name"]
        if signed.row.get("without_token") == "error":
            with pytest.raises(TypeError, match="give it as token"):
                blocklist.is_revoked(signed.claims)
    assert asked == sum("is_revoked" in row for row in ROWS.values()) > 0


def test_what_stands_for_a_token_without_jti_is_what_the_table_says() -> None:
    assert TABLE["token_ids"]
    for example in TABLE["token_ids"]:
        assert token_id_of(example["token"]) == example["token_id"]


def test_what_is_no_signed_token_stands_for_none() -> None:
    token = TABLE["token_ids"][0]["token"]
    for other in (f"Bearer {token}", f"{token}\n", f" {token}", f"{token}.{token}", "a.b", "a..c", "", "\u2603.a.b"):
        for given in (other, other.encode()):
            with pytest.raises(TypeError, match="as it was sent"):
                token_id_of(given)


def test_the_kinds_that_are_let_in_are_a_collection_and_not_one_name(follow_as: Callable[..., Any]) -> None:
    # With a string instead of a collection, "in" would search for substrings.
    issuer = next(iter(TABLE["issuers"]))
    with pytest.raises(TypeError, match="types must be a collection"):
        adieu.fastapi.NotRevoked(follow_as(adieu.fastapi.Blocklist, issuer), decode_by(issuer), types="access")
    with pytest.raises(TypeError, match="types must be a collection"):
        follow_as(adieu.flask.Blocklist, issuer).protect(JWTManager(Flask("test")), types="access")


def test_two_kinds_are_none_of_several() -> None:
    both = ("access", "refresh")
    assert is_one_of(both, {"typ": "at+jwt"}, {"type": "access"})
    assert not is_one_of(both, {"typ": "at+jwt"}, {"type": "refresh"})
    assert not is_one_of(both, {}, {"type": "access", "token_use": "refresh"})


def decode_by(name: str) -> Callable[[str], Mapping[str, Any]]:
    """Verifies a token as an application with these settings for the issuer does."""
    issuer = TABLE["issuers"][name]
    settings = issuer["settings"]
    required = ["exp", "sub"]
    required += [] if settings.get("accept_missing_issuer") else ["iss"]
    required += [] if settings.get("accept_missing_token_id") else ["jti"]

    def decode(token: str) -> Mapping[str, Any]:
        options: Any = {
            "require": required,
            "verify_sub": not settings.get("accept_integer_subject"),
            "verify_iss": "iss" in required,
        }
        payload: Mapping[str, Any] = jwt.decode(
            token, issuer["public_key"], algorithms=["EdDSA"], issuer=name, options=options
        )
        return payload

    return decode


def verifier_of(name: str, blocklist: Blocklist, request: pytest.FixtureRequest) -> Verifier:
    issuer = TABLE["issuers"][name]
    source = {"key": issuer["public_key"], "algorithm": "EdDSA"}
    if "key_id" in issuer:
        # A fixed key has no other id than its thumbprint.
        key = load_pem_public_key(issuer["public_key"].encode())
        assert isinstance(key, Ed25519PublicKey)
        public = _encoded(key.public_bytes_raw()).decode()
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": public, "alg": "EdDSA", "kid": issuer["key_id"]}
        published = a_node_that_answers(json.dumps({"keys": [jwk]}).encode())
        source = {"keys_url": published.__enter__()}
        request.addfinalizer(lambda: published.__exit__(None, None, None))
    profile: Any = "plain" if issuer["settings"] else "rfc9068"
    verifier = Verifier(blocklist=blocklist, issuer=name, profile=profile, **source)
    request.addfinalizer(verifier.close)
    verifier.wait_ready(TEST_TIMEOUT)
    return verifier


def test_a_verifier_says_what_the_table_says(
    in_force: InForce, follow_as: Callable[..., Blocklist], request: pytest.FixtureRequest
) -> None:
    verifiers = {name: verifier_of(name, follow_as(Blocklist, name), request) for name in TABLE["issuers"]}
    skipped = SKIPPED["verifier"]
    assert skipped.keys() <= ROWS.keys(), "a row that is no longer there"
    asked, wrong = 0, []
    for signed in in_force.rows:
        try:
            verdict = "good"
            assert verifiers[signed.issuer].verify(signed.token) == signed.claims
        except TokenError as error:
            verdict = error.code
        if signed.row["name"] in skipped:
            assert verdict == "good", signed.row["name"]
            continue
        asked += 1
        if verdict != signed.row["verify"]:
            wrong.append((signed.row["name"], verdict))
    assert not wrong, "\n".join(map(str, wrong))
    assert asked + len(skipped) == len(ROWS)


def fastapi_application(blocklist: adieu.fastapi.Blocklist, name: str) -> Callable[[str], int]:
    app = FastAPI()
    current_token = adieu.fastapi.NotRevoked(blocklist, decode_by(name))

    @app.get("/")
    def protected(payload: Annotated[Mapping[str, Any], Depends(current_token)]) -> Any:
        return payload["sub"]

    client = TestClient(app)
    return lambda token: client.get("/", headers={"Authorization": f"Bearer {token}"}).status_code


def flask_application(blocklist: adieu.flask.Blocklist, name: str) -> Callable[[str], int]:
    app = Flask(name)
    issuer = TABLE["issuers"][name]
    settings = issuer["settings"]
    app.config.update(
        JWT_ALGORITHM="EdDSA",
        JWT_PUBLIC_KEY=issuer["public_key"],
        JWT_DECODE_ISSUER=None if settings.get("accept_missing_issuer") else name,
        JWT_VERIFY_SUB=not settings.get("accept_integer_subject"),
    )
    blocklist.protect(JWTManager(app))

    @app.get("/")
    @jwt_required()  # type: ignore[untyped-decorator]
    def protected() -> str:
        return "welcome"

    client = app.test_client()
    return lambda token: client.get("/", headers={"Authorization": f"Bearer {token}"}).status_code


def django_application(blocklist: adieu.django.Blocklist, name: str) -> Callable[[str], int]:
    class View(APIView):  # type: ignore[misc]
        authentication_classes = (adieu.django.JWTStatelessUserAuthentication,)
        permission_classes = (IsAuthenticated,)

        def get(self, _: Any) -> Any:
            return Response("welcome")

    view = View.as_view()
    issuer = TABLE["issuers"][name]
    settings = issuer["settings"]
    named = None if settings.get("accept_missing_issuer") else name
    backend = TokenBackend("EdDSA", verifying_key=issuer["public_key"], issuer=named)

    def ask(token: str) -> int:
        # A process has one of each.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(adieu.django, "blocklist", lambda: blocklist)
            patch.setattr(state, "token_backend", backend)
            patch.setattr(api_settings, "USER_ID_CLAIM", "sub")
            patch.setattr(api_settings, "TOKEN_TYPE_CLAIM", None)
            patch.setattr(api_settings, "JTI_CLAIM", None if settings.get("accept_missing_token_id") else "jti")
            request = APIRequestFactory().get("/", HTTP_AUTHORIZATION=f"Bearer {token}")
            status: int = view(request).status_code
            return status

    return ask


@pytest.mark.parametrize(
    ("glue", "kind", "application"),
    [
        ("fastapi", adieu.fastapi.Blocklist, fastapi_application),
        ("flask", adieu.flask.Blocklist, flask_application),
        ("django", adieu.django.Blocklist, django_application),
    ],
    ids=["fastapi", "flask", "django"],
)
def test_the_glue_lets_in_what_the_table_calls_good_and_nothing_else(
    in_force: InForce,
    follow_as: Callable[..., Any],
    glue: str,
    kind: type[Blocklist],
    application: Callable[[Any, str], Callable[[str], int]],
) -> None:
    ask = {name: application(follow_as(kind, name), name) for name in TABLE["issuers"]}
    skipped = SKIPPED[glue]
    assert skipped.keys() <= ROWS.keys(), "a row that is no longer there"
    asked, wrong = 0, []
    for signed in in_force.rows:
        name = signed.row["name"]
        if name in skipped:
            continue
        asked += 1
        status = ask[signed.issuer](signed.token)
        # Never an error of the server: Flask-JWT-Extended answers 422 to an invalid token.
        if (status == 200) != (signed.row["verify"] == "good") or status not in (200, 401, 422):
            wrong.append((name, status))
    assert not wrong, "\n".join(f"{name}: {status}" for name, status in wrong)
    assert asked + len(skipped) == len(ROWS)
