"""A hostile node can lie about revocations. It cannot exhaust the memory of its followers."""

import gzip
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from adieu_server import Credentials
from conftest import eventually
from fake_node import PAGE, a_node_that_answers

from adieu import Blocklist, StaleError
from adieu.node import _MAX_VALUES, MAX_PAGE_BYTES, MAX_PAGE_ENTRIES, _values

Follow = Callable[..., Blocklist]
MIB = 1 << 20
ENTRY = {"issuer": "a", "kind": "token", "id": "b", "expires_at": 1, "lapses_at": 1}


def page_of(entries: bytes) -> bytes:
    return json.dumps(PAGE).encode()[:-1] + b', "entries": [' + entries + b"]}"


def without(name: str, page: dict[str, Any]) -> dict[str, Any]:
    return {other: value for other, value in page.items() if other != name}


HOSTILE = {
    "small values": page_of(b"[]," * (15 * MIB // 3) + b"[]"),
    "small objects": page_of(b"{}," * (15 * MIB // 3) + b"{}"),
    "small texts": page_of(b'"",' * (15 * MIB // 3) + b'""'),
    "values under one name": page_of(b'{"a":' * 100 + b"1," * (15 * MIB // 2)),
    "a text that never ends": page_of(b'"' + b'\\"' * (15 * MIB // 2)),
    "too many bytes": page_of(b" " * (MAX_PAGE_BYTES + 1)),
    "half a page": page_of(b"")[:-10],
    "invalid UTF-8": page_of(json.dumps(ENTRY).encode().replace(b'"b"', b'"\xff"')),
    "a time beyond 64 bits": page_of(json.dumps({**ENTRY, "lapses_at": 1 << 70}).encode()),
    "a time before 1970": page_of(json.dumps({**ENTRY, "expires_at": 5, "lapses_at": -1}).encode()),
    "an id that is too long": page_of(json.dumps({**ENTRY, "id": "x" * 513}).encode()),
    "half a surrogate pair": page_of(json.dumps({**ENTRY, "id": "\ud800"}).encode()),
    "a position that is not a number": page_of(b"").replace(b"log.1", b"log.1x"),
    "a log without an id": page_of(b"").replace(b"log.1", b".1"),
    "not from the start": page_of(b"").replace(b'"from_start": true', b'"from_start": false'),
    "a mark after the year 9999": page_of(b"").replace(b'"pruned_through": 0', b'"pruned_through": 253402300800'),
    "an unknown kind": page_of(json.dumps({**ENTRY, "kind": "device"}).encode()),
    "no bound": json.dumps({**without("max_staleness_ms", PAGE), "entries": []}).encode(),
    "a bound that is text": page_of(b"").replace(b"600000", b'"600000"'),
    "a bound beyond 64 bits": page_of(b"").replace(b"600000", str(1 << 64).encode()),
    "an age beyond 64 bits": page_of(b"").replace(b'"age_ms": 0', b'"age_ms": %d' % (1 << 64)),
    "a position beyond 64 bits": page_of(b"").replace(b"log.1", b"log.%d" % (1 << 64)),
    "an expiry that is text": page_of(json.dumps({**ENTRY, "expires_at": "1"}).encode()),
    "an expiry that is false": page_of(json.dumps({**ENTRY, "expires_at": False}).encode()),
    "an expiry with a fraction": page_of(json.dumps({**ENTRY, "expires_at": 1.5}).encode()),
    "an expiry after the year 9999": page_of(json.dumps({**ENTRY, "expires_at": 253_402_300_800}).encode()),
    "UTF-16": page_of(b"").decode().encode("utf-16"),
    "UTF-16 without a mark": page_of(b"").decode().encode("utf-16-le"),
    "UTF-32": page_of(b"").decode().encode("utf-32"),
    "a byte order mark": b"\xef\xbb\xbf" + page_of(b""),
    "half a surrogate pair in UTF-8": page_of(json.dumps(ENTRY).encode().replace(b'"b"', b'"\xed\xa0\x80"')),
    "a member twice": page_of(b"").replace(b'"complete"', b'"complete": false, "complete"'),
    "a member of an entry twice": page_of(json.dumps(ENTRY).encode().replace(b'"id"', b'"id": "c", "id"')),
    "a value that is not JSON": page_of(b"").replace(b'"age_ms"', b'"new": NaN, "age_ms"'),
    "a bomb": gzip.compress(b" " * (64 * MIB)),
    "too many entries": page_of(b",".join([json.dumps(ENTRY).encode()] * (MAX_PAGE_ENTRIES + 1))),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_page_is_bounded_by_what_it_takes_in_memory(follow: Follow, content: bytes) -> None:
    tracemalloc.start()
    try:
        with a_node_that_answers(content) as url:
            blocklist = follow(url, Credentials("shop", "secret"), ready=False, start_timeout=0)
            eventually(lambda: blocklist._follower.error is not None)
            with pytest.raises(StaleError):
                "jti" in blocklist  # noqa: B015
            blocklist.close()
        # The memory has a copy or two of the response.
        assert tracemalloc.get_traced_memory()[1] < len(content) + 160 * MIB
    finally:
        tracemalloc.stop()


def test_a_feed_that_never_ends_is_not_read_on_and_on(follow: Follow) -> None:
    content = json.dumps({**PAGE, "complete": False, "entries": []}).encode()
    with a_node_that_answers(content) as url:
        blocklist = follow(url, Credentials("shop", "secret"), ready=False, start_timeout=0)
        eventually(lambda: "does not get on" in str(blocklist._follower.error))
        blocklist.close()


def test_what_a_later_version_may_add_is_ignored(follow: Follow) -> None:
    entry = json.dumps({**without("expires_at", ENTRY), "new": {"expires_at": "soon"}}).encode()
    largest = str((1 << 64) - 1).encode()
    content = page_of(entry + b',{"issuer": "adieu", "kind": "token", "id": "jti", "expires_at": null, "lapses_at": 9}')
    content = content.replace(b'"age_ms"', b'"new": [null, 1.5, -1], "age_ms"')
    content = content.replace(b"log.1", b"log." + largest).replace(b"600000", largest)
    with a_node_that_answers(content, holds=True) as url:
        blocklist = follow(url, Credentials("shop", "secret"), max_staleness=600)
        assert "jti" in blocklist
        assert "b" not in blocklist


@pytest.mark.pure
def test_the_largest_page_that_a_node_sends_is_read() -> None:
    # Whatever the ids contain, since any client may choose them.
    entries = [{**ENTRY, "id": '{"[,\\' * 8}] * MAX_PAGE_ENTRIES
    content = json.dumps({**PAGE, "entries": entries}).encode()
    assert _MAX_VALUES < len(content) < MAX_PAGE_BYTES
    assert _values(content) <= _MAX_VALUES
