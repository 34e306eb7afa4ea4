"""The compiled core and the implementation in Python give the same answer to every question.

Both follow the same node, which serves random facts. The ids come from small sets, so that questions meet facts.
"""

import json
import math
import os
import random
import time
from typing import Any

import pytest
from conftest import TEST_TIMEOUT
from fake_node import a_node_that_answers

from adieu import Blocklist

QUESTIONS = int(os.environ.get("QUESTIONS", "30000"))
"""How many questions each of the four cases asks; for a million in all, set it to 250000."""

# It compares both, so it runs once.
pytestmark = pytest.mark.pure

NOW = int(time.time())
ISSUERS = ["adieu", "https://other.example", "\u00e9", "x" * 512]
IDS = [f"id-{number}" for number in range(40)] + ["", "\u2603" * 170, "a" * 512, "5", "-7", "\x00"]
TIMES = [NOW - 100_000, NOW - 121, NOW - 120, NOW - 1, NOW, NOW + 1, NOW + 900, NOW + 86_400]
ODD: list[Any] = [
    None, True, False, 5, -7, 5.0, 7.5, 1 << 53, 1 << 70, -1, math.nan, math.inf, "", "a" * 513, "\ud800", b"x", [], {},
    "now", NOW + 0.5, float(NOW + 900), 253_402_300_799, 253_402_300_800, 1e300,
]  # fmt: skip


KIDS = ["kid-1", "kid-2", "5", "\x00", "\u2603"]
NAMES = ["tenant", "role", "!~"]
VALUES = ["acme", "true", "false", "0", "1", "-7", str(2**53 - 1), str(2**53), "\u2603", "a\x1fb", "null", "v" * 505]
CLAIMS: list[Any] = [
    *VALUES, *ODD, True, False, 0, -0.0, 1, 1.0, -7, -7.0, -7.5, 2**53 - 1, 2.0**53, -(2**53), (1, "acme"), "v" * 9000,
    ["x", "acme"], [["acme"]], [None, 1.5, True], ["\ud800", -7], {"acme": "acme"},
]  # fmt: skip


class Text(str):
    """A text of another class."""


def a_fact(draw: random.Random) -> dict[str, Any]:
    kind = draw.choice(
        ["token", "token", "session", "subject", "claim", "key"] + ["everything"] * (draw.random() < 0.02)
    )
    fact: dict[str, Any] = {
        "issuer": draw.choice(ISSUERS),
        "kind": kind,
        "lapses_at": NOW + draw.randrange(300, 90_000),
    }
    if kind == "key":
        fact["id"] = draw.choice(KIDS[1:])
    elif kind == "claim":
        fact["name"], fact["value"] = draw.choice(NAMES), draw.choice(VALUES)
    elif kind != "everything":
        fact["id"] = draw.choice([name for name in IDS if name])
    if kind == "token":
        fact["expires_at"] = draw.choice([None, *TIMES])
    if kind in ("subject", "everything", "claim"):
        fact["issued_until"] = draw.choice(TIMES[:5])
    return fact


def a_payload(draw: random.Random) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    for claim, values in (("jti", IDS), ("sid", IDS), ("sub", IDS), ("iss", ISSUERS), ("iat", TIMES), ("exp", TIMES)):
        chance = draw.random()
        if chance < 0.01:
            payload[claim] = draw.choice(ODD)
        elif chance < 0.012 and values is IDS:
            payload[claim] = Text(draw.choice(IDS))
        elif chance < (0.97 if claim in ("jti", "exp") else 0.6):
            payload[claim] = draw.choice(values)
    for name in NAMES:
        if draw.random() < 0.3:
            payload[name] = draw.choice([*CLAIMS, Text("acme")])
    return payload


def a_kid(draw: random.Random) -> Any:
    return draw.choice([*KIDS, None, Text("kid-2"), draw.choice(ODD)])


def a_page(facts: list[dict[str, Any]], pruned_through: int) -> bytes:
    page = {
        "cursor": "log.1",
        "complete": True,
        "from_start": True,
        "age_ms": 0,
        "pruned_through": pruned_through,
        "issuer": "adieu",
        "max_staleness_ms": 60_000,
        "entries": facts,
    }
    return json.dumps(page).encode()


def answer(question: Any, *arguments: Any, **options: Any) -> Any:
    """Returns the answer, or the type and the text of the error."""
    try:
        return question(*arguments, **options)
    except Exception as error:  # noqa: BLE001
        return type(error), str(error)


@pytest.mark.parametrize("issuer", [None, "https://other.example"])
@pytest.mark.parametrize("pruned_through", [0, NOW - 121], ids=["nothing pruned", "pruned"])
def test_no_question_is_answered_differently(
    monkeypatch: pytest.MonkeyPatch, issuer: str | None, pruned_through: int
) -> None:
    seed = random.randrange(1 << 32)  # noqa: S311
    draw = random.Random(seed)  # noqa: S311
    facts = [a_fact(draw) for _ in range(draw.choice([0, 5, 60]))]
    with a_node_that_answers(a_page(facts, pruned_through), holds=True) as url:
        both = []
        for backend in ("core", "pure"):
            monkeypatch.setenv("ADIEU_PURE", "1" if backend == "pure" else "0")
            both.append(Blocklist(url, "shop", "secret", issuer=issuer, max_staleness=600))
            assert both[-1].backend == backend
        core, pure = both
        for blocklist in both:
            blocklist.wait_ready(TEST_TIMEOUT)
        revoked = 0
        for number in range(QUESTIONS):
            payload, kid = a_payload(draw), a_kid(draw)
            expected = answer(pure.is_revoked, payload, kid=kid)
            assert answer(core.is_revoked, payload, kid=kid) == expected, (seed, number, payload, kid, facts)
            jti = payload.get("jti")
            if not isinstance(jti, (list, dict)):
                assert answer(core.__contains__, jti) == answer(pure.__contains__, jti), (seed, number, jti)
            revoked += expected is True
        assert revoked or not facts
        for blocklist in both:
            blocklist.close()
