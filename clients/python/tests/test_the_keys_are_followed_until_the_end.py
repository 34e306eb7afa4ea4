"""The thread that reads the keys of an issuer ends with its verifier."""

import contextlib
import gc
import logging
import socket
import threading
from collections.abc import Iterator

import pytest
from adieu_server import Credentials, Server
from conftest import TEST_TIMEOUT, eventually, new_id
from fake_node import a_node_that_answers

from adieu import Blocklist, StaleError, Verifier

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
