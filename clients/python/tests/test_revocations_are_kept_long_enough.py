"""Revocations that no token can match leave the memory, and a clock that goes back revives no token."""

import json
import time
from collections.abc import Callable
from typing import Any, cast

import jwt
import pytest
from adieu_server import Credentials
from fake_node import PAGE, a_node_that_answers

from adieu import Blocklist, TokenError, Verifier
from adieu.core import CoreIndex
from adieu.index import NEVER, BadFactError, Index, claims_of

pytestmark = pytest.mark.pure

NOW = 1_900_000_000


@pytest.fixture(autouse=True)
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: float(NOW))


def an_index(*entries: dict[str, Any], issuer: str | None = None) -> Index:
    index = Index(issuer)
    index.name_node("adieu")
    index.extend(entries)
    return index


def token(name: str, lapses_at: int) -> dict[str, Any]:
    return {"issuer": "adieu", "kind": "token", "id": name, "expires_at": lapses_at - 120, "lapses_at": lapses_at}


def is_revoked(index: Index, **payload: Any) -> bool:
    return index.is_revoked(claims_of({"jti": "some id", "exp": NOW, **payload}, "sub"))


def test_what_the_node_has_forgotten_is_forgotten_here() -> None:
    index = an_index(token("old", NOW - 1000), token("new", NOW + 1000))
    index.forget_lapsed(NOW - 500)
    assert list(index.own.tokens.lapses) == ["new"]
    # The tokens have expired by every verifier's clock.
    assert is_revoked(index, jti="old", exp=NOW - 1000 - 120)
    assert not is_revoked(index, jti="other", exp=NOW)


def test_a_clock_here_that_is_ahead_forgets_nothing_by_itself() -> None:
    index = an_index(token("old", NOW - 1000))
    index.forget_lapsed(NOW - 5000)
    assert "old" in index.own.tokens.lapses


def test_nor_does_a_node_whose_clock_is_ahead() -> None:
    index = an_index(token("new", NOW + 1000))
    index.forget_lapsed(NOW + 5000)
    assert "new" in index.own.tokens.lapses


def test_how_far_was_forgotten_never_goes_back() -> None:
    index = an_index()
    index.forget_lapsed(NOW)
    index.forget_lapsed(NOW - 5000)
    assert is_revoked(index, exp=NOW - 120)
    assert not is_revoked(index, exp=NOW - 119)


def test_the_longer_of_two_facts_about_one_thing_counts() -> None:
    for first, second in ((NOW - 1000, NOW + 1000), (NOW + 1000, NOW - 1000)):
        index = an_index(token("twice", first), token("twice", second))
        index.forget_lapsed(NOW - 500)
        assert "twice" in index.own.tokens.lapses


def test_the_latest_of_several_cut_offs_counts() -> None:
    def cut_off(issued_until: int) -> dict[str, Any]:
        return {
            "issuer": "adieu",
            "kind": "subject",
            "id": "jose",
            "issued_until": issued_until,
            "lapses_at": issued_until + 1000,
        }

    index = an_index(cut_off(NOW - 10), cut_off(NOW - 20))
    assert is_revoked(index, sub="jose", iat=NOW - 10)
    assert is_revoked(index, sub="jose", iat=NOW - 9.5), "the whole of that second"
    assert not is_revoked(index, sub="jose", iat=NOW - 9)
    index.forget_lapsed(NOW - 5000)
    index.own.forget(NOW + 5000)
    assert not index.own.subjects.until
    assert not index.own.subjects.lapses


def test_the_revocation_of_a_claim_leaves_as_that_of_a_subject_does() -> None:
    def cut_off(value: str, lapses_at: int) -> dict[str, Any]:
        entry = {"issuer": "adieu", "kind": "claim", "name": "tenant", "value": value}
        return {**entry, "issued_until": NOW - 10, "lapses_at": lapses_at}

    index = an_index(cut_off("acme", NOW - 1000), cut_off("globex", NOW + 1000))
    index.forget_lapsed(NOW - 500)
    assert index.own.claim_names == ("tenant",)
    assert list(index.own.claims.until) == ["tenant\x1fglobex"]
    index.own.forget(NOW + 5000)
    assert not index.own.claim_names
    assert not index.own.claims.lapses


def test_the_revocation_of_a_key_never_leaves() -> None:
    index = an_index({"issuer": "adieu", "kind": "key", "id": "kid-1", "lapses_at": 253_402_300_799})
    index.own.forget(253_402_300_799)
    assert index.own.keys == {"kid-1"}


def test_what_was_added_here_is_kept_until_the_node_says_how_long() -> None:
    index = an_index()
    index.own.tokens.put_until_told("mine", NEVER)
    index.forget_lapsed(NOW - 500)
    assert is_revoked(index, jti="mine")
    index.extend([token("mine", NOW - 1000)])
    index.own.tokens.put_until_told("mine", NEVER)
    index.forget_lapsed(NOW - 200)
    assert not index.own.tokens.lapses


@pytest.mark.parametrize("bound", [2.0, 7200.0, 86_400.0])
def test_the_core_keeps_what_was_added_here_until_it_rejects_without_news(bound: float) -> None:
    kept = {}

    class Core:
        def add_token(self, issuer: str | None, name: str, lapses_at: int) -> None:
            kept[issuer, name] = lapses_at

        add_session = add_token

    index = CoreIndex(cast("Any", Core()), bound, accepts_when_stale=False)
    index.remember([{"token_id": "mine"}, {"session": "mine", "issuer": "shop"}])
    assert kept.keys() == {(None, "mine"), ("shop", "mine")}
    # The clock may be set meanwhile.
    assert min(kept.values()) >= NOW + bound + 3600


@pytest.mark.parametrize("issuer", [None, "adieu", "new", "other"])
def test_a_node_that_takes_another_name_revives_nothing(issuer: str | None) -> None:
    index = an_index(token("old", NOW + 1000), issuer=issuer)
    own = index.own
    index.extend([{**token("meanwhile", NOW + 1000), "issuer": "new"}])
    assert index.name_node("new")
    index.extend([token("late", NOW + 1000), {**token("later", NOW + 1000), "issuer": "new"}])
    assert index.own is own, "the look-up by `in` has a reference to it"
    assert not index.name_node("new")
    for jti in ("old", "meanwhile", "late", "later"):
        assert is_revoked(index, jti=jti, iss="new")
        assert is_revoked(index, jti=jti, iss="adieu")
        assert is_revoked(index, jti=jti) == (issuer != "other")
    assert index.name_node("third")
    assert is_revoked(index, jti="old", iss="third")


@pytest.mark.parametrize("issuer", [None, "adieu", "new"])
def test_a_node_that_takes_another_name_revives_no_key_and_no_claim(issuer: str | None) -> None:
    index = an_index(issuer=issuer)
    claim = {"kind": "claim", "issued_until": NOW, "lapses_at": NOW + 1000}
    for name in ("adieu", "new"):
        index.extend([{**claim, "issuer": name, "name": f"of-{name}", "value": "x"}])
        index.extend([{"kind": "key", "issuer": name, "id": f"of-{name}", "lapses_at": NOW + 1000}])
    assert index.name_node("new")
    for name in ("adieu", "new"):
        assert is_revoked(index, **{f"of-{name}": "x"})
        for iss in ("adieu", "new"):
            assert is_revoked(index, iss=iss, **{f"of-{name}": "x"})
        assert index.is_revoked(claims_of({"jti": "some id", "exp": NOW}, "sub", kid=f"of-{name}"))


def test_a_fact_that_can_not_be_read_is_not_left_out() -> None:
    for wrong in (
        {"kind": "device"},
        {"id": 5},
        {"id": None},
        {"lapses_at": "soon"},
        {"lapses_at": True},
        {"issuer": None},
    ):
        with pytest.raises(BadFactError):
            an_index({**token("id", NOW), **wrong})
    claim = {"issuer": "adieu", "kind": "claim", "name": "n", "value": "v", "issued_until": NOW, "lapses_at": NOW}
    for wrong in (
        {"name": ""},
        {"name": "n" * 129},
        {"name": "a name"},
        {"name": "n\x1f"},
        {"name": "\u00e9"},
        {"name": "sub"},
        {"name": "fresh"},
        {"name": None},
        {"value": ""},
        {"value": 7},
        {"value": "v" * 511},
        {"value": "\ud800"},
        {"issued_until": None},
    ):
        with pytest.raises(BadFactError):
            an_index({**claim, **wrong})
    assert is_revoked(an_index({**claim, "name": "n" * 128, "value": "v" * 383}), **{"n" * 128: "v" * 383})
    with pytest.raises(BadFactError):
        an_index({})
    with pytest.raises(BadFactError, match="an unknown kind 'device': this follower is too old for the node"):
        an_index({**token("id", NOW), "kind": "device"})


def test_a_token_whose_revocation_is_known_is_revoked_also_if_it_may_have_been_removed(
    follow: Callable[..., Blocklist],
) -> None:
    now, key = int(time.time()), "k" * 32
    # The clock of the node is ahead.
    page = {**PAGE, "pruned_through": now + 10_000}
    kept = {"issuer": "adieu", "lapses_at": now + 90_000}
    entries = [{**kept, "kind": "token", "id": "known"}, {**kept, "kind": "session", "id": "ended"}]
    with a_node_that_answers(json.dumps({**page, "entries": entries}).encode(), holds=True) as url:
        blocklist = follow(url, Credentials("shop", "secret"), max_staleness=600)
        verifier = Verifier(blocklist=blocklist, issuer="adieu", key=key, algorithm="HS256")
        for claims, code in (
            ({"jti": "known"}, "token_revoked"),
            ({"sid": "ended"}, "token_revoked"),
            ({}, "token_expired"),
        ):
            payload = {"iss": "adieu", "sub": "jose", "jti": "other", "iat": now, "exp": now + 300, **claims}
            with pytest.raises(TokenError) as refused:
                verifier.verify(jwt.encode(payload, key, headers={"typ": "at+jwt"}))
            assert refused.value.code == code, claims
            assert blocklist.is_revoked(payload)
