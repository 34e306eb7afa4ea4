"""The fixtures of the tests."""

import contextlib
import os
import pickle
import signal
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from adieu_server import Credentials, Server, running
from tcp_proxy import Proxy, proxy_to

from adieu import Blocklist
from adieu.clock import SECOND, moment

TEST_TIMEOUT = 60.0

BACKENDS = ("core", "pure")


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker of tests of one implementation."""
    config.addinivalue_line("markers", "pure: does not run with the compiled core")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs each test twice: with the compiled core, and without it."""
    is_pure = metafunc.definition.get_closest_marker("pure") is not None
    metafunc.parametrize("backend", ["pure"] if is_pure else BACKENDS, indirect=True)


@pytest.fixture(autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Chooses the implementation of all blocklists of a test, also in its child processes."""
    backend: str = request.param
    monkeypatch.setenv("ADIEU_PURE", "1" if backend == "pure" else "0")
    if backend == "core":
        # Without it, these tests would test the other implementation twice.
        import adieu_core  # noqa: F401
    return backend


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that all tests share."""
    with running(tmp_path_factory.mktemp("shared")) as server:
        yield server


@pytest.fixture(scope="session")
def shared_client(shared_server: Server) -> Credentials:
    """Credentials for this server."""
    return shared_server.add_client("shop")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server for one test, to stop and start."""
    with running(tmp_path / "adieu") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Credentials:
    """Credentials for this server."""
    return server.add_client("shop")


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A proxy in front of the server, which simulates a bad network."""
    with proxy_to(lambda: server.port) as proxy:
        yield proxy


@pytest.fixture
def follow(request: pytest.FixtureRequest) -> Callable[..., Blocklist]:
    """Creates blocklists, ready by default, and closes them at the end."""

    def make(url: str, client: Credentials, *, ready: bool = True, **options: object) -> Blocklist:
        blocklist = Blocklist(url, client.name, client.secret, **options)  # type: ignore[arg-type]
        request.addfinalizer(blocklist.close)
        assert blocklist.backend == ("pure" if os.environ["ADIEU_PURE"] == "1" or "ssl_context" in options else "core")
        if ready:
            blocklist.wait_ready(TEST_TIMEOUT)
        return blocklist

    return make


def new_id() -> str:
    """A token id that no other test uses."""
    return str(uuid.uuid4())


def eventually(what: Callable[[], bool]) -> None:
    """Repeats the check until it is true."""
    give_up_at = moment() + int(TEST_TIMEOUT * SECOND)
    while not what():
        assert moment() < give_up_at, "it never was"


@contextlib.contextmanager
def ended_in_time(pid: int) -> Iterator[None]:
    """Ends a child that hangs, perhaps before it has run any code of ours."""
    timer = threading.Timer(TEST_TIMEOUT, os.kill, (pid, signal.SIGKILL))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def in_a_child(work: Callable[[], Any]) -> Any:
    """Runs the function in a forked child, which is ended if it hangs; returns its result."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(work(), pipe)
            status = 0
        except BaseException:  # noqa: BLE001  It goes no further than this process.
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with ended_in_time(pid), os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
        assert os.waitpid(pid, 0)[1] == 0
    return pickle.loads(content)  # noqa: S301
