"""Each child of a fork follows by itself, and does not rely on the freshness of its parent."""

import json
import os
import pickle
import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from adieu_server import Credentials, Server
from conftest import TEST_TIMEOUT, ended_in_time, eventually, in_a_child, new_id
from fake_node import a_node_that_answers
from tcp_proxy import Proxy
from test_https import a_certificate

from adieu import Blocklist, StaleError

Follow = Callable[..., Blocklist]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


PATIENT = {"start_timeout": TEST_TIMEOUT, "stale_timeout": TEST_TIMEOUT}
"""A loaded machine may give a child its first news late, or nothing for a while."""


def native_threads() -> list[str]:
    """Returns the names of the threads of this process, of Python and others."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    # Before 3.14, the operating system does not get the names of Python's threads.
    of_python = [thread.name for thread in threading.enumerate()]
    return of_python + [name for name in names if name not in of_python]


def test_a_child_follows_by_itself(shared_server: Server, shared_client: Credentials, follow: Follow) -> None:
    blocklist = follow(shared_server.url, shared_client, **PATIENT)
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

    def child() -> tuple[str | None, list[str]]:
        # A thread of the compiled core takes its name only after its start.
        eventually(lambda: "adieu-follower" in native_threads())
        return blocklist._follower.name, native_threads()

    name, threads = in_a_child(child)
    assert name != blocklist._follower.name
    assert threads.count("adieu-follower") == 1


def test_a_child_speaks_on_connections_of_its_own(
    shared_server: Server, shared_client: Credentials, follow: Follow
) -> None:
    blocklist = follow(shared_server.url, shared_client, **PATIENT)

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
    blocklist = follow(shared_server.url, shared_client, **PATIENT)
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


def test_a_fork_needs_no_certificate_file(
    shared_server: Server, shared_client: Credentials, follow: Follow, tmp_path: Path
) -> None:
    roots = a_certificate(tmp_path)
    blocklists = [
        follow(shared_server.url, shared_client, **PATIENT, **options) for options in ({"ca_file": roots}, {})
    ]
    roots.unlink()
    for _ in range(2):
        jti = new_id()

        def child(jti: str = jti) -> list[bool]:
            return [jti in blocklist for blocklist in blocklists]

        assert in_a_child(child) == [False, False]
        for blocklist in blocklists:
            blocklist.add(jti)
            eventually(lambda blocklist=blocklist: blocklist.is_fresh)  # type: ignore[misc]
            assert jti in blocklist


def test_what_can_not_start_after_a_fork_starts_later(
    shared_server: Server, shared_client: Credentials, follow: Follow
) -> None:
    blocklists = [follow(shared_server.url, shared_client, **PATIENT) for _ in range(2)]
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)

    def child() -> list[bool]:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        for blocklist in blocklists:
            blocklist.wait_ready(TEST_TIMEOUT)
        return [new_id() in blocklist for blocklist in blocklists]

    for _ in range(2):
        started_at = [blocklist._follower.complete_at or 0 for blocklist in blocklists]
        reading, writing = os.pipe()
        # So that no descriptor is left, not even below the limit.
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))
        try:
            pid = os.fork()
            if pid == 0:
                try:
                    os.write(writing, pickle.dumps(child()))
                    os._exit(0)
                finally:
                    os._exit(1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        os.close(writing)
        with ended_in_time(pid), os.fdopen(reading, "rb") as pipe:
            assert pickle.loads(pipe.read()) == [False, False]  # noqa: S301
            assert os.waitpid(pid, 0)[1] == 0
        for blocklist, before in zip(blocklists, started_at, strict=True):
            # The news of a read that ended just before the fork is newer too.
            follower = blocklist._follower
            eventually(lambda f=follower, t=before: (f.complete_at or 0) > t and f.error is None)  # type: ignore[misc]
            assert new_id() not in blocklist


def test_a_process_that_forks_all_the_time_stays_fresh(follow: Follow) -> None:
    page = {"cursor": "log.1", "complete": True, "from_start": True, "age_ms": 0, "pruned_through": 0}
    page |= {"issuer": "adieu", "max_staleness_ms": 2000, "entries": []}
    with a_node_that_answers(json.dumps(page).encode(), after=0.15) as url:
        blocklist = follow(url, Credentials("shop", "secret"), start_timeout=0)
        end = time.monotonic() + 4
        while time.monotonic() < end:
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            with ended_in_time(pid):
                os.waitpid(pid, 0)
            time.sleep(0.1)
            assert new_id() not in blocklist
        blocklist.close()


def test_grandchildren_too(shared_server: Server, shared_client: Credentials, follow: Follow) -> None:
    blocklist = follow(shared_server.url, shared_client, **PATIENT)
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
