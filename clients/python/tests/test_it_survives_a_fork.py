"""Each child of a fork follows by itself, and does not rely on the freshness of its parent."""

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adieu_server import Credentials, Server
from conftest import TEST_TIMEOUT, new_id
from tcp_proxy import Proxy

from adieu import Blocklist, StaleError

Follow = Callable[..., Blocklist]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


def in_a_child(work: Callable[[], Any]) -> Any:
    """Runs the function in a forked child; returns its result."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reading)
            signal.alarm(int(TEST_TIMEOUT))
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(work(), pipe)
            status = 0
        except BaseException:  # noqa: BLE001  It goes no further than this process.
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return pickle.loads(content)  # noqa: S301


def native_threads() -> list[str]:
    """Returns the names of the threads of this process, of Python and others."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    # Before 3.14, the operating system does not get the names of Python's threads.
    of_python = [thread.name for thread in threading.enumerate()]
    return of_python + [name for name in names if name not in of_python]


def test_a_child_follows_by_itself(shared_server: Server, shared_client: Credentials, follow: Follow) -> None:
    blocklist = follow(shared_server.url, shared_client, start_timeout=TEST_TIMEOUT)
    known, in_child, in_parent = new_id(), new_id(), new_id()
    blocklist.add(known)

    def child() -> tuple[bool, bool, bool]:
        before = in_child in blocklist
        blocklist.add(in_child)
        return known in blocklist, before, in_child in blocklist

    assert in_a_child(child) == (True, False, True)
    # The parent continues unaffected, on its own connections.
    blocklist.add(in_parent)
    assert in_parent in blocklist
    assert in_a_child(lambda: (in_child in blocklist, in_parent in blocklist)) == (True, True)


def test_a_child_has_a_follower_of_its_own(shared_server: Server, shared_client: Credentials, follow: Follow) -> None:
    blocklist = follow(shared_server.url, shared_client)
    name, threads = in_a_child(lambda: (blocklist._follower.name, native_threads()))
    assert name != blocklist._follower.name
    assert threads.count("adieu-follower") == 1


def test_a_child_speaks_on_connections_of_its_own(
    shared_server: Server, shared_client: Credentials, follow: Follow
) -> None:
    blocklist = follow(shared_server.url, shared_client, start_timeout=TEST_TIMEOUT)

    def ports() -> set[int]:
        blocklist.add(new_id())
        sockets = [connection.sock for connection in blocklist._node._all]
        return {each.getsockname()[1] for each in sockets if each is not None}

    assert not in_a_child(ports) & ports()


def test_a_child_does_not_take_its_parents_freshness_for_its_own(
    client: Credentials, proxy: Proxy, follow: Follow
) -> None:
    blocklist = follow(proxy.url, client, start_timeout=0)
    known = new_id()
    blocklist.add(known)
    # The parent is fresh. The child is not: `?wait=everywhere` would not have waited for it.
    proxy.hold_answers()

    def child() -> tuple[bool, bool, str]:
        try:
            new_id() in blocklist  # noqa: B015
        except StaleError as error:
            return known in blocklist, blocklist.is_fresh, str(error)
        return False, True, "accepted"

    assert blocklist.is_fresh
    knows, is_fresh, said = in_a_child(child)
    assert knows
    assert not is_fresh
    assert "not been read yet" in said


def test_a_child_that_prefers_to_accept_knows_what_its_parent_knew(
    client: Credentials, proxy: Proxy, follow: Follow
) -> None:
    blocklist = follow(proxy.url, client, start_timeout=0, stale_policy="accept")
    known = new_id()
    blocklist.add(known)
    proxy.cut()
    assert in_a_child(lambda: (known in blocklist, new_id() in blocklist, blocklist.is_fresh)) == (True, False, False)


def test_a_fork_in_the_middle_of_a_page_leaves_no_lock_behind(
    shared_server: Server, shared_client: Credentials, follow: Follow
) -> None:
    blocklist = follow(shared_server.url, shared_client, start_timeout=TEST_TIMEOUT)
    stop = threading.Event()

    def keep_adding() -> None:
        while not stop.is_set():
            blocklist.update([new_id() for _ in range(20)])

    adding = threading.Thread(target=keep_adding)
    adding.start()
    try:
        for _ in range(20):
            jti = new_id()

            def child(jti: str = jti) -> tuple[bool, bool]:
                blocklist.add(jti)
                return jti in blocklist, new_id() in blocklist

            assert in_a_child(child) == (True, False)
    finally:
        stop.set()
        adding.join()


def test_grandchildren_too(shared_server: Server, shared_client: Credentials, follow: Follow) -> None:
    blocklist = follow(shared_server.url, shared_client, start_timeout=TEST_TIMEOUT)
    jti = new_id()

    def grandchild() -> bool:
        blocklist.add(jti)
        return jti in blocklist

    assert in_a_child(lambda: in_a_child(grandchild))
    assert in_a_child(lambda: jti in blocklist)


def test_one_that_was_closed_stays_closed(shared_server: Server, shared_client: Credentials, follow: Follow) -> None:
    blocklist = follow(shared_server.url, shared_client)
    blocklist.close()
    assert "adieu-follower" not in in_a_child(native_threads)
