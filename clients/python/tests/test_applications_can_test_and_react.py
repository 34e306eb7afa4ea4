"""What applications build on: a blocklist in memory, fixtures, callbacks, asyncio, and processes that are frozen."""

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adieu_server import Credentials, Server, binary
from conftest import TEST_TIMEOUT, eventually, new_id
from fake_node import a_node_that_answers
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry
from tcp_proxy import Proxy

from adieu import AsyncBlocklist, Blocklist, InvalidClaimsError, RefusedError, StaleError
from adieu.clock import SECOND, moment
from adieu.errors import UnavailableError
from adieu.memory import MemoryNode
from adieu.node import Node
from adieu.opentelemetry import observe
from adieu.prometheus import BlocklistCollector

Follow = Callable[..., Blocklist]


def a_payload(**claims: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"jti": new_id(), "sub": new_id(), "sid": new_id(), "iat": now, "exp": now + 900, **claims}


@pytest.mark.pure
def test_each_request_states_the_version_of_the_package() -> None:
    agents: list[str] = []
    with a_node_that_answers(b"not a page", agents=agents) as url, pytest.raises(UnavailableError):
        Node(url, "shop", "secret", None).read({}, TEST_TIMEOUT)
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    version = re.search('^version = "(.+)"$', project, re.MULTILINE)
    assert version
    assert agents == [f"adieu-python/{version[1]}"]


@pytest.mark.pure
def test_in_memory_the_rules_are_the_same() -> None:
    with Blocklist.in_memory(issuer="https://shop.example") as blocklist:
        assert blocklist.is_fresh
        one, other = a_payload(), a_payload()
        blocklist.revoke(one)
        assert blocklist.is_revoked({**other, "sid": one["sid"]})
        assert one["jti"] in blocklist
        assert not blocklist.is_revoked(other)
        assert blocklist.revoke_once(other)
        assert not blocklist.revoke_once(other)
        blocklist.revoke_subject("jose")
        assert blocklist.is_revoked(a_payload(sub="jose", iat=1))
        assert not blocklist.is_revoked(a_payload(sub="jose"))
    with pytest.raises(StaleError):
        blocklist.is_revoked(a_payload())


@pytest.mark.pure
@pytest.mark.parametrize(
    "entry", [{"issuer": "adieu", "kind": "newer", "id": "x", "lapses_at": 9}, {"id": "x"}, {}, 7, "x"]
)
def test_who_was_first_is_not_known_if_the_log_can_not_be_read(monkeypatch: pytest.MonkeyPatch, entry: Any) -> None:
    class OurUnavailableError(UnavailableError):
        pass

    monkeypatch.setattr(Blocklist, "unavailable_error", OurUnavailableError)
    with Blocklist.in_memory() as blocklist:
        node = blocklist._node
        assert isinstance(node, MemoryNode)
        revoke = node.revoke

        def revoke_after_another(*arguments: Any) -> None:
            node._entries.append(entry)
            revoke(*arguments)

        monkeypatch.setattr(node, "revoke", revoke_after_another)
        payload = a_payload()
        with pytest.raises(OurUnavailableError):
            blocklist.revoke_once(payload)
        assert blocklist.is_revoked(payload)


def test_in_memory_the_same_is_refused(server: Server, client: Credentials, follow: Follow) -> None:
    now = time.time()
    refused: list[Callable[[Blocklist], None]] = [
        lambda blocklist: blocklist.add(""),
        lambda blocklist: blocklist.add("a" * 513),
        lambda blocklist: blocklist.add("\u00e9" * 257),
        lambda blocklist: blocklist.add("\ud800"),
        lambda blocklist: blocklist.update(["good", ""]),
        lambda blocklist: blocklist.add("ms", exp=now * 1000),
        lambda blocklist: blocklist.add("ms", keep_until=now * 1000),
        lambda blocklist: blocklist.add("negative", exp=-60),
        lambda blocklist: blocklist.revoke({"jti": "ms", "exp": now}, keep_until=now * 1000),
        lambda blocklist: blocklist.revoke_subject(""),
        lambda blocklist: blocklist.revoke_subject("a" * 513),
        lambda blocklist: blocklist.revoke_subject("jose", issuer=""),
        lambda blocklist: blocklist.revoke_claim("sub", "jose"),
        lambda blocklist: blocklist.revoke_claim("", "acme"),
        lambda blocklist: blocklist.revoke_claim("two words", "acme"),
        lambda blocklist: blocklist.revoke_claim("tenant", ""),
        lambda blocklist: blocklist.revoke_claim("tenant", "a" * 506),
        lambda blocklist: blocklist.revoke_claim("tenant", "acme", issuer=""),
    ]
    with Blocklist.in_memory(max_staleness=0.5) as memory:
        for blocklist in (memory, follow(server.url, client)):
            for number, revoke in enumerate(refused):
                with pytest.raises(RefusedError) as error:
                    revoke(blocklist)
                assert error.value.status in (400, 422), number
            assert len(blocklist) == 0
            blocklist.add("a" * 512)
        memory.add("late", exp=253_402_300_799)
        # It returns once the follower has read everything before it.
        memory.revoke_subject("jose")
        assert "good" not in memory


@pytest.mark.pure
def test_pytest_has_fixtures_for_applications(tmp_path: Path) -> None:
    (tmp_path / "adieu").symlink_to(binary())
    (tmp_path / "test_it.py").write_text(
        "from adieu import Blocklist\n"
        "def test_memory(adieu_blocklist):\n"
        "    adieu_blocklist.add('x')\n"
        "    assert 'x' in adieu_blocklist\n"
        "def test_server(adieu_server):\n"
        "    with Blocklist(adieu_server.url, adieu_server.client_id, adieu_server.secret) as blocklist:\n"
        "        blocklist.wait_ready(60)\n"
        "        blocklist.add('x')\n"
        "        assert 'x' in blocklist\n"
    )
    for path, outcome in (
        (f"{tmp_path}:{os.environ['PATH']}", "2 passed"),
        (str(tmp_path / "x"), "1 passed, 1 skipped"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "adieu.testing", str(tmp_path)],
            env={**os.environ, "PATH": path, "PYTEST_ADDOPTS": ""},
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert outcome in done.stdout, done.stdout + done.stderr


def test_a_callback_comes_when_a_token_is_revoked(
    server: Server, client: Credentials, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    here, elsewhere = follow(server.url, client), follow(server.url, client)
    by_id, by_session, by_subject, untouched, cancelled = (a_payload() for _ in range(5))
    called: list[str] = []

    def fails() -> None:
        called.append("failed")
        raise RuntimeError("of the application")

    here.on_revoked(by_id, fails)
    here.on_revoked(by_session, lambda: called.append("session"))
    here.on_revoked(by_subject, lambda: called.append("subject"))
    here.on_revoked(untouched, lambda: called.append("untouched"))
    here.on_revoked(cancelled, lambda: called.append("cancelled"))()
    elsewhere.add(by_id["jti"])
    eventually(lambda: called == ["failed"])
    eventually(lambda: "a callback failed" in caplog.text)
    elsewhere.revoke({**a_payload(), "sid": by_session["sid"]})
    eventually(lambda: called == ["failed", "session"])
    elsewhere.add(cancelled["jti"])
    here.revoke_subject(by_subject["sub"])
    eventually(lambda: called == ["failed", "session", "subject"])
    # A token that was revoked before, in the place of another.
    here.on_revoked(a_payload(), lambda: called.append("never"))()
    for number in range(20):
        leave = here.on_revoked(a_payload(), lambda: called.append("never"))
        time.sleep(random.random() / 10)  # noqa: S311
        here.on_revoked(by_id, lambda number=number: called.append(str(number)))  # type: ignore[misc]
        leave()
        eventually(lambda number=number: called[-1] == str(number))  # type: ignore[misc]
    # One that can't be judged is rejected at once, and not in the thread.
    for unknown, error in (("exp", InvalidClaimsError), ("jti", TypeError)):
        payload = {name: value for name, value in a_payload().items() if name != unknown}
        with pytest.raises(error):
            here.on_revoked(payload, lambda: called.append("never"))
    here.on_revoked(by_id, lambda: called.append("still there"))
    eventually(lambda: called[-1] == "still there")
    assert here.is_fresh


def test_callbacks_tell_when_it_becomes_stale_and_fresh(client: Credentials, proxy: Proxy, follow: Follow) -> None:
    here = follow(proxy.url, client, max_staleness=2)
    stale, fresh = threading.Event(), threading.Event()
    here.on_stale(stale.set)
    here.on_fresh(fresh.set)
    proxy.cut()
    assert stale.wait(TEST_TIMEOUT)
    assert not fresh.is_set()
    proxy.mend()
    assert fresh.wait(TEST_TIMEOUT)


def test_its_numbers_are_there_for_prometheus(client: Credentials, proxy: Proxy, follow: Follow) -> None:
    proxy.cut()
    here = follow(proxy.url, client, ready=False, start_timeout=0)
    numbers = CollectorRegistry()
    numbers.register(BlocklistCollector(here))

    def value(name: str) -> float | None:
        return numbers.get_sample_value(f"adieu_blocklist_{name}", {"client": client.name})

    assert (value("fresh"), value("staleness_seconds")) == (0, None)
    proxy.mend()
    here.wait_ready(TEST_TIMEOUT)
    here.add(new_id())
    eventually(lambda: value("fresh") == 1)
    assert value("entries") == 1
    staleness = value("staleness_seconds")
    assert staleness is not None
    assert staleness >= 0
    with pytest.raises(ValueError, match="adieu_blocklist_fresh"):
        numbers.register(BlocklistCollector(here))


def test_its_numbers_are_there_for_opentelemetry(client: Credentials, proxy: Proxy, follow: Follow) -> None:
    proxy.cut()
    here = follow(proxy.url, client, ready=False, start_timeout=0)
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    observe(provider.get_meter("test"), here)

    def values() -> dict[str, float]:
        data = reader.get_metrics_data()
        assert data is not None
        metrics = data.resource_metrics[0].scope_metrics[0].metrics
        points = {metric.name: point for metric in metrics for point in metric.data.data_points}
        assert all(point.attributes == {"client": client.name} for point in points.values())
        return {name: point.value for name, point in points.items()}  # type: ignore[union-attr]

    assert values() == {"adieu.blocklist.fresh": 0, "adieu.blocklist.entries": 0}
    proxy.mend()
    here.wait_ready(TEST_TIMEOUT)
    here.add(new_id())
    eventually(lambda: values()["adieu.blocklist.fresh"] == 1)
    found = values()
    assert found["adieu.blocklist.entries"] == 1
    assert found["adieu.blocklist.staleness"] >= 0
    provider.shutdown()


def test_what_waits_can_be_awaited(shared_server: Server, shared_client: Credentials) -> None:
    async def story() -> None:
        async with AsyncBlocklist(shared_server.url, shared_client.name, shared_client.secret) as blocklist:
            await blocklist.wait_ready(TEST_TIMEOUT)
            ended, used, other = a_payload(), a_payload(), a_payload()
            assert not await blocklist.is_revoked(ended)
            await blocklist.revoke(ended)
            assert await blocklist.is_revoked(ended)
            assert await blocklist.revoke_once(used)
            await blocklist.add(other["jti"])
            await blocklist.update([new_id()])
            await blocklist.revoke_subject(other["sub"])
            assert await blocklist.is_revoked(other)

    asyncio.run(story())


FROZEN = """
import sys
from adieu import Blocklist, StaleError
blocklist = Blocklist(*sys.argv[1:4], max_staleness=0.5, stale_timeout=60)
blocklist.wait_ready(60)
print("ready", flush=True)
for jti in map(str.strip, sys.stdin):
    print(jti in blocklist, flush=True)
"""


def test_a_process_that_was_frozen_reads_within_the_request(
    shared_server: Server, shared_client: Credentials, follow: Follow
) -> None:
    elsewhere = follow(shared_server.url, shared_client)
    arguments = [sys.executable, "-c", FROZEN, shared_server.url, shared_client.name, shared_client.secret]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(4):
            process.send_signal(signal.SIGSTOP)
            stale_at = moment() + SECOND
            revoked = new_id()
            elsewhere.add(revoked)
            eventually(lambda until=stale_at: moment() > until)  # type: ignore[misc]
            process.send_signal(signal.SIGCONT)
            for jti, found in ((revoked, "True\n"), (new_id(), "False\n")):
                process.stdin.write(f"{jti}\n")
                process.stdin.flush()
                assert process.stdout.readline() == found
        process.stdin.close()
