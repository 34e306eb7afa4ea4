"""Fixtures for an application's own tests; pytest loads them if this package is installed."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from adieu.blocklist import Blocklist


@dataclass(frozen=True)
class TestServer:
    """A running server and credentials for it."""

    __test__ = False

    url: str
    client_id: str
    secret: str = field(repr=False)


@pytest.fixture
def adieu_blocklist() -> Iterator[Blocklist]:
    """A blocklist in memory, with the rules of a real one."""
    with Blocklist.in_memory() as blocklist:
        yield blocklist


@pytest.fixture(scope="session")
def adieu_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestServer]:
    """A real server on a free port, with a client. Skips the test if `adieu` is not on the path."""
    binary = shutil.which("adieu")
    if binary is None:
        pytest.skip("the server `adieu` is not on the path")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ADIEU_")}
    environment = {**kept, "ADIEU_DATA": str(tmp_path_factory.mktemp("adieu") / "data"), "ADIEU_LOG_LEVEL": "error"}
    with subprocess.Popen(  # noqa: S603
        [binary, "serve", "--listen", "127.0.0.1:0"], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield TestServer(_url_of(process), "tests", _secret(binary, environment))
        finally:
            process.kill()


def _url_of(process: "subprocess.Popen[str]") -> str:
    stdout = process.stdout
    for line in stdout or ():
        _, found, rest = line.partition("http://127.0.0.1:")
        if found and stdout is not None:
            port = rest[: next((place for place, c in enumerate(rest) if not c.isdigit()), None)]
            # Reads on, so that the server never blocks on a full pipe.
            threading.Thread(target=stdout.read, daemon=True).start()
            return f"http://127.0.0.1:{port}"
    raise RuntimeError("the server did not start")


def _secret(binary: str, environment: dict[str, str]) -> str:
    command = [binary, "client", "add", "tests", "--capabilities", "follow,revoke"]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)  # noqa: S603
    return done.stdout.strip().splitlines()[-1]
