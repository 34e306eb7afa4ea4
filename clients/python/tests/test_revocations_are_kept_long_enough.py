"""Revocations that no token can match leave the memory, and a clock that goes back revives no token."""

import time
from typing import Any

import pytest

from adieu.index import NEVER, BadFactError, Index, claims_of

pytestmark = pytest.mark.pure

NOW = 1_900_000_000


@pytest.fixture(autouse=True)
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: float(NOW))


def an_index(*entries: dict[str, Any]) -> Index:
    index = Index(None)
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
    assert not index.own.cut_offs
    assert not index.own.subjects.lapses


def test_what_was_added_here_is_kept_until_the_node_says_how_long() -> None:
    index = an_index()
    index.own.tokens.put_until_told("mine", NEVER)
    index.forget_lapsed(NOW - 500)
    assert is_revoked(index, jti="mine")
    index.extend([token("mine", NOW - 1000)])
    index.own.tokens.put_until_told("mine", NEVER)
    index.forget_lapsed(NOW - 200)
    assert not index.own.tokens.lapses


def test_a_node_that_takes_another_name_revives_nothing() -> None:
    index = an_index(token("old", NOW + 1000))
    index.extend([{**token("meanwhile", NOW + 1000), "issuer": "new"}])
    assert index.name_node("new")
    assert is_revoked(index, jti="old")
    assert is_revoked(index, jti="meanwhile")
    assert is_revoked(index, jti="old", iss="new")
    assert is_revoked(index, jti="old", iss="adieu")


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
    with pytest.raises(BadFactError):
        an_index({})
