"""A decoded payload is judged by every kind of revocation, as the node itself would."""

import base64
import json
import math
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest
from adieu_server import REPOSITORY, Credentials, Server, running
from conftest import TEST_TIMEOUT, eventually, new_id
from fake_node import a_node_that_answers

from adieu import Blocklist, InvalidClaimsError, RefusedError, token_id_of

Follow = Callable[..., Blocklist]


def payload_of(token: str) -> dict[str, Any]:
    """Returns the claims of a token without verifying it."""
    middle = token.split(".")[1]
    payload = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    assert isinstance(payload, dict)
    return payload


def a_payload(**claims: Any) -> dict[str, Any]:
    """Returns the claims of an access token that was issued just now."""
    now = int(time.time())
    return {"jti": new_id(), "sub": "jose", "iat": now, "exp": now + 900, "type": "access", **claims}


@pytest.fixture
def blocklist(shared_server: Server, shared_client: Credentials, follow: Follow) -> Blocklist:
    return follow(shared_server.url, shared_client, start_timeout=TEST_TIMEOUT)


def test_a_logout_on_the_node_ends_its_tokens_here(shared_server: Server, blocklist: Blocklist) -> None:
    tokens = shared_server.log_in(new_id())
    other = shared_server.log_in(new_id())
    refreshed = shared_server.ask("POST", "/refresh", token=tokens["refresh_token"])[1]
    assert not blocklist.is_revoked(payload_of(tokens["access_token"]))

    assert shared_server.ask("POST", "/logout", token=tokens["access_token"])[0] == 200
    for token in (tokens["access_token"], refreshed["access_token"]):
        eventually(lambda token=token: blocklist.is_revoked(payload_of(token)))  # type: ignore[misc]
    assert not blocklist.is_revoked(payload_of(other["access_token"]))


NO_PAYLOADS: list[Any] = [None, "x", b"x", 7, 1.5, True, [], ["jti"], object()]


@pytest.mark.parametrize("ask", ["is_revoked", "revoke", "revoke_once"])
@pytest.mark.parametrize("payload", NO_PAYLOADS, ids=lambda payload: type(payload).__name__)
def test_what_is_no_payload_is_a_type_error_that_says_so(blocklist: Blocklist, ask: str, payload: Any) -> None:
    with pytest.raises(TypeError, match=f"must be a mapping, got {type(payload).__name__}"):
        getattr(blocklist, ask)(payload)


def test_what_is_no_id_or_token_is_a_type_error_that_says_so(blocklist: Blocklist) -> None:
    calls: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any], str]] = [
        *((blocklist.__contains__, (value,), {}, "id of a token is text") for value in (None, 7, b"x", ("x",))),
        *((blocklist.add, (value,), {}, "id of a token") for value in (None, 7, b"x", ["x"])),
        *((blocklist.update, (value,), {}, "several ids") for value in (None, 7, "abc", b"abc", {"x": 1})),
        (blocklist.update, (["x", None],), {}, "id of a token"),
        *((blocklist.revoke_subject, (value,), {}, "is text") for value in (None, b"x", 1.5, True)),
        *((blocklist.add, ("x",), {"exp": value}, "exp must be seconds") for value in ("soon", math.nan, True)),
        (blocklist.add, ("x",), {"keep_until": math.inf}, "keep_until must be seconds"),
        (blocklist.revoke, ({"jti": "x"},), {"keep_until": "soon"}, "keep_until must be seconds"),
    ]
    # A token without ``jti`` is identified by its signing input.
    unnamed = {name: value for name, value in a_payload().items() if name != "jti"}
    tokens: list[Any] = [7, "", "x", b"x", "\u00e9.x.y", []]
    calls += [(blocklist.is_revoked, (unnamed, token), {}, "signed JWT") for token in tokens]
    for call, arguments, options, says in calls:
        with pytest.raises(TypeError, match=says):
            call(*arguments, **options)


def test_an_id_that_is_null_is_no_valid_claim(blocklist: Blocklist) -> None:
    payload = {**a_payload(nonce=new_id()), "jti": None}
    for ask in (blocklist.is_revoked, blocklist.revoke_once):
        with pytest.raises(InvalidClaimsError, match="claim jti"):
            ask(payload)
    # Flask-JWT-Extended turns a missing one into null.
    token = jwt.encode({name: value for name, value in payload.items() if name != "jti"}, "k" * 32)
    assert not blocklist.is_revoked(payload, token)
    blocklist.revoke(payload, token)
    assert blocklist.is_revoked(payload, token)


def test_revoke_ends_the_session_on_the_node_too(shared_server: Server, blocklist: Blocklist) -> None:
    tokens = shared_server.log_in(new_id())
    payload = payload_of(tokens["access_token"])
    blocklist.revoke(payload)
    assert blocklist.is_revoked(payload)
    assert payload["jti"] in blocklist
    assert shared_server.ask("GET", "/verify", token=tokens["access_token"])[0] == 401
    assert shared_server.ask("POST", "/refresh", token=tokens["refresh_token"])[0] == 401


def test_the_end_of_a_session_is_the_end_of_all_its_tokens_everywhere(
    shared_server: Server, shared_client: Credentials, blocklist: Blocklist, follow: Follow
) -> None:
    elsewhere = follow(shared_server.url, shared_client)
    session = new_id()
    tokens = [
        a_payload(sid=session),
        a_payload(sid=session, type="refresh"),
        {**a_payload(sid=session), "type": None, "token_type": "refresh"},
        {"jti": new_id(), "sid": session, "exp": a_payload()["exp"]},
    ]
    assert not any(map(blocklist.is_revoked, tokens))
    blocklist.revoke(a_payload(sid=session))
    assert all(map(blocklist.is_revoked, tokens))
    # The node does not know this session, which is the application's own.
    eventually(lambda: all(map(elsewhere.is_revoked, tokens)))


def test_a_refresh_token_of_the_application_is_judged_by_its_id(blocklist: Blocklist) -> None:
    refresh = a_payload(type="refresh")
    assert not blocklist.is_revoked(refresh)
    blocklist.revoke(refresh)
    assert blocklist.is_revoked(refresh)


def test_everything_of_a_user_ends_up_to_now(blocklist: Blocklist) -> None:
    user = new_id()
    old, new = a_payload(sub=user), a_payload(sub=user, iat=int(time.time()) + 1000)
    assert not blocklist.is_revoked(old)
    blocklist.revoke_subject(user)
    assert blocklist.is_revoked(old)
    assert blocklist.is_revoked({name: value for name, value in old.items() if name != "iat"}), "no iat"
    assert not blocklist.is_revoked(new)
    assert not blocklist.is_revoked(a_payload())


def test_everything_ends_up_to_now(server: Server, client: Credentials, follow: Follow) -> None:
    blocklist = follow(server.url, client)
    admin = server.log_in_as_admin("ana")
    old = a_payload()
    assert not blocklist.is_revoked(old)
    assert server.ask("POST", "/revocations", {"everything": True}, token=admin)[0] == 200
    eventually(lambda: blocklist.is_revoked(old))
    assert not blocklist.is_revoked(a_payload(iat=int(time.time()) + 1000))


def test_ids_mean_something_only_beside_the_issuer_that_gave_them(
    shared_server: Server, shared_client: Credentials, follow: Follow
) -> None:
    of_node = follow(shared_server.url, shared_client)
    of_shop = follow(shared_server.url, shared_client, issuer="https://shop.example")
    user, session = new_id(), new_id()
    issued_at = a_payload()["iat"]
    of_shop.revoke(a_payload(sid=session))
    of_shop.revoke_subject(user)

    def revoked(blocklist: Blocklist, **claims: Any) -> bool:
        return blocklist.is_revoked(a_payload(iat=issued_at, **claims))

    # A token without an issuer counts as a token of the blocklist's issuer.
    assert revoked(of_shop, sub=user)
    assert revoked(of_shop, sid=session)
    eventually(lambda: revoked(of_node, sub=user, iss="https://shop.example"))
    assert revoked(of_node, sid=session, iss="https://shop.example")
    for elsewhere in ({}, {"iss": "adieu"}, {"iss": "https://other.example"}):
        assert not revoked(of_node, sub=user, **elsewhere)
        assert not revoked(of_node, sid=session, **elsewhere)


def test_what_in_says_is_revoked_says_too(shared_server: Server, shared_client: Credentials, follow: Follow) -> None:
    # An application adds ids without an issuer, and its tokens have one.
    blocklist = follow(shared_server.url, shared_client)
    payload = a_payload(iss="https://shop.example")
    blocklist.add(payload["jti"])
    assert payload["jti"] in blocklist
    assert blocklist.is_revoked(payload)


def test_the_claim_that_names_the_user_can_be_another(
    shared_server: Server, shared_client: Credentials, follow: Follow
) -> None:
    blocklist = follow(shared_server.url, shared_client, subject_claim="user_id")
    payload = a_payload(user_id="4711")
    blocklist.revoke_subject("4711")
    assert blocklist.is_revoked(payload)
    assert blocklist.is_revoked({**payload, "user_id": 4711}), "older libraries write a number"
    assert not blocklist.is_revoked({**payload, "user_id": 4712})


def test_a_number_and_its_digits_are_one_user(blocklist: Blocklist) -> None:
    user = int(uuid.uuid4()) % (1 << 50)
    assert not blocklist.is_revoked(a_payload(sub=user))
    blocklist.revoke_subject(user)
    for sub in (user, float(user), str(user)):
        assert blocklist.is_revoked(a_payload(sub=sub, iat=1)), repr(sub)
    assert not blocklist.is_revoked(a_payload(sub=-user, iat=1))


def test_claims_that_the_node_would_reject_are_an_error(blocklist: Blocklist) -> None:
    wrongs: tuple[dict[str, Any], ...] = (
        {"jti": ["a"]},
        {"jti": 7},
        {"jti": ""},
        {"jti": "a" * 513},
        {"jti": "\N{SNOWMAN}" * 171},
        {"sid": {}},
        {"sid": 7},
        {"sid": ""},
        {"sid": None},
        {"sub": None},
        {"iss": None},
        {"iat": None},
        {"sub": True},
        {"sub": 7.5},
        {"sub": 1 << 53},
        {"sub": math.nan},
        {"sub": ""},
        {"iat": "now"},
        {"iat": -1},
        {"iat": math.inf},
        {"iat": math.nan},
        {"iss": 1.5},
        {"iss": ""},
        {"exp": "then"},
        {"exp": 1_900_000_000_000},
        {"exp": None},
    )
    for wrong in wrongs:
        with pytest.raises(InvalidClaimsError, match=next(iter(wrong))):
            blocklist.is_revoked(a_payload(**wrong))
    # The error is a `TypeError`, so callers need not know this package's class.
    assert issubclass(InvalidClaimsError, TypeError)


def test_what_is_signed_stands_for_a_token_without_jti(
    shared_server: Server, shared_client: Credentials, blocklist: Blocklist, follow: Follow
) -> None:
    elsewhere = follow(shared_server.url, shared_client)
    payload = {name: value for name, value in a_payload(nonce=new_id()).items() if name != "jti"}
    token = jwt.encode(payload, "k" * 32, algorithm="HS256")
    assert not blocklist.is_revoked(payload, token)
    for unknown, says in (({}, "give it as token"), ({"jti": None}, "claim jti")):
        with pytest.raises(TypeError, match=says):
            blocklist.is_revoked({**payload, **unknown})
        with pytest.raises(TypeError, match="give it as token"):
            blocklist.revoke({**payload, **unknown})

    blocklist.revoke(payload, token)
    assert blocklist.is_revoked(payload, token)
    assert blocklist.is_revoked(payload, token.encode())
    assert blocklist.is_revoked(payload, token.rpartition(".")[0] + ".another-signature")
    assert token_id_of(token) in blocklist
    eventually(lambda: elsewhere.is_revoked(payload, token))
    another = {**payload, "nonce": new_id()}
    assert not blocklist.is_revoked(another, jwt.encode(another, "k" * 32, algorithm="HS256"))
    for wrong in ("", "token", ".signature"):
        with pytest.raises(TypeError, match="signed JWT"):
            token_id_of(wrong)


def test_everything_with_a_claim_ends_up_to_now(tmp_path: Path, follow: Follow) -> None:
    with running(tmp_path / "adieu", ADIEU_REVOCABLE_CLAIMS="tenant") as server:
        client = server.add_client("shop")
        blocklist, elsewhere = (follow(server.url, client, timeout=TEST_TIMEOUT) for _ in range(2))
        old = a_payload(tenant=["acme", 7])
        assert not blocklist.is_revoked(old)
        blocklist.revoke_claim("tenant", 7)
        assert blocklist.is_revoked(old)
        assert not blocklist.is_revoked(a_payload(tenant=["acme", 7])), "it was born revoked"
        assert not blocklist.is_revoked({**old, "tenant": "acme"})
        eventually(lambda: elsewhere.is_revoked(old))
        with pytest.raises(RefusedError, match="revocable_claims"):
            blocklist.revoke_claim("role", "editor")


def test_a_page_of_a_node_revokes_keys_and_claims(follow: Follow) -> None:
    page = json.loads((REPOSITORY / "crates/adieu-client/tests/fixtures/feed/kinds.json").read_text())
    page["from_start"] = True
    cut, other = 1_800_000_100, "https://other.example"
    exp = cut + 10_000
    with a_node_that_answers(json.dumps(page).encode(), holds=True) as url:
        blocklist = follow(url, Credentials("shop", "secret"), max_staleness=2)

        def revoked(kid: str | None = None, iat: int = cut, **claims: Any) -> bool:
            return blocklist.is_revoked({"jti": "x", "iss": "adieu", "iat": iat, "exp": exp, **claims}, kid=kid)

        key = "0d8f6a52-3c1b-4b7e-9a55-7e1f0c2d4b66"
        assert revoked(key, iat=cut + 5000)
        assert revoked("kid-1", iss=other)
        assert not revoked("kid-1")
        assert not revoked(key, iss=other)
        assert revoked(iss=other, tenant=["globex", "acm\u00e9"])
        assert not revoked(iss=other, tenant="acm\u00e9", iat=cut + 1)
        assert not revoked(tenant="acm\u00e9")
        assert revoked(device="7c9e6679-7425-40de-944b-e07fc1f90ae7", iat=cut + 1)
        assert revoked(tenant=True, iat=cut + 2)
        assert revoked(tenant=-5.0, iat=cut + 3)
        assert not revoked(tenant=-5.0, iat=cut + 4)
        assert not revoked(tenant=1, device="true")


@pytest.mark.parametrize("issuer", [None, "https://shop.example"])
def test_a_token_that_is_issued_after_a_cut_off_is_good(
    shared_server: Server, shared_client: Credentials, follow: Follow, issuer: str | None
) -> None:
    blocklist = follow(shared_server.url, shared_client, issuer=issuer, timeout=TEST_TIMEOUT)
    for _ in range(3):
        user = new_id()
        blocklist.revoke_subject(user)
        assert not blocklist.is_revoked(a_payload(sub=user)), "it was born revoked"


def test_of_many_who_use_a_token_up_at_once_one_succeeds(
    shared_server: Server, shared_client: Credentials, blocklist: Blocklist, follow: Follow
) -> None:
    # Each blocklist acts as a process of its own.
    users = [blocklist, *(follow(shared_server.url, shared_client) for _ in range(3))]
    for _ in range(5):
        payload = a_payload(type="refresh", sid=new_id())
        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(lambda user, payload=payload: user.revoke_once(payload), users * 2))
        assert outcomes.count(True) == 1
        assert blocklist.is_revoked(payload)
        assert not blocklist.is_revoked({**payload, "jti": new_id()}), "its session goes on"
        assert not blocklist.revoke_once(payload)


def test_what_was_logged_out_can_not_be_used_up(
    shared_server: Server, shared_client: Credentials, blocklist: Blocklist, follow: Follow
) -> None:
    elsewhere = follow(shared_server.url, shared_client)
    payload = a_payload(type="refresh", sid=new_id())
    elsewhere.revoke({**payload, "jti": new_id()})
    # Also when this process does not have the revocation yet.
    assert not blocklist.revoke_once(payload)
