"""A Blocklist behaves like a set, for every process and across restarts."""

import base64
import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from adieu_server import Credentials, Server
from conftest import TEST_TIMEOUT, eventually, new_id
from fake_node import PAGE, a_node_that_answers
from tcp_proxy import Proxy

from adieu import Blocklist, RefusedError, StaleError, UnavailableError
from adieu.node import MAX_BODY_BYTES, _bodies

Follow = Callable[..., Blocklist]

EMPTY_PAGE = json.dumps({**PAGE, "entries": []}).encode()


def test_what_was_added_is_in_it_at_once(shared_server: Server, shared_client: Credentials, follow: Follow) -> None:
    blocklist = follow(shared_server.url, shared_client)
    jti = new_id()
    assert jti not in blocklist
    blocklist.add(jti)
    assert jti in blocklist


def test_many_can_be_added_at_once_and_again(shared_server: Server, shared_client: Credentials, follow: Follow) -> None:
    blocklist = follow(shared_server.url, shared_client)
    jtis = [new_id() for _ in range(250)]
    blocklist.update(jtis)
    blocklist.update(jtis[:3])
    assert all(jti in blocklist for jti in jtis)
    assert len(blocklist) >= 250
    assert blocklist


def test_many_with_long_ids_are_added_by_requests_that_a_node_accepts(
    shared_server: Server, shared_client: Credentials, follow: Follow
) -> None:
    # In JSON, each takes three times as many bytes.
    jtis = [new_id() + "\U0001f44b" * 119 for _ in range(120)]
    blocklist = follow(shared_server.url, shared_client)
    blocklist.update(jtis)
    assert all(jti in blocklist for jti in jtis)


def test_a_request_that_is_too_long_is_refused(
    shared_server: Server, shared_client: Credentials, follow: Follow
) -> None:
    blocklist = follow(shared_server.url, shared_client)
    with pytest.raises(RefusedError) as refused:
        blocklist.add("x" * 100_000)
    assert refused.value.status == 413


@pytest.mark.pure
def test_a_body_is_as_long_as_it_may_be() -> None:
    revocations = [{"token_id": "x" * length} for length in [*range(900, 1100), 70_000, 1, 1]]
    bodies = list(_bodies(revocations))
    assert [each for body in bodies for each in json.loads(body)["revocations"]] == revocations
    assert [len(body) > MAX_BODY_BYTES for body in bodies] == [False] * 4 + [True, False]
    assert all(len(body) > MAX_BODY_BYTES - 1200 for body in bodies[:3])
    few = [{"token_id": "x"}] * 250
    assert [len(json.loads(body)["revocations"]) for body in _bodies(few)] == [100, 100, 50]
    assert not list(_bodies([]))


def test_another_process_knows_it_within_the_bound(
    shared_server: Server, shared_client: Credentials, follow: Follow
) -> None:
    here = follow(shared_server.url, shared_client)
    asked = """
import sys
from adieu import Blocklist
blocklist = Blocklist(*sys.argv[1:4])
blocklist.wait_ready(60)
print("ready", flush=True)
for jti in map(str.strip, sys.stdin):
    print(jti in blocklist, flush=True)
"""
    arguments = [sys.executable, "-c", asked, shared_server.url, shared_client.name, shared_client.secret]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as there:
        assert there.stdin is not None
        assert there.stdout is not None
        assert there.stdout.readline() == "ready\n"
        jti = new_id()

        def is_in_it_there() -> bool:
            assert there.stdin is not None
            assert there.stdout is not None
            there.stdin.write(f"{jti}\n")
            there.stdin.flush()
            return there.stdout.readline() == "True\n"

        assert not is_in_it_there()
        here.add(jti)
        answered = time.monotonic()
        asked_at = answered
        while not is_in_it_there():
            # It may take this long; usually it takes a few milliseconds.
            assert asked_at - answered < 2.0
            time.sleep(0.01)
            asked_at = time.monotonic()
        there.stdin.close()


def test_it_is_still_in_it_after_the_server_was_killed(
    server: Server, client: Credentials, proxy: Proxy, follow: Follow
) -> None:
    before = follow(proxy.url, client)
    jti = new_id()
    before.add(jti)
    server.stop(signal.SIGKILL)
    server.start()

    after = follow(proxy.url, client)
    assert jti in after
    eventually(lambda: before.is_fresh)
    assert jti in before


def test_add_raises_when_it_may_not_be_durable(client: Credentials, proxy: Proxy, follow: Follow) -> None:
    blocklist = follow(proxy.url, client, timeout=0.2)
    jti = new_id()
    proxy.hold_answers()
    with pytest.raises(UnavailableError, match="did not answer within"):
        blocklist.add(jti)
    proxy.cut()
    with pytest.raises(UnavailableError, match="can't be reached"):
        blocklist.add(jti)
    proxy.mend()
    blocklist.add(jti)
    assert jti in blocklist


def test_add_raises_what_the_node_refuses(server: Server, follow: Follow) -> None:
    blocklist = follow(server.url, server.add_client("reader", "follow"))
    with pytest.raises(RefusedError) as refused:
        blocklist.add(new_id())
    assert refused.value.status == 403


def test_wrong_credentials_are_told_at_the_start(server: Server, follow: Follow) -> None:
    blocklist = follow(server.url, Credentials("shop", "wrong"), ready=False)
    with pytest.raises(RefusedError) as refused:
        blocklist.wait_ready(TEST_TIMEOUT)
    assert refused.value.status == 401
    with pytest.raises(StaleError, match="401"):
        new_id() in blocklist  # noqa: B015


def test_a_status_that_may_pass_is_not_final(follow: Follow) -> None:
    with a_node_that_answers(EMPTY_PAGE, holds=True, statuses=(204, 302, 404, 405, 410, 418, 429, 503)) as url:
        assert new_id() not in follow(url, Credentials("shop", "secret"), max_staleness=600)


@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_a_status_that_only_an_operator_changes_is_told_at_the_start(follow: Follow, status: int) -> None:
    with a_node_that_answers(EMPTY_PAGE, statuses=itertools.repeat(status)) as url:
        blocklist = follow(url, Credentials("shop", "secret"), ready=False)
        with pytest.raises(RefusedError, match=str(status)) as refused:
            blocklist.wait_ready(TEST_TIMEOUT)
        assert refused.value.status == status
        blocklist.close()


@pytest.mark.parametrize("as_in_a_file", ["{}\n", "{}\r\n", "\ufeff{}", "\ufeff{}\n\n"])
def test_a_secret_may_be_as_a_file_has_it(
    shared_server: Server, shared_client: Credentials, follow: Follow, as_in_a_file: str
) -> None:
    secret = as_in_a_file.format(shared_client.secret)
    follow(shared_server.url, Credentials(shared_client.name, secret)).wait_ready(TEST_TIMEOUT)


def test_a_bound_that_the_node_can_not_keep_is_told_at_the_start(
    server: Server, client: Credentials, follow: Follow
) -> None:
    blocklist = follow(server.url, client, ready=False, max_staleness=2.5)
    with pytest.raises(RefusedError, match="max_staleness") as refused:
        blocklist.wait_ready(TEST_TIMEOUT)
    assert refused.value.status == 422


def test_a_service_that_was_removed_is_refused_everything(server: Server, client: Credentials, follow: Follow) -> None:
    blocklist = follow(server.url, client)
    jti = new_id()
    assert jti not in blocklist
    server.run("client", "remove", client.name)

    def is_stale() -> bool:
        try:
            return jti in blocklist
        except StaleError:
            return True

    eventually(is_stale)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("ftp://host", "shop", "secret"), {}),
        (("http://", "shop", "secret"), {}),
        (("http://shop:secret@host", "shop", "secret"), {}),
        (("http://host", "", "secret"), {}),
        (("http://host", "sh:op", "secret"), {}),
        (("http://host", "shop", ""), {}),
        (("http://host", "shop", "\ufeff\n"), {}),
        (("http://host", "shop", "secret"), {"max_staleness": 0}),
        (("http://host", "shop", "secret"), {"stale_policy": "guess"}),
        (("http://host", "shop", "secret"), {"timeout": 0}),
        (("http://host", "shop", "secret"), {"lifetime": -1}),
    ],
)
def test_what_can_not_be_is_refused_when_it_is_made(
    arguments: tuple[str, str, str], options: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match="must"):
        Blocklist(*arguments, **options)  # type: ignore[arg-type]


def test_what_is_no_id_is_not_quietly_absent(shared_server: Server, shared_client: Credentials, follow: Follow) -> None:
    blocklist = follow(shared_server.url, shared_client)
    for wrong in (None, 5, b"id"):
        with pytest.raises(TypeError):
            wrong in blocklist  # noqa: B015
        with pytest.raises(TypeError):
            blocklist.add(wrong)  # type: ignore[arg-type]


def test_how_long_a_revocation_is_kept_is_taken_from_exp_or_from_the_lifetime(
    server: Server, client: Credentials, follow: Follow
) -> None:
    now = int(time.time())
    blocklist = follow(server.url, client, lifetime=3600)
    by_exp, by_time, by_lifetime = new_id(), new_id(), new_id()
    blocklist.add(by_exp, exp=now + 500.9)
    blocklist.add(by_time, keep_until=now + 700)
    blocklist.add(by_lifetime)
    feed = server.ask("GET", "/revocations", basic=_basic(client))[1]
    kept = {entry["id"]: entry["lapses_at"] for entry in feed["entries"]}
    assert kept[by_exp] == now + 500 + 120
    assert kept[by_time] == now + 700 + 120
    assert now + 3600 + 120 <= kept[by_lifetime] <= now + 3600 + 120 + TEST_TIMEOUT


def test_nothing_takes_an_id_out_again() -> None:
    for method in ("discard", "remove", "clear", "pop", "difference_update"):
        assert not hasattr(Blocklist, method)


def test_the_secret_is_nowhere_to_be_read(
    client: Credentials, proxy: Proxy, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    blocklist = follow(proxy.url, client)
    encoded = _basic(client)
    proxy.cut()
    with pytest.raises(UnavailableError) as raised:
        blocklist.add(new_id())
    eventually(lambda: "can't be followed" in caplog.text)
    for text in (repr(blocklist), str(blocklist), str(raised.value), repr(raised.value), caplog.text):
        assert client.secret not in text
        assert encoded not in text
    with pytest.raises(TypeError):
        json.dumps(blocklist)
    with pytest.raises(TypeError, match="secret"):
        blocklist.__reduce__()


def _basic(client: Credentials) -> str:
    return base64.b64encode(f"{client.name}:{client.secret}".encode()).decode()
