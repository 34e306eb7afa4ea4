"""A stolen key, and a claim such as a tenant, end all tokens that have them."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from conftest import eventually
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import Depends, FastAPI, WebSocket
from flask import Flask
from flask_jwt_extended import JWTManager, create_access_token, jwt_required
from starlette.testclient import TestClient

import adieu.fastapi
import adieu.flask
from adieu import Blocklist, InvalidClaimsError, Verifier
from adieu.aio import AsyncBlocklist
from adieu.index import Index, claims_of
from adieu.keys import of_document

# It is about the interface, and about the implementation in Python.
pytestmark = pytest.mark.pure

NOW = int(time.time())
OTHER = "https://other.example"

VALUES: list[tuple[str, list[Any], list[Any]]] = [
    ("acme", ["acme", ["globex", "acme"], ("acme",)], ["Acme", "acme ", "", [["acme"]], {"acme": "acme"}, None, []]),
    ("jos\u00e9", ["jos\u00e9"], ["jose\u0301", "jos\ud800"]),
    ("true", [True, "true", [False, True]], [1, 1.0, False, "True", None]),
    ("false", [False], [0, "", None, []]),
    ("1", [1, 1.0, "1", [1.0]], [True, 1.5, "1.0", "01", -1, 10]),
    ("0", [0, 0.0, -0.0], [False, None, "-0", ""]),
    ("-5", [-5, -5.0, "-5"], [5, -5.5]),
    ("1e3", ["1e3"], [1000, 1000.0]),
    ("1000", [1000, 1e3], ["1e3"]),
    ("9007199254740991", [2**53 - 1, float(2**53 - 1)], [2**53, 2.0**53]),
    ("9007199254740992", ["9007199254740992"], [2**53, 2.0**53, -(2**53)]),
    ("-9007199254740991", [-(2**53) + 1], [-(2**53)]),
    ("inf", ["inf"], [float("inf"), float("-inf")]),
    ("nan", ["nan"], [float("nan")]),
    ("null", ["null"], [None, [None]]),
    ("a\x1fb", ["a\x1fb"], ["b", "a"]),
]
"""A revoked value, claims that have it, and claims that do not."""


def payload_of(**claims: Any) -> dict[str, Any]:
    return {"jti": "some id", "sub": "jose", "iat": NOW - 10, "exp": NOW + 900, **claims}


def an_entry(kind: str, **members: Any) -> dict[str, Any]:
    return {"issuer": "adieu", "kind": kind, "lapses_at": NOW + 10_000, **members}


@pytest.mark.parametrize(("value", "matching", "others"), VALUES, ids=[repr(value) for value, _, _ in VALUES])
def test_a_claim_matches_by_its_text(value: str, matching: list[Any], others: list[Any]) -> None:
    index = Index("adieu")
    index.extend([an_entry("claim", name="tenant", value=value, issued_until=NOW)])
    for claim in matching:
        assert index.is_revoked(claims_of(payload_of(tenant=claim), "sub")), repr(claim)
        # Only this claim, and only of this issuer.
        assert not index.is_revoked(claims_of(payload_of(Tenant=claim, tenants=claim), "sub"))
        assert not index.is_revoked(claims_of(payload_of(tenant=claim, iss=OTHER), "sub"))
    for claim in others:
        assert not index.is_revoked(claims_of(payload_of(tenant=claim), "sub")), repr(claim)
    assert not index.is_revoked(claims_of(payload_of(), "sub"))


def test_a_claim_is_revoked_up_to_the_second_of_the_latest_cut_off() -> None:
    index = Index("adieu")
    for until in (NOW - 50, NOW - 20, NOW - 90):
        index.extend([an_entry("claim", name="tenant", value="acme", issued_until=until)])
    for issued_at, expected in ((NOW - 100, True), (NOW - 20, True), (NOW - 19.001, True), (NOW - 19, False)):
        assert index.is_revoked(claims_of(payload_of(tenant="acme", iat=issued_at), "sub")) == expected, issued_at
    unknown = payload_of(tenant="acme")
    del unknown["iat"]
    assert index.is_revoked(claims_of(unknown, "sub"))


def test_a_key_is_revoked_whenever_the_token_was_issued() -> None:
    index = Index("adieu")
    index.extend([an_entry("key", id="kid-1"), an_entry("key", id="kid-2", issuer=OTHER)])

    def is_revoked(key: str | None, **claims: Any) -> bool:
        return index.is_revoked(claims_of(payload_of(**claims), "sub", kid=key))

    assert is_revoked("kid-1")
    assert is_revoked("kid-1", iat=NOW + 100_000)
    assert is_revoked("kid-2", iss=OTHER)
    assert not is_revoked("kid-2")
    assert not is_revoked("kid-1", iss=OTHER)
    assert not is_revoked("KID-1")
    assert not is_revoked(None)
    # It is not an id of anything else.
    assert not is_revoked(None, jti="kid-1", sid="kid-1", sub="kid-1", kid="kid-1")


def test_claims_without_a_revocation_are_not_looked_at() -> None:
    class Watched(dict[str, Any]):
        asked: set[str]

        def get(self, key: str, default: Any = None) -> Any:
            self.asked.add(key)
            return super().get(key, default)

    payload = Watched(payload_of(tenant="acme", role="admin"))
    payload.asked = set()
    index = Index("adieu")
    index.extend([an_entry("claim", name="tenant", value="globex", issued_until=NOW, issuer=OTHER)])
    assert not index.is_revoked(claims_of(payload, "sub"))
    assert payload.asked == {"iss", "jti", "sid", "sub", "iat", "exp"}
    index.extend([an_entry("claim", name="tenant", value="globex", issued_until=NOW)])
    assert not index.is_revoked(claims_of(payload, "sub"))
    assert payload.asked == {"iss", "jti", "sid", "sub", "iat", "exp", "tenant"}


@pytest.fixture
def blocklist() -> Iterator[Blocklist]:
    with Blocklist.in_memory() as blocklist:
        yield blocklist


def revoke_key(blocklist: Blocklist, kid: str, **issuer: str) -> None:
    """Revokes a key at the node of this blocklist, as an administrator does, and waits until it is known here."""
    blocklist._node.revoke([{"key": kid, **issuer}], 1)
    payload = payload_of() if not issuer else payload_of(iss=issuer["issuer"])
    eventually(lambda: blocklist.is_revoked(payload, kid=kid))


def test_an_administrator_revokes_a_key(blocklist: Blocklist) -> None:
    revoke_key(blocklist, "kid-1")
    revoke_key(blocklist, "kid-2", issuer=OTHER)
    for payload, kid in ((payload_of(), "kid-1"), (payload_of(iss=OTHER), "kid-2")):
        assert blocklist.is_revoked(payload, kid=kid)
        assert not blocklist.revoke_once(payload, kid=kid)
        assert not blocklist.is_revoked(payload)
        assert not blocklist.is_revoked(payload, kid="kid-3")
    assert not blocklist.is_revoked(payload_of(), kid="kid-2")


def test_an_application_revokes_a_claim(blocklist: Blocklist) -> None:
    values: list[Any] = ["acme", 7, 7.0, True]
    for value in values:
        blocklist.revoke_claim("tenant", value)
        assert blocklist.is_revoked(payload_of(tenant=value))
        assert not blocklist.is_revoked(payload_of(tenant=value, iat=int(time.time()))), "it is issued afterwards"
        assert not blocklist.revoke_once(payload_of(tenant=value))
    assert not blocklist.is_revoked(payload_of(tenant="globex"))
    blocklist.revoke_claim("tenant", "globex", issuer=OTHER)
    assert not blocklist.is_revoked(payload_of(tenant="globex"))
    assert blocklist.is_revoked(payload_of(tenant="globex", iss=OTHER))


def test_an_application_revokes_a_user_of_another_issuer(blocklist: Blocklist) -> None:
    blocklist.revoke_subject("ann", issuer=OTHER)
    assert blocklist.is_revoked(payload_of(sub="ann", iss=OTHER))
    assert not blocklist.is_revoked(payload_of(sub="ann"))


def test_what_can_not_be_revoked_is_a_type_error(blocklist: Blocklist) -> None:
    wrong: Any
    for wrong in (None, 1.5, 2**53, float("nan"), ["acme"], {}, b"acme"):
        with pytest.raises(TypeError, match="a claim has a name"):
            blocklist.revoke_claim("tenant", wrong)
    for wrong in (7, b"kid", ["kid"]):
        with pytest.raises(InvalidClaimsError, match="kid"):
            blocklist.is_revoked(payload_of(), kid=wrong)


def test_both_can_be_awaited(blocklist: Blocklist) -> None:
    revoke_key(blocklist, "kid-1", issuer=OTHER)

    async def run() -> None:
        awaited = AsyncBlocklist(blocklist=blocklist)
        assert await awaited.is_revoked(payload_of(iss=OTHER), kid="kid-1")
        assert not await awaited.revoke_once(payload_of(iss=OTHER), kid="kid-1")
        await awaited.revoke_claim("tenant", "acme")
        assert await awaited.is_revoked(payload_of(tenant="acme"))
        await awaited.revoke_subject("jose", issuer=OTHER)
        assert await awaited.is_revoked(payload_of(sub="jose", iss=OTHER))

    asyncio.run(run())


def test_a_callback_comes_for_both(blocklist: Blocklist) -> None:
    called: list[str] = []
    payload = payload_of(jti="other", tenant="acme")
    blocklist.on_revoked(payload_of(), lambda: called.append("key"), kid="kid-1")
    blocklist.on_revoked(payload, lambda: called.append("claim"))
    payload["tenant"] = "changed"
    blocklist.revoke_claim("tenant", "acme")
    revoke_key(blocklist, "kid-1")
    eventually(lambda: sorted(called) == ["claim", "key"])


def test_flask_jwt_extended_gives_the_key_of_the_header() -> None:
    with adieu.flask.Blocklist.in_memory() as blocklist:
        app = Flask("test")
        app.config["JWT_SECRET_KEY"] = "k" * 32
        blocklist.protect(JWTManager(app))

        @app.get("/")
        @jwt_required()  # type: ignore[untyped-decorator]
        def protected() -> str:
            return "welcome"

        with app.app_context():
            tokens = [create_access_token("jose", additional_headers={"kid": kid}) for kid in ("kid-1", "kid-2")]
            of_acme = create_access_token("jose", additional_claims={"tenant": ["acme"]})

        def statuses() -> list[int]:
            headers = [{"Authorization": f"Bearer {token}"} for token in [*tokens, of_acme]]
            return [app.test_client().get("/", headers=each).status_code for each in headers]

        assert statuses() == [200, 200, 200]
        revoke_key(blocklist, "kid-1")
        assert statuses() == [401, 200, 200]
        blocklist.revoke_claim("tenant", "acme")
        assert statuses() == [401, 200, 401]


def test_fastapi_gives_the_key_of_the_header() -> None:
    with adieu.fastapi.Blocklist.in_memory() as blocklist:
        app = FastAPI()
        current_token = adieu.fastapi.NotRevoked(blocklist, lambda token: jwt.decode(token, "k" * 32, ["HS256"]))

        @app.get("/")
        def protected(payload: dict[str, Any] = Depends(current_token)) -> Any:  # noqa: B008
            return payload["sub"]

        token = jwt.encode(payload_of(), "k" * 32, headers={"kid": "kid-1"})
        client = TestClient(app, headers={"Authorization": f"Bearer {token}"})
        assert client.get("/").status_code == 200
        revoke_key(blocklist, "kid-1")
        assert client.get("/").status_code == 401


def test_a_verifier_knows_the_key_also_if_the_header_does_not_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {kid: Ed25519PrivateKey.generate() for kid in ("kid-1", "kid-2")}
    known = [(kid, "EdDSA", key.public_key()) for kid, key in keys.items()]
    monkeypatch.setattr("adieu.pyjwt._Keys._read", lambda *_: known)
    with Verifier("memory:", issuer="adieu", keys_url="https://keys.example") as verifier:
        verifier.wait_ready(10)

        def verdict(name: str, **headers: str) -> str:
            token = jwt.encode(
                payload_of(iss="adieu"), keys[name], algorithm="EdDSA", headers={"typ": "at+jwt", **headers}
            )
            try:
                claims = verifier.verify(token)
            except adieu.TokenError as error:
                return error.code
            assert claims.kid == name
            return "good"

        assert verdict("kid-1") == "good"
        revoke_key(verifier.blocklist, "kid-1")
        assert verdict("kid-1", kid="kid-1") == "token_revoked"
        assert verdict("kid-1") == "token_revoked"
        assert verdict("kid-2", kid="kid-2") == "good"
        assert verdict("kid-2") == "good"


@pytest.mark.parametrize("headers", [{"kid": "kid-1"}, {}], ids=["named", "not named"])
@pytest.mark.parametrize("without", ["", "iss", "jti"])
def test_a_websocket_is_closed_when_the_key_of_its_token_is_revoked(
    monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], without: str
) -> None:
    key = Ed25519PrivateKey.generate()
    monkeypatch.setattr("adieu.pyjwt._Keys._read", lambda *_: [("kid-1", "EdDSA", key.public_key())])
    with adieu.fastapi.Blocklist.in_memory(issuer="shop") as blocklist:
        verifier = Verifier(issuer="shop", keys_url="https://keys.example", profile="plain", blocklist=blocklist)
        verifier.wait_ready(10)
        app, current_token = FastAPI(), adieu.fastapi.NotRevoked(blocklist, verifier.verify)

        @app.websocket("/news")
        async def news(socket: WebSocket, claims: adieu.Claims = Depends(current_token)) -> None:  # noqa: B008
            await socket.accept()
            loop, revoked = asyncio.get_running_loop(), asyncio.Event()
            blocklist.on_revoked(claims, lambda: loop.call_soon_threadsafe(revoked.set), kid=claims.kid)
            await socket.send_text(claims.token)
            await revoked.wait()
            await socket.close(4401)

        payload = {name: value for name, value in payload_of(iss="shop").items() if name != without}
        token = jwt.encode(payload, key, algorithm="EdDSA", headers=headers)
        client = TestClient(app, headers={"Authorization": f"Bearer {token}"})
        with client.websocket_connect("/news") as socket:
            assert socket.receive_text() == token
            blocklist._node.revoke([{"key": "kid-1", "issuer": "shop"}], 1)
            closed = socket.receive()
            assert (closed["type"], closed["code"]) == ("websocket.close", 4401)
        verifier.close()


def test_a_key_without_an_id_has_that_of_its_thumbprint() -> None:
    # RFC 7638 section 3.1
    key = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjB"
        "ZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8"
        "KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_"
        "xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
    }
    [(kid, algorithm, _)] = of_document(json.dumps({"keys": [key]}).encode(), "RS256")
    assert algorithm == "RS256"
    assert kid == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
