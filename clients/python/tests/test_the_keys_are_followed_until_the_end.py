"""The thread that reads the keys of an issuer ends with its verifier."""

import contextlib
import gc
import logging
import socket
import sys
import threading
import time
import types
from collections.abc import Iterator

import jwt
import pytest
from adieu_server import Credentials, Server
from conftest import TEST_TIMEOUT, eventually, new_id
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fake_node import a_node_that_answers

from adieu import Blocklist, StaleError, TokenError, Verifier
from adieu.pyjwt import _age

# The compiled core reads the keys by itself.
pytestmark = pytest.mark.pure


def threads() -> int:
    return sum(thread.name == "adieu-keys" for thread in threading.enumerate())


def test_a_closed_verifier_reads_no_keys_and_accepts_no_token(
    shared_server: Server, shared_client: Credentials
) -> None:
    before = threads()
    with Blocklist(shared_server.url, shared_client.name, shared_client.secret) as blocklist:
        verifier = Verifier(issuer="adieu", blocklist=blocklist)
        verifier.wait_ready(TEST_TIMEOUT)
        token = shared_server.log_in(new_id())["access_token"]
        verifier.verify(token)
        assert threads() == before + 1
        verifier.close()
        verifier.close()
        assert not verifier.is_ready
        with pytest.raises(StaleError, match="keys"):
            verifier.verify(token)
        eventually(lambda: threads() == before)
        assert blocklist.is_fresh


def test_a_verifier_that_is_gone_reads_no_keys(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    before, asked = threads(), list[str]()
    with a_node_that_answers(b"[]", agents=asked) as url, Blocklist.in_memory() as blocklist:
        verifier = Verifier(issuer="adieu", blocklist=blocklist, keys_url=url)
        eventually(lambda: len(asked) > 1)
        assert "not a set of keys" in str(verifier._check.keys_failure)
        del verifier
        gc.collect()
        eventually(lambda: threads() == before)
    failures = [record.message for record in caplog.records if "keys can't be read" in record.message]
    assert len(failures) == 1
    assert "not a set of keys" in failures[0]


@contextlib.contextmanager
def an_issuer_that_drips(head: bytes) -> Iterator[str]:
    """An issuer whose responses never end, and never pause for long."""
    closing = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def drip(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.sendall(head)
            while not closing.wait(0.05):
                connection.sendall(b" ")

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        closing.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX-Padding: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_an_issuer_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    monkeypatch.setattr("adieu.pyjwt._TIMEOUT", 0.5)
    with an_issuer_that_drips(head) as url, Blocklist.in_memory() as blocklist:
        verifier = Verifier(issuer="adieu", blocklist=blocklist, keys_url=url)
        eventually(lambda: verifier._check.keys_failure is not None)
        assert "TimeoutError" in str(verifier._check.keys_failure)
        verifier.close()


def test_a_fixed_key_stays() -> None:
    with Blocklist.in_memory() as blocklist:
        verifier = Verifier(issuer="adieu", blocklist=blocklist, key="k" * 32, algorithm="HS256")
        verifier.close()
        assert verifier.is_ready


def test_no_thread_reads_keys_while_uwsgi_will_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    before, worker, asked = threads(), [0], list[str]()
    uwsgi = types.SimpleNamespace(has_threads=1, worker_id=lambda: worker[0])
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    with a_node_that_answers(b'{"keys": []}', agents=asked) as url, Blocklist.in_memory() as blocklist:
        verifier = Verifier(issuer="adieu", blocklist=blocklist, keys_url=url)
        # While uWSGI loads the application, the keys are read on the thread that asks for them.
        verifier.wait_ready(TEST_TIMEOUT)
        assert verifier.is_ready
        assert (threads(), len(asked)) == (before, 1)
        worker[0] = 1
        assert verifier.is_ready
        eventually(lambda: len(asked) == 2)
        assert threads() == before + 1
        verifier.close()
        eventually(lambda: threads() == before)


def test_that_the_keys_can_not_be_read_is_told_while_uwsgi_will_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    before, asked = threads(), list[str]()
    monkeypatch.setitem(sys.modules, "uwsgi", types.SimpleNamespace(has_threads=1, worker_id=lambda: 0))
    with a_node_that_answers(b"[]", agents=asked) as url, Blocklist.in_memory() as blocklist:
        verifier = Verifier(issuer="adieu", blocklist=blocklist, keys_url=url)
        with pytest.raises(StaleError, match="not a set of keys"):
            verifier.wait_ready(0.6)
        assert 1 <= len(asked) <= 4
        assert threads() == before
        verifier.close()


def test_the_wait_for_keys_has_its_limit_while_uwsgi_will_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adieu.pyjwt._TIMEOUT", 10 * TEST_TIMEOUT)
    monkeypatch.setitem(sys.modules, "uwsgi", types.SimpleNamespace(has_threads=1, worker_id=lambda: 0))
    with an_issuer_that_drips(b"HTTP/1.1 200 OK\r\n\r\n") as url, Blocklist.in_memory() as blocklist:
        verifier = Verifier(issuer="adieu", blocklist=blocklist, keys_url=url)
        started = time.monotonic()
        assert not verifier.is_ready
        with pytest.raises(StaleError, match="TimeoutError"):
            verifier.wait_ready(0.3)
        assert time.monotonic() - started < TEST_TIMEOUT
        verifier.close()


def test_keys_are_read_again_when_the_issuer_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adieu.pyjwt._MIN_MAX_AGE", 0.1)
    monkeypatch.setattr("adieu.pyjwt._MIN_KEYS_INTERVAL", 0.05)
    asked = list[str]()
    with (
        a_node_that_answers(b'{"keys": []}', agents=asked, cache_control="public, max-age=0") as url,
        Blocklist.in_memory() as blocklist,
        Verifier(issuer="adieu", blocklist=blocklist, keys_url=url),
    ):
        eventually(lambda: len(asked) > 2)


@pytest.mark.parametrize("named", [{}, {"kid": "new"}])
def test_a_token_that_no_known_key_has_signed_causes_a_request(
    named: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adieu.pyjwt._MIN_KEYS_INTERVAL", 0.05)
    asked = list[str]()
    with (
        a_node_that_answers(b'{"keys": []}', agents=asked) as url,
        Blocklist.in_memory() as blocklist,
        Verifier(issuer="adieu", blocklist=blocklist, keys_url=url) as verifier,
    ):
        verifier.wait_ready(TEST_TIMEOUT)
        for key, algorithm in ((Ed25519PrivateKey.generate(), "EdDSA"), (generate_private_key(SECP256R1()), "ES256")):
            asked.clear()
            with pytest.raises(TokenError):
                verifier.verify(jwt.encode({"sub": "jose"}, key, algorithm, headers={"typ": "at+jwt", **named}))
            eventually(lambda: len(asked) > 0)


@pytest.mark.parametrize(
    ("said", "age"),
    [
        ("", 300),
        ("no-cache", 300),
        ("max-age=", 300),
        ("max-age=soon", 300),
        ("max-age=-1", 300),
        ("s-maxage=900", 300),
        ("max-age=900", 900),
        ("public,max-age=900, immutable", 900),
        ("max-age=1", 60),
        ("max-age=86400", 3600),
    ],
)
def test_keys_are_used_for_as_long_as_the_issuer_says_within_limits(said: str, age: float) -> None:
    assert _age(said) == age
