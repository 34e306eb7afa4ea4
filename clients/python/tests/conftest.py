"""The fixtures of the tests."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from adieu_server import Credentials, Server, running
from tcp_proxy import Proxy, proxy_to

from adieu import Blocklist
from adieu.clock import SECOND, moment

TEST_TIMEOUT = 60.0


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
