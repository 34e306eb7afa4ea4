"""No token is accepted later than max_staleness after its logout was answered, whatever fails."""

import dataclasses
import json
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from adieu_server import Credentials, Server
from conftest import TEST_TIMEOUT, eventually, new_id
from fake_node import PAGE, a_node_that_answers
from tcp_proxy import Proxy

from adieu import Blocklist, StaleError, UnavailableError
from adieu.clock import SECOND, moment
from adieu.memory import MemoryNode
from adieu.node import Node, Page

Follow = Callable[..., Blocklist]
BOUND = 2.0


def is_accepted(blocklist: Blocklist, jti: str) -> bool:
    """Runs the check of a service for each request."""
    try:
        return jti not in blocklist
    except StaleError:
        return False


def knows(blocklist: Blocklist, jti: str) -> bool:
    """Checks that the token is reported as revoked, not as unknown."""
    try:
        return jti in blocklist
    except StaleError:
        return False


def is_stale(blocklist: Blocklist) -> bool:
    try:
        new_id() in blocklist  # noqa: B015
    except StaleError:
        return True
    return False


def last_acceptance(blocklist: Blocklist, jti: str) -> int:
    """Repeats the check until it rejects; returns the moment of the last check that accepted."""
    accepted_at = 0

    def is_refused() -> bool:
        nonlocal accepted_at
        asked_at = moment()
        if is_accepted(blocklist, jti):
            accepted_at = asked_at
            return False
        return True

    eventually(is_refused)
    return accepted_at


@pytest.mark.parametrize("how", ["cut off", "held up", "frozen"])
def test_a_service_that_hears_nothing_refuses_in_time(
    how: str, server: Server, client: Credentials, proxy: Proxy, follow: Follow
) -> None:
    elsewhere = follow(server.url, client)
    here = follow(proxy.url, client, max_staleness=BOUND)
    jti = new_id()
    assert is_accepted(here, jti)

    if how == "cut off":
        proxy.cut()
    else:
        proxy.hold_answers()
        proxy.wait_for_held_answer()
    elsewhere.add(jti)
    answered_at = moment()
    if how == "frozen":
        server.freeze()
    assert last_acceptance(here, jti) <= answered_at + int(BOUND * SECOND)
    assert is_stale(here)

    # After the outage it continues, with the revocations of the meantime.
    server.thaw()
    proxy.mend()
    eventually(lambda: knows(here, jti))


@pytest.mark.pure
def test_an_answer_that_comes_late_proves_nothing_that_it_should_not(
    server: Server, client: Credentials, proxy: Proxy, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = follow(proxy.url, client, max_staleness=BOUND)
    elsewhere = follow(server.url, client)
    jti = new_id()
    # From the next request on, the response is late, and the request is not repeated.
    monkeypatch.setattr(here._follower, "_timeout", lambda _: TEST_TIMEOUT)
    proxy.hold_answers()
    proxy.wait_for_held_answer()
    proxy.release_held_answer()
    # This request was sent and answered before the logout. Its response takes longer than the bound.
    proxy.wait_for_question()
    proxy.wait_for_held_answer()
    elsewhere.add(jti)
    too_late = moment() + int(BOUND * SECOND)
    eventually(lambda: moment() > too_late)
    proxy.release_held_answer()
    # The response has been applied once the next request is sent, whose response is held again.
    proxy.wait_for_question()
    assert not is_accepted(here, jti)
    assert is_stale(here)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("bound", "wait", "timeout", "timeout_without_wait"),
    [(0.2, 0.05, 0.55, 2.0), (2.0, 0.5, 1.0, 2.0), (8.0, 2.0, 4.0, 8.0), (600.0, 30.0, 40.0, 10.0)],
)
def test_a_request_is_given_up_while_there_is_time_for_another(
    monkeypatch: pytest.MonkeyPatch, bound: float, wait: float, timeout: float, timeout_without_wait: float
) -> None:
    read, asked = MemoryNode.read, list[tuple[float, float]]()

    def read_from_one_that_loses_a_request(node: MemoryNode, query: Mapping[str, str | int], timeout: float) -> Page:
        asked.append((int(query["wait"]) / 1000, timeout))
        if len(asked) == 3:
            raise UnavailableError("it is lost")
        return read(node, {**query, "wait": 1}, timeout)

    monkeypatch.setattr(MemoryNode, "read", read_from_one_that_loses_a_request)
    with Blocklist.in_memory(max_staleness=bound):
        eventually(lambda: len(asked) > 4)
    held, repeated = (wait, timeout), (0, timeout_without_wait)
    assert asked[:5] == [(0, 10.0), held, held, repeated, held]


@pytest.mark.pure
def test_the_lag_of_the_node_itself_counts(
    shared_server: Server, shared_client: Credentials, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    lag_ms = 1500
    read = Node.read

    def read_from_one_that_lags(node: Node, query: Mapping[str, str | int], timeout: float) -> Page:
        page = read(node, query, timeout)
        return dataclasses.replace(page, age_ms=page.age_ms + lag_ms)

    monkeypatch.setattr(Node, "read", read_from_one_that_lags)
    here = follow(shared_server.url, shared_client, max_staleness=BOUND)
    assert here.staleness is not None
    assert here.staleness >= lag_ms / 1000

    lag_ms = 2500
    eventually(lambda: is_stale(here))
    eventually(lambda: "the node itself has had no news" in str(here._follower.error))


def test_a_restart_of_the_server_costs_nothing_but_a_moment(
    server: Server, client: Credentials, proxy: Proxy, follow: Follow
) -> None:
    here = follow(proxy.url, client)
    jti = new_id()
    here.add(jti)
    server.stop(signal.SIGTERM)
    server.start()
    later = new_id()
    follow(server.url, client).add(later)
    eventually(lambda: not is_accepted(here, later) and here.is_fresh)
    assert jti in here
    assert later in here


def test_before_the_first_snapshot_everything_is_refused(client: Credentials, proxy: Proxy, follow: Follow) -> None:
    proxy.cut()
    here = follow(proxy.url, client, ready=False, start_timeout=0)
    assert here.staleness is None
    assert is_stale(here)
    with pytest.raises(StaleError, match="not been read yet"):
        here.wait_ready(0.01)
    proxy.mend()
    here.wait_ready(TEST_TIMEOUT)
    assert not is_stale(here)


def test_a_look_up_right_after_the_start_waits_for_the_first_snapshot(
    shared_server: Server, shared_client: Credentials, follow: Follow
) -> None:
    jti = new_id()
    follow(shared_server.url, shared_client).add(jti)
    here = follow(shared_server.url, shared_client, ready=False, start_timeout=TEST_TIMEOUT)
    assert jti in here
    assert here.is_fresh


def test_a_look_up_right_after_the_start_waits_on_if_the_first_snapshot_arrives_too_late(
    client: Credentials, proxy: Proxy, follow: Follow
) -> None:
    proxy.hold_answers()
    here = follow(proxy.url, client, ready=False, max_staleness=1, start_timeout=TEST_TIMEOUT)
    verdicts: list[bool] = []
    looks_up = threading.Thread(target=lambda: verdicts.append(new_id() in here), daemon=True)
    looks_up.start()
    proxy.wait_for_held_answer()
    time.sleep(1.1)
    proxy.mend()
    looks_up.join(TEST_TIMEOUT)
    assert verdicts == [False]


def test_a_service_may_choose_to_go_on(
    client: Credentials, proxy: Proxy, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    here = follow(proxy.url, client, max_staleness=0.2, stale_policy="accept")
    known, unknown = new_id(), new_id()
    here.add(known)
    proxy.cut()
    eventually(lambda: not here.is_fresh)
    assert known in here
    assert unknown not in here
    eventually(lambda: "accepted although they may be revoked" in caplog.text)
    assert caplog.text.count("can't be followed") == 1


def test_to_accept_what_is_stale_something_must_be_known(
    server: Server, client: Credentials, proxy: Proxy, follow: Follow
) -> None:
    proxy.cut()
    nobody_there = follow(proxy.url, client, ready=False, stale_policy="accept", start_timeout=0)
    not_let_in = follow(server.url, Credentials("shop", "wrong"), ready=False, stale_policy="accept", start_timeout=0)
    eventually(lambda: not_let_in._follower.error is not None and nobody_there._follower.error is not None)
    for blocklist in (nobody_there, not_let_in):
        assert is_stale(blocklist)
        with pytest.raises(StaleError, match="not been read yet"):
            blocklist.is_revoked({"jti": new_id(), "exp": 1_900_000_000})
    proxy.mend()
    nobody_there.wait_ready(TEST_TIMEOUT)
    proxy.cut()
    eventually(lambda: not nobody_there.is_fresh)
    assert not is_stale(nobody_there)


def test_one_that_was_closed_refuses(shared_server: Server, shared_client: Credentials, follow: Follow) -> None:
    with follow(shared_server.url, shared_client, start_timeout=0) as here:
        assert not is_stale(here)
    eventually(lambda: is_stale(here))


def test_a_restored_backup_takes_nothing_back(
    server: Server, client: Credentials, proxy: Proxy, tmp_path: Path, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    server.stop(signal.SIGTERM)
    shutil.copytree(server.data, tmp_path / "backup")
    server.start()
    here = follow(proxy.url, client)
    jti = new_id()
    follow(server.url, client).add(jti)
    eventually(lambda: jti in here)
    server.stop(signal.SIGKILL)

    shutil.rmtree(server.data)
    shutil.copytree(tmp_path / "backup", server.data)
    server.start()
    eventually(lambda: "replaced or rolled back" in caplog.text)
    eventually(lambda: here.is_fresh)
    assert jti in here


@pytest.mark.parametrize(("bound", "told"), [(2.0005, 2001), (2.0, 2000), (2.3, 2300), (16.1, 16_100), (0.1, 100)])
def test_the_node_is_told_the_bound_in_whole_milliseconds_rounded_up(follow: Follow, bound: float, told: int) -> None:
    targets: list[str] = []
    with a_node_that_answers(json.dumps({**PAGE, "entries": []}).encode(), holds=True, targets=targets) as url:
        follow(url, Credentials("shop", "secret"), max_staleness=bound, ready=False)
        eventually(lambda: bool(targets))
    assert parse_qs(urlsplit(targets[0]).query)["max_staleness"] == [str(told)]


def test_retries_take_no_random_numbers_of_the_application(follow: Follow) -> None:
    random.seed(1)
    before = random.getstate()
    with a_node_that_answers(b"no page") as url:
        blocklist = follow(url, Credentials("shop", "secret"), ready=False, start_timeout=0)
        eventually(lambda: blocklist._follower.error is not None)
        time.sleep(0.2)
    assert random.getstate() == before
