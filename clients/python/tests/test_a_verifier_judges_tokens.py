"""Token in, claims out: signature, claims, revocation and staleness in one call, alike in both implementations."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from adieu_server import Credentials, Server
from conftest import TEST_TIMEOUT, eventually, in_a_child, new_id
from fake_node import a_node_that_answers
from tcp_proxy import Proxy

from adieu import Blocklist, StaleError, TokenError, Verifier

KEY = "k" * 64
PATIENT = {"timeout": TEST_TIMEOUT, "stale_timeout": TEST_TIMEOUT}
Make = Callable[..., Verifier]


@pytest.fixture
def verifier(request: pytest.FixtureRequest, backend: str) -> Make:
    """Creates verifiers that are ready."""

    def make(url: str, client: Credentials, **options: Any) -> Verifier:
        verifier = Verifier(url, client.name, client.secret, **{"issuer": "adieu", **options})
        request.addfinalizer(verifier.close)
        assert verifier.blocklist.backend == backend
        verifier.wait_ready(TEST_TIMEOUT)
        return verifier

    return make


def a_token(header: dict[str, Any] | None = None, *, key: str = KEY, **claims: Any) -> str:
    now = int(time.time())
    payload = {"iss": "shop", "sub": "jose", "jti": new_id(), "iat": now, "exp": now + 300, **claims}
    payload = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(payload, key, algorithm="HS256", headers={"typ": "at+jwt", **(header or {})})


def code_of(verifier: Verifier, token: Any, **options: Any) -> str:
    with pytest.raises(TokenError) as refused:
        verifier.verify(token, **options)
    return refused.value.code


def accepts(verifier: Verifier, token: str) -> bool:
    try:
        verifier.verify(token)
    except TokenError:
        return False
    return True


def test_a_token_of_the_node_is_good_until_its_logout(
    shared_server: Server, shared_client: Credentials, verifier: Make
) -> None:
    verify = verifier(shared_server.url, shared_client)
    tokens = shared_server.log_in(new_id())
    claims = verify.verify(tokens["access_token"])
    assert claims["iss"] == "adieu"
    assert claims == dict(claims)
    assert claims.token_id == claims["jti"]
    assert claims.kid == jwt.get_unverified_header(claims.token)["kid"]
    assert verify.verify(tokens["access_token"].encode()) == claims
    assert verify.is_ready
    refreshed = shared_server.ask("POST", "/refresh", token=tokens["refresh_token"])[1]["access_token"]
    assert verify.verify(refreshed)["fresh"] is False
    assert code_of(verify, tokens["refresh_token"]) == "invalid_token"

    verify.blocklist.revoke(claims, claims.token)
    assert code_of(verify, tokens["access_token"]) == "token_revoked"
    assert code_of(verify, refreshed) == "token_revoked"


def test_each_fault_has_its_code(shared_server: Server, shared_client: Credentials, verifier: Make) -> None:
    strict = verifier(shared_server.url, shared_client, issuer="shop", key=KEY, algorithm="HS256")
    now = int(time.time())
    assert strict.verify(a_token(nested={"a": [1, None]}))["nested"] == {"a": [1, None]}
    assert strict.verify(a_token({"typ": "rt+jwt"}), type="refresh")["sub"] == "jose"
    assert strict.verify(a_token()).kid is None
    for token, code in (
        ("", "authorization_required"),
        (None, "authorization_required"),
        (a_token(exp=now - 1), "token_expired"),
        (a_token(nbf=now + 100), "token_not_yet_valid"),
        (a_token(iat=now + 100), "token_not_yet_valid"),
        *((wrong, "invalid_token") for wrong in (
            "x", "a.b.c", "\u2603", "x" * 10_000,
            a_token(key="z" * 64), a_token(iss="other"), a_token(iss=None), a_token(aud="others"), a_token(jti=None),
            a_token(sub=None), a_token(sub=7), a_token(exp=None), a_token(exp="soon"), a_token(sid=7), a_token(sid=""),
            a_token({"typ": "JWT"}), a_token({"typ": "rt+jwt"}), a_token(type="refresh"),
        )),
    ):  # fmt: skip
        assert code_of(strict, token) == code, token
    with pytest.raises(ValueError, match="type must be"):
        strict.verify(a_token(), type="identity")  # type: ignore[arg-type]

    meant = verifier(shared_server.url, shared_client, issuer="shop", key=KEY, algorithm="HS256", audience=["us"])
    assert meant.verify(a_token(aud=["them", "us"]))["aud"] == ["them", "us"]
    for wrong in (a_token(), a_token(aud="them"), a_token(aud=[])):
        assert code_of(meant, wrong) == "invalid_token"


def test_tokens_of_other_libraries_are_good_if_asked_for(
    shared_server: Server, shared_client: Credentials, verifier: Make
) -> None:
    plain = verifier(shared_server.url, shared_client, issuer="shop", key=KEY, algorithm="HS256", profile="plain")
    for good in (
        a_token({"typ": "JWT"}, iss=None),
        a_token({"typ": "JWT"}, type="access", fresh=False),
        a_token(sub=7),
    ):
        plain.verify(good)
    refresh = a_token({"typ": "JWT"}, type="refresh")
    assert code_of(plain, refresh) == "invalid_token"
    plain.verify(refresh, type="refresh")
    nameless = a_token({"typ": "JWT"}, jti=None, nonce=new_id())
    claims = plain.verify(nameless)
    plain.blocklist.revoke(claims, claims.token)
    assert code_of(plain, nameless) == "token_revoked"


def test_what_is_revoked_beside_a_verifier_is_of_its_issuer(
    shared_server: Server, shared_client: Credentials, verifier: Make
) -> None:
    options = {"issuer": "shop", "key": KEY, "algorithm": "HS256", "profile": "plain", **PATIENT}
    here, elsewhere = (verifier(shared_server.url, shared_client, **options) for _ in range(2))
    session, user, now = new_id(), new_id(), int(time.time())
    tokens = [a_token({"typ": "JWT"}, iss=issuer, sid=session) for issuer in (None, None, "shop")]
    claims = here.verify(tokens[0])
    here.blocklist.revoke(claims, claims.token)
    tokens += [a_token({"typ": "JWT"}, iss=issuer, sub=user, iat=now - 10) for issuer in (None, "shop")]
    here.verify(tokens[-1])
    here.blocklist.revoke_subject(user)
    for token in tokens:
        assert code_of(here, token) == "token_revoked"
        eventually(lambda token=token: not accepts(elsewhere, token))  # type: ignore[misc]


def test_a_renamed_node_is_one_issuer_to_a_verifier(
    server: Server, client: Credentials, proxy: Proxy, verifier: Make
) -> None:
    verify = verifier(proxy.url, client, **PATIENT)
    before, after = (server.log_in(new_id())["access_token"] for _ in range(2))
    verify.blocklist.revoke_subject(verify.verify(before)["sub"])
    server.stop()
    server.settings["ADIEU_ISSUER"] = "renamed"
    server.start()
    eventually(lambda: verify.blocklist._index.node_issuer == "renamed" and verify.is_ready)
    assert code_of(verify, before) == "token_revoked"
    subject = verify.verify(after)["sub"]
    with Blocklist(server.url, client.name, client.secret, timeout=TEST_TIMEOUT) as elsewhere:
        elsewhere.wait_ready(TEST_TIMEOUT)
        elsewhere.revoke_subject(subject)
    eventually(lambda: not accepts(verify, after))
    assert code_of(verify, after) == "token_revoked"


def test_a_token_that_lives_too_long_is_refused(
    shared_server: Server, shared_client: Credentials, verifier: Make
) -> None:
    options = {"issuer": "shop", "key": KEY, "algorithm": "HS256"}
    verify = verifier(shared_server.url, shared_client, **options, max_lifetime=600)
    now = int(time.time())
    for times, code in (
        ({"iat": now - 500, "exp": now + 100}, None),
        ({"iat": now - 500, "exp": now + 101}, "invalid_token"),
        ({"iat": now - 500.9, "exp": now + 100}, "invalid_token"),
        # What is wrong for ever comes before what time changes.
        ({"iat": now + 100, "exp": now + 701}, "invalid_token"),
        ({"iat": now + 100, "exp": now + 700}, "token_not_yet_valid"),
        ({"iat": None, "exp": now + 500}, None),
        ({"iat": None, "exp": now + 700}, "invalid_token"),
    ):
        token = a_token(**times)
        if code is None:
            verify.verify(token)
        else:
            assert code_of(verify, token) == code, times
    # Without a limit, any.
    verifier(shared_server.url, shared_client, **options).verify(a_token(iat=now, exp=now + 10**9))


def test_a_token_that_is_too_long_is_refused(shared_server: Server, shared_client: Credentials, verifier: Make) -> None:
    options = {"issuer": "shop", "key": KEY, "algorithm": "HS256"}
    usual = verifier(shared_server.url, shared_client, **options)
    token, long = a_token(), a_token(scopes="x" * 9000)
    usual.verify(token)
    assert code_of(usual, long) == "invalid_token"
    verifier(shared_server.url, shared_client, **options, max_token_bytes=len(long)).verify(long)
    for exact, code in ((len(token), None), (len(token) - 1, "invalid_token"), (1, "invalid_token")):
        verify = verifier(shared_server.url, shared_client, **options, max_token_bytes=exact)
        if code is None:
            verify.verify(token)
        else:
            assert code_of(verify, token) == code


def test_a_fraction_of_leeway_is_rounded_up(shared_server: Server, shared_client: Credentials, verifier: Make) -> None:
    options = {"issuer": "shop", "key": KEY, "algorithm": "HS256"}
    verify = verifier(shared_server.url, shared_client, **options, leeway=9.1)
    now = int(time.time())
    for times in ({"iat": now + 10}, {"nbf": now + 10}, {"iat": None, "nbf": now + 10}):
        verify.verify(a_token(**times))
    assert code_of(verify, a_token(iat=now + 70)) == "token_not_yet_valid"


@pytest.mark.parametrize("of", ["other", None])
def test_a_blocklist_of_another_issuer_does_not_judge_tokens_without_one(
    shared_server: Server, shared_client: Credentials, follow: Callable[..., Blocklist], of: str | None
) -> None:
    options: dict[str, Any] = {"key": KEY, "algorithm": "HS256"}
    blocklist = follow(shared_server.url, shared_client, issuer=of)
    with pytest.raises(ValueError, match="must be made with issuer='shop'"):
        Verifier(blocklist=blocklist, issuer="shop", profile="plain", **options)
    # It was passed in, so it is still open.
    assert blocklist.is_fresh
    # Every token names its issuer.
    Verifier(blocklist=blocklist, issuer="shop", **options).verify(a_token())
    same = Verifier(blocklist=blocklist, issuer=of or "adieu", profile="plain", **options)
    same.verify(a_token({"typ": "JWT"}, iss=None))


def test_the_issuer_of_a_blocklist_is_compared_once_the_node_has_named_it(
    client: Credentials, proxy: Proxy, request: pytest.FixtureRequest
) -> None:
    proxy.hold_answers()
    blocklist = Blocklist(proxy.url, client.name, client.secret, start_timeout=TEST_TIMEOUT)
    request.addfinalizer(blocklist.close)
    options: dict[str, Any] = {"key": KEY, "algorithm": "HS256", "profile": "plain"}
    other = Verifier(blocklist=blocklist, issuer="shop", **options)
    same = Verifier(blocklist=blocklist, issuer="adieu", **options)
    proxy.mend()
    # It names its issuer.
    other.verify(a_token())
    for ask in (lambda: other.verify(a_token({"typ": "JWT"}, iss=None)), lambda: other.wait_ready(TEST_TIMEOUT)):
        with pytest.raises(ValueError, match="must be made with issuer='shop'"):
            ask()
    same.wait_ready(TEST_TIMEOUT)
    same.verify(a_token({"typ": "JWT"}, iss=None))


def test_nothing_is_accepted_when_stale(client: Credentials, proxy: Proxy, verifier: Make) -> None:
    verify = verifier(proxy.url, client, issuer="shop", key=KEY, algorithm="HS256", max_staleness=2)
    token = a_token()
    verify.verify(token)
    proxy.cut()
    eventually(lambda: not verify.is_ready)
    with pytest.raises(StaleError) as stale:
        verify.verify(token)
    assert "older than" in str(stale.value)
    assert code_of(verify, a_token(exp=1)) == "token_expired"
    proxy.mend()
    eventually(lambda: verify.is_ready)
    verify.verify(token)


def test_a_verifier_waits_for_news_as_a_look_up_does(client: Credentials, proxy: Proxy, verifier: Make) -> None:
    options = {"issuer": "shop", "key": KEY, "algorithm": "HS256", "max_staleness": 0.5}
    verify = verifier(proxy.url, client, **options, stale_timeout=TEST_TIMEOUT)
    token = a_token()
    proxy.cut()
    eventually(lambda: not verify.is_ready)
    threading.Timer(0.3, proxy.mend).start()
    assert verify.verify(token)["sub"] == "jose"

    verify.blocklist.revoke(verify.verify(token), token)
    proxy.cut()
    eventually(lambda: not verify.is_ready)
    assert code_of(verify, token) == "token_revoked"
    threading.Timer(0.3, proxy.mend).start()
    assert code_of(verify, a_token(), type="refresh") == "invalid_token"


def test_a_verifier_accepts_when_stale_if_asked_for(client: Credentials, proxy: Proxy, verifier: Make) -> None:
    options = {"issuer": "shop", "key": KEY, "algorithm": "HS256", "max_staleness": 0.5, "start_timeout": 0}
    verify = verifier(proxy.url, client, **options, stale_policy="accept")
    good, revoked = a_token(), a_token()
    verify.blocklist.revoke(verify.verify(revoked), revoked)
    proxy.cut()

    def verdicts() -> list[str]:
        assert verify.verify(good)["sub"] == "jose"
        wrong = ((revoked, "access"), (a_token(exp=1), "access"), (a_token(key="z" * 64), "access"), (good, "refresh"))
        return [code_of(verify, token, type=kind) for token, kind in wrong]

    expected = ["token_revoked", "token_expired", "invalid_token", "invalid_token"]
    assert in_a_child(verdicts) == expected
    eventually(lambda: not verify.is_ready)
    assert verdicts() == expected
    verify.blocklist.close()
    assert verdicts() == expected


def test_keys_stay_known_after_a_fork(client: Credentials, server: Server, proxy: Proxy, verifier: Make) -> None:
    verify = verifier(proxy.url, client, start_timeout=0, stale_policy="accept")
    token = server.log_in(new_id())["access_token"]
    proxy.hold_answers()

    def known() -> tuple[str, str]:
        return verify.verify(token)["iss"], verify.readiness()[0]["status"]

    assert in_a_child(known) == ("adieu", "stale")
    assert known()[0] == "adieu"
    assert verify.readiness()[0]["status"] != "without keys"


def test_that_the_keys_can_not_be_read_is_logged_once(
    shared_server: Server, shared_client: Credentials, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    with a_node_that_answers(b"no set of keys") as url:
        verify = Verifier(shared_server.url, shared_client.name, shared_client.secret, issuer="adieu", keys_url=url)
        request.addfinalizer(verify.close)
        with pytest.raises(StaleError, match=r"keys of the issuer are not known: .+"):
            verify.wait_ready(2)
        with pytest.raises(StaleError, match=r"keys of the issuer are not known: .+"):
            verify.verify(shared_server.log_in(new_id())["access_token"])
    said = [record.message for record in caplog.records if "keys can't be read" in record.message]
    assert len(said) == 1, said


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_verifier_that_is_gone_asks_for_no_keys(
    shared_server: Server, shared_client: Credentials, request: pytest.FixtureRequest, is_closed: bool
) -> None:
    blocklist = Blocklist(shared_server.url, shared_client.name, shared_client.secret)
    request.addfinalizer(blocklist.close)
    blocklist.wait_ready(TEST_TIMEOUT)
    asked: list[str] = []
    with a_node_that_answers(b"no set of keys", agents=asked) as url:
        verify: Verifier | None = Verifier(issuer="adieu", blocklist=blocklist, keys_url=url)
        eventually(lambda: len(asked) > 1)
        if is_closed:
            verify.close()  # type: ignore[union-attr]
            verify.close()  # type: ignore[union-attr]
        else:
            del verify
        # A request in flight may still arrive.
        time.sleep(0.2)
        before = len(asked)
        in_a_child(lambda: None)
        time.sleep(2)
        assert len(asked) == before
    assert new_id() not in blocklist


def test_a_closed_verifier_accepts_no_token(
    shared_server: Server, shared_client: Credentials, follow: Callable[..., Blocklist]
) -> None:
    blocklist = follow(shared_server.url, shared_client)
    verify = Verifier(issuer="adieu", blocklist=blocklist)
    verify.wait_ready(TEST_TIMEOUT)
    token = shared_server.log_in(new_id())["access_token"]
    verify.verify(token)
    verify.close()
    assert not verify.is_ready
    with pytest.raises(StaleError):
        verify.verify(token)
    assert blocklist.is_fresh


@pytest.mark.parametrize("profile", ["rfc9068", "plain"])
def test_the_claim_that_names_the_user_can_be_another(
    shared_server: Server, shared_client: Credentials, verifier: Make, request: pytest.FixtureRequest, profile: str
) -> None:
    options = {"issuer": "shop", "key": KEY, "algorithm": "HS256", "profile": profile}
    blocklist = Blocklist(
        shared_server.url, shared_client.name, shared_client.secret, issuer="shop", subject_claim="oid"
    )
    request.addfinalizer(blocklist.close)
    verify = verifier(shared_server.url, shared_client, blocklist=blocklist, **options)
    user, now = new_id(), int(time.time())
    tokens = [a_token(oid=user, sub=sub, iat=now - 60) for sub in ("pairwise", None)]
    other = a_token(oid=new_id(), sub=user, iat=now - 60)
    for token in (*tokens, other):
        verify.verify(token)
    for oid in (None, 7, "", ["a"], "a" * 513):
        assert code_of(verify, a_token(oid=oid)) == "invalid_token", repr(oid)

    def with_members(members: str) -> str:
        claims = json.dumps(jwt.decode(a_token(oid=user), KEY, algorithms=["HS256"]))
        payload = f"{claims[:-1]}, {members}}}".encode()
        return jwt.PyJWS().encode(payload, KEY, algorithm="HS256", headers={"typ": "at+jwt"})

    verify.verify(with_members('"a": {"b": 1, "c": {"b": 1}}, "d": [{"b": 1}, {"b": 1}]'))
    for twice in (f'"oid": "{user}"', '"a": {"b": 1, "b": 2}', r'"a": [{"c": {"b": 1, "\u0062": 2}}]'):
        assert code_of(verify, with_members(twice)) == "invalid_token", twice
    blocklist.revoke_subject(user)
    for token in tokens:
        assert code_of(verify, token) == "token_revoked"
    verify.verify(other)


@pytest.mark.parametrize(
    "options",
    [
        {"key": "short", "algorithm": "HS256"},
        {"key": KEY},
        {"key": KEY, "algorithm": "none"},
        {"key": "-----BEGIN PUBLIC KEY-----\n" + KEY, "algorithm": "HS256"},
        {"leeway": 61},
        {"max_lifetime": 0},
        {"max_lifetime": float("inf")},
        {"max_token_bytes": 0},
        {"max_token_bytes": -1},
        {"max_token_bytes": 8192.0},
        {"max_token_bytes": True},
        {"max_token_bytes": "8192"},
        {"max_token_bytes": 1 << 70},
        {"profile": "any"},
        {"keys_url": "ftp://host"},
    ],
)
def test_what_can_not_be_is_refused_when_it_is_made(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|needs"):
        Verifier("http://127.0.0.1:1", "shop", "secret", **{"issuer": "adieu", **options})


def test_settings_come_from_the_environment(
    shared_server: Server, shared_client: Credentials, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    with pytest.raises(ValueError, match="ADIEU_URL"):
        Verifier(issuer="adieu")
    (tmp_path / "secret").write_text(shared_client.secret + "\n")
    monkeypatch.setenv("ADIEU_URL", shared_server.url)
    monkeypatch.setenv("ADIEU_CLIENT", shared_client.name)
    monkeypatch.setenv("ADIEU_SECRET_FILE", str(tmp_path / "secret"))
    with Verifier(issuer="adieu") as verifier:
        verifier.wait_ready(TEST_TIMEOUT)
