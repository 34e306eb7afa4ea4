"""uWSGI forks its workers without notifying Python. Each worker follows all the same, in every mode of uWSGI."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from adieu_server import TEST_TIMEOUT, Credentials, Server
from conftest import eventually, new_id
from unix_socket import UnixConnection

from adieu import Blocklist
from adieu.clock import SECOND, moment

# The core does not run under uWSGI.
pytestmark = pytest.mark.pure
BOUND = 2.0

APPLICATION = """
import os, time
from adieu import Blocklist, StaleError
BLOCKLIST = Blocklist(os.environ["URL"], "shop", os.environ["SECRET"], start_timeout=60)
BLOCKLIST.wait_ready(60)
def application(environ, start_response):
    jti = environ["PATH_INFO"].removeprefix("/")
    if environ["REQUEST_METHOD"] == "POST":
        BLOCKLIST.add(jti)
    try:
        verdict = "revoked" if jti in BLOCKLIST else "accepted"
    except StaleError:
        verdict = "stale"
    # So that the next request meets a worker that is not busy.
    time.sleep(0.02)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {verdict}".encode()]
"""


@dataclass
class Answer:
    worker: int
    verdict: str


@dataclass
class Workers:
    """Two workers on one socket. The caller cannot choose the worker that answers."""

    socket: str

    def ask(self, jti: str, method: str = "GET") -> Answer:
        with contextlib.closing(UnixConnection(self.socket)) as connection:
            connection.request(method, f"/{jti}")
            response = connection.getresponse()
            body = response.read().decode()
            assert response.status == http.client.OK, body
        worker, verdict = body.split()
        return Answer(int(worker), verdict)

    def ask_each(self, jti: str) -> list[str]:
        """Returns the answers of both workers, when neither is stale."""
        answers: dict[int, str] = {}

        def both_have_answered() -> bool:
            with ThreadPoolExecutor(8) as pool:
                for answer in pool.map(self.ask, [jti] * 8):
                    if answer.verdict != "stale":
                        answers.setdefault(answer.worker, answer.verdict)
            return len(answers) == 2

        eventually(both_have_answered)
        return list(answers.values())


@contextlib.contextmanager
def under_uwsgi(folder: Path, server: Server, client: Credentials, *options: str) -> Iterator[Workers]:
    """The application with two workers."""
    (folder / "application.py").write_text(APPLICATION)
    socket = str(folder / "socket")
    process = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("pyuwsgi")),
            *("--master", "--processes=2", "--need-app", "--disable-logging"),
            *(f"--http-socket={socket}", "--wsgi-file=application.py", *options),
        ],
        cwd=folder,
        env={**os.environ, "URL": server.url, "SECRET": client.secret, "VIRTUAL_ENV": sys.prefix},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        eventually(lambda: process.poll() is not None or takes_connections(socket))
        yield Workers(socket)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(TEST_TIMEOUT)


def takes_connections(path: str) -> bool:
    with contextlib.closing(UnixConnection(path)) as connection, contextlib.suppress(OSError):
        connection.connect()
        return True
    return False


@pytest.mark.parametrize(
    "options",
    [(), ("--threads=2",), ("--lazy-apps",), ("--py-call-osafterfork",)],
    ids=["prefork", "threads", "lazy", "osafterfork"],
)
def test_every_worker_follows(server: Server, client: Credentials, tmp_path: Path, options: tuple[str, ...]) -> None:
    with under_uwsgi(tmp_path, server, client, *options) as workers:
        jti = new_id()
        assert workers.ask_each(jti) == ["accepted", "accepted"]
        assert workers.ask(jti, "POST").verdict == "revoked"
        answered_at = moment()

        def is_refused_by_each() -> bool:
            asked_at = moment()
            is_refused = "accepted" not in workers.ask_each(jti)
            assert is_refused or asked_at <= answered_at + int(BOUND * SECOND), "accepted after the bound"
            return is_refused

        eventually(is_refused_by_each)


def test_a_logout_that_waits_for_everywhere_waits_for_every_worker(
    server: Server, client: Credentials, tmp_path: Path
) -> None:
    with under_uwsgi(tmp_path, server, client) as workers:
        tokens = server.log_in("jose")
        # Each worker begins to follow with its first lookup; their parent process does not follow.
        workers.ask_each(new_id())
        status, answer = server.ask("POST", "/logout?wait=everywhere", token=tokens["access_token"])
        assert status == 200
        assert answer["everywhere"]["acknowledged"] + answer["everywhere"]["waited_out"] >= 2


def test_where_no_thread_ever_runs_that_is_said_at_the_start(
    shared_server: Server, shared_client: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The default of older versions.
    monkeypatch.setitem(sys.modules, "uwsgi", types.SimpleNamespace(has_threads=0, worker_id=lambda: 1))
    with pytest.raises(RuntimeError, match="enable-threads"):
        Blocklist(shared_server.url, shared_client.name, shared_client.secret)
