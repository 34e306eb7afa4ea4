"""What the tests have in common."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from adieu_server import Credentials, Server, running
from tcp_proxy import Proxy, proxy_to

from adieu import Blocklist
from adieu.clock import SECOND, moment

PATIENCE = 60.0


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that no test harms."""
    with running(tmp_path_factory.mktemp("shared")) as server:
        yield server


@pytest.fixture(scope="session")
def shared_client(shared_server: Server) -> Credentials:
    """Credentials for it."""
    return shared_server.add_client("shop")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, to stop and start."""
    with running(tmp_path / "adieu") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Credentials:
    """Credentials for it."""
    return server.add_client("shop")


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A network in front of it that can go bad."""
    with proxy_to(server.port) as proxy:
        yield proxy


@pytest.fixture
def follow(request: pytest.FixtureRequest) -> Callable[..., Blocklist]:
    """Makes blocklists, ready unless told otherwise, that are closed in the end."""

    def make(url: str, client: Credentials, *, ready: bool = True, **options: object) -> Blocklist:
        blocklist = Blocklist(url, client.name, client.secret, **options)  # type: ignore[arg-type]
        request.addfinalizer(blocklist.close)
        if ready:
            blocklist.wait_ready(PATIENCE)
        return blocklist

    return make


def new_id() -> str:
    """The id of a token that no other test has."""
    return str(uuid.uuid4())


def eventually(what: Callable[[], bool]) -> None:
    """Asks until it is so."""
    give_up_at = moment() + int(PATIENCE * SECOND)
    while not what():
        assert moment() < give_up_at, "it never was"
