"""Whatever a token contains: no crash, only declared errors, and one verdict of both implementations."""

import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import adieu_core
import pytest
from conftest import TEST_TIMEOUT
from fake_node import a_node_that_answers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adieu import Blocklist, InvalidClaimsError, TokenError, Verifier

# It compares both, so it runs once.
pytestmark = pytest.mark.pure

EXAMPLES = int(os.environ.get("EXAMPLES", "500"))
"""How many examples each test tries."""

fuzzed = settings(deadline=None, database=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])

NOW = int(time.time())
KEY = "k" * 64
ISSUER = "adieu"
PAGE = {
    "cursor": "log.1",
    "complete": True,
    "from_start": True,
    "age_ms": 0,
    "pruned_through": NOW - 1000,
    "issuer": ISSUER,
    "max_staleness_ms": 60_000,
    "entries": [
        {"issuer": ISSUER, "kind": "token", "id": "revoked", "lapses_at": NOW + 9000},
        {"issuer": ISSUER, "kind": "session", "id": "ended", "lapses_at": NOW + 9000},
        {"issuer": ISSUER, "kind": "subject", "id": "jose", "issued_until": NOW - 100, "lapses_at": NOW + 9000},
    ],
}

# Lone surrogates, NUL and every plane included.
texts = st.text() | st.text(st.characters(categories=["Cs", "Cc", "Lu"])) | st.sampled_from(["x" * 512, "\u2603" * 171])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.integers(min_value=1 << 63),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
times = st.sampled_from([NOW - 900, NOW - 121, NOW, NOW + 900, NOW + 900.5, float(NOW + 900), 253_402_300_799]) | values
ids = st.sampled_from(["revoked", "ended", "jose", "other", "", "a\x00b", "\ud800"]) | values
kinds = st.sampled_from(["access", "refresh", "at+jwt", "RT+JWT", "application/at+jwt", "JWT", "Bearer"]) | values
claims = st.fixed_dictionaries(
    {},
    optional={
        "jti": ids, "sid": ids, "sub": ids, "iss": st.just(ISSUER) | values, "aud": st.just("us") | values,
        "iat": times, "nbf": times, "exp": times, "type": kinds, "token_type": kinds, "typ": kinds,
    },
)  # fmt: skip
GOOD = {"jti": "other", "sub": "someone", "iss": ISSUER, "exp": NOW + 900}
ODD: list[dict[str, Any]] = [
    {},
    {"jti": "revoked"},
    {"sid": "ended"},
    {"exp": NOW - 900},
    {"iat": NOW + 900},
    {"type": "refresh"},
]
# Most have one fault.
payloads = (
    st.builds(lambda more: {**GOOD, **more}, st.sampled_from(ODD))
    | st.builds(lambda more: {**GOOD, **dict(list(more.items())[:1])}, claims)
    | claims
)
headers = st.fixed_dictionaries(
    {},
    optional={"typ": kinds, "alg": st.sampled_from(["HS256", "none", "hs256", "HS384"]), "kid": ids, "crit": values},
)


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def sign(header: bytes, content: bytes) -> str:
    signed = f"{encoded(header)}.{encoded(content)}"
    return f"{signed}.{encoded(hmac.digest(KEY.encode(), signed.encode(), hashlib.sha256))}"


signed_tokens = st.builds(
    lambda header, payload: sign(json.dumps({"alg": "HS256", "typ": "at+jwt", **header}).encode(), payload),
    st.just({}) | headers,
    (payloads | values).map(lambda value: json.dumps(value).encode()) | st.binary(),
)
raw_tokens = texts | st.builds(".".join, st.lists(texts | st.just(encoded(b"{}")), min_size=2, max_size=4))


def with_claim(text: str) -> str:
    """A good token with one more member, which a JSON library would not write."""
    return sign(b'{"alg":"HS256","typ":"at+jwt"}', json.dumps(GOOD)[:-1].encode() + f", {text}}}".encode())


MEMBERS = [", ".join(f'"{name}": 0' for name in range(count)) for count in (100, 124, 125)]
DEPTHS = [f'"a": {"[" * depth}{"]" * depth}' for depth in (125, 126, 127, 2000)]
HEADER = b'{"alg":"HS256","typ":"at+jwt"}'
TOKENS = [
    "",
    *(sign(HEADER, json.dumps({**GOOD, **more}).encode()) for more in ODD),
    *map(with_claim, (
        '"jti": "revoked"', '"a": 1, "a": 2', '"a": {"b": 1, "b": 2}', '"a": NaN', '"a": -Infinity', '"a": 1e400',
        f'"a": {"9" * 400}', f'"a": {"9" * 5000}', '"a": 01', '"a": "\t"', r'"a": "\ud800"', r'"\udc00": 1',
        r'"a": "\ud83d\ude00"', *MEMBERS, *DEPTHS,
    )),
    sign(b'{"alg":"HS256","typ":"at+jwt","a":' + b"[" * 2000 + b"]" * 2000 + b"}", json.dumps(GOOD).encode()),
    sign(b"\xef\xbb\xbf" + HEADER, json.dumps(GOOD).encode()),
    sign(HEADER, json.dumps(GOOD).encode("utf-16")),
    *(shape.format(with_claim('"a": 1')) for shape in ("{}=", "{}.", " {}", "{}\n", ".{}", "{}/")),
]  # fmt: skip
"""Each verdict, and what readers of JSON and base64url disagree on."""


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Blocklist, Blocklist]]:
    """The blocklist of the core and the one in Python, with the same revocations."""
    with pytest.MonkeyPatch.context() as patch, a_node_that_answers(json.dumps(PAGE).encode(), holds=True) as url:
        made = []
        for backend in ("core", "pure"):
            patch.setenv("ADIEU_PURE", "1" if backend == "pure" else "0")
            made.append(Blocklist(url, "shop", "secret", max_staleness=600))
            assert made[-1].backend == backend
            made[-1].wait_ready(TEST_TIMEOUT)
        yield made[0], made[1]
        for blocklist in made:
            blocklist.close()


def outcome(question: Any, *arguments: Any) -> Any:
    """Returns the answer, or the code or the type of a declared error."""
    try:
        return question(*arguments)
    except TokenError as error:
        return error.code
    except (InvalidClaimsError, TypeError) as error:
        return type(error)


@fuzzed
@given(payload=payloads | values, token=st.none() | texts | signed_tokens)
def test_any_payload_gets_one_verdict(both: tuple[Blocklist, Blocklist], payload: Any, token: str | None) -> None:
    core, pure = both
    assert outcome(core.is_revoked, payload, token) == outcome(pure.is_revoked, payload, token)


@fuzzed
@given(jti=ids | st.binary() | st.sampled_from([b"revoked", ("revoked",), frozenset(), range(3)]))
def test_any_id_gets_one_verdict(both: tuple[Blocklist, Blocklist], jti: Any) -> None:
    core, pure = both
    assert outcome(core.__contains__, jti) == outcome(pure.__contains__, jti)


@pytest.mark.parametrize("profile", ["rfc9068", "plain"])
def test_any_token_gets_one_verdict(both: tuple[Blocklist, Blocklist], profile: Any) -> None:
    core, pure = (
        Verifier(blocklist=blocklist, issuer=ISSUER, key=KEY, algorithm="HS256", profile=profile) for blocklist in both
    )
    verdicts = set()

    def check(token: str | bytes) -> None:
        expected = outcome(lambda: bool(pure.verify(token)))
        assert outcome(lambda: bool(core.verify(token))) == expected
        verdicts.add(expected)

    for token in TOKENS:
        check(token)

    @fuzzed
    @given(token=signed_tokens | raw_tokens | raw_tokens.map(lambda text: text.encode("utf-8", "replace")))
    def check_any(token: str | bytes) -> None:
        check(token)

    check_any()
    codes = {"authorization_required", "invalid_token", "token_expired", "token_not_yet_valid", "token_revoked"}
    assert verdicts == {True} | codes


def test_a_panic_is_an_error_with_a_message_and_the_process_lives(both: tuple[Blocklist, Blocklist]) -> None:
    core, _ = both
    # The wheel of the tests has this function, and a release wheel has not.
    with pytest.raises(RuntimeError, match="the compiled core failed: on purpose"):
        adieu_core._panic("on purpose")  # type: ignore[attr-defined]
    assert "revoked" in core
    assert "other" not in core
