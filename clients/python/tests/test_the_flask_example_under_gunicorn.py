"""Runs examples/flask. With the set, one worker knows a logout; with Adieu all workers do, also after a restart."""

import contextlib
import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from adieu_server import REPOSITORY, TEST_TIMEOUT, Credentials, Server
from conftest import eventually
from unix_socket import UnixConnection

from adieu.clock import SECOND, moment

EXAMPLE = REPOSITORY / "examples" / "flask"
JOSE = {"username": "jose", "password": "1234"}
BOUND = 2.0

REVOKED = (401, {"description": "The token has been revoked.", "error": "token_revoked"})

# Prints the process ids of the workers, which gunicorn does not report.
SETTINGS = """
import os, pathlib
def post_worker_init(worker):
    pathlib.Path(os.environ["WORKERS"], str(worker.pid)).touch()
"""


@dataclass
class Gunicorn:
    """The example under gunicorn with two workers, each of which can be called alone."""

    folder: Path
    application: Path
    environment: dict[str, str]
    preload: bool = False
    process: "subprocess.Popen[bytes] | None" = None
    workers: list[int] = field(default_factory=list)

    @property
    def socket(self) -> str:
        return str(self.folder / "socket")

    def start(self) -> None:
        names = self.folder / "workers"
        shutil.rmtree(names, ignore_errors=True)
        names.mkdir()
        (self.folder / "settings.py").write_text(SETTINGS)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "app:create_app()", "--workers=2", f"--bind=unix:{self.socket}"]
            + [f"--config={self.folder / 'settings.py'}", "--log-level=warning"]
            + (["--preload"] if self.preload else []),
            cwd=self.application,
            env={**os.environ, **self.environment, "WORKERS": str(names)},
        )
        eventually(lambda: len(list(names.iterdir())) == 2)
        self.workers = sorted(int(name.name) for name in names.iterdir())

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.terminate()
            process.wait(TEST_TIMEOUT)

    def ask(self, worker: int, method: str, path: str, token: str | None = None, body: Any = None) -> tuple[int, Any]:
        """Sends a request to this worker: the other one is stopped meanwhile, so that it accepts no connection."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        with self._only(worker), contextlib.closing(UnixConnection(self.socket)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def ask_until_known(self, *question: Any) -> tuple[int, Any]:
        """Like `ask`, and retries while a worker that was stopped for too long is stale."""
        answers: list[tuple[int, Any]] = []

        def is_known() -> bool:
            answers.append(self.ask(*question))
            return answers[-1][0] != 503

        eventually(is_known)
        return answers[-1]

    @contextlib.contextmanager
    def _only(self, worker: int) -> Iterator[None]:
        others = [other for other in self.workers if other != worker]
        for other in others:
            os.kill(other, signal.SIGSTOP)
        try:
            for other in others:
                eventually(lambda other=other: _state(other) == "T")  # type: ignore[misc]
            yield
        finally:
            for other in others:
                os.kill(other, signal.SIGCONT)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def the_example(folder: Path, *, with_the_set: bool) -> Path:
    """A copy of the application; for the set, one of its files is different."""
    copy = folder / "application"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__", "instance"))
    if with_the_set:
        shutil.copyfile(copy / "blocklist_set.py", copy / "blocklist.py")
    return copy


@contextlib.contextmanager
def under_gunicorn(
    folder: Path, *, with_the_set: bool, preload: bool = False, environment: dict[str, str] | None = None
) -> Iterator[Gunicorn]:
    """The running application, with its tables created."""
    folder.mkdir(exist_ok=True)
    application = the_example(folder, with_the_set=with_the_set)
    settings = {
        "DATABASE_URL": f"sqlite:///{folder / 'stores.db'}",
        "JWT_SECRET_KEY": "only for the tests of this example",
        **(environment or {}),
    }
    subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app", "create-tables"],
        cwd=application,
        env={**os.environ, **settings},
        check=True,
        timeout=TEST_TIMEOUT,
    )
    gunicorn = Gunicorn(folder, application, settings, preload)
    gunicorn.start()
    try:
        yield gunicorn
    finally:
        gunicorn.stop()


def blocklist_at(server: Server, client: Credentials) -> dict[str, str]:
    return {"BLOCKLIST_URL": server.url, "BLOCKLIST_CLIENT": client.name, "BLOCKLIST_SECRET": client.secret}


def log_in(gunicorn: Gunicorn, worker: int) -> dict[str, str]:
    gunicorn.ask(worker, "POST", "/register", body=JOSE)
    status, tokens = gunicorn.ask(worker, "POST", "/login", body=JOSE)
    assert status == 200
    assert isinstance(tokens, dict)
    return tokens


def refused_in_time(gunicorn: Gunicorn, worker: int, answered_at: int, *question: str) -> None:
    """Repeats the request until the token is rejected as revoked. It must not be accepted after the bound."""

    def is_refused() -> bool:
        asked_at = moment()
        answer = gunicorn.ask(worker, *question)
        if answer[0] == 200:
            assert asked_at <= answered_at + int(BOUND * SECOND), "accepted after the bound"
        return answer == REVOKED

    eventually(is_refused)


@pytest.mark.parametrize("preload", [False, True], ids=["workers", "preload"])
def test_with_adieu_a_logout_holds_in_every_worker_and_after_every_restart(
    server: Server, client: Credentials, tmp_path: Path, *, preload: bool
) -> None:
    environment = blocklist_at(server, client)
    with under_gunicorn(tmp_path / "run", with_the_set=False, preload=preload, environment=environment) as gunicorn:
        one, other = gunicorn.workers
        tokens = log_in(gunicorn, one)
        access = tokens["access_token"]
        assert gunicorn.ask_until_known(one, "GET", "/item", access) == (200, [])
        assert gunicorn.ask_until_known(other, "GET", "/item", access) == (200, [])

        assert gunicorn.ask_until_known(one, "POST", "/logout", access) == (200, {"message": "Successfully logged out"})
        answered_at = moment()
        assert gunicorn.ask(one, "GET", "/item", access) == REVOKED
        refused_in_time(gunicorn, other, answered_at, "GET", "/item", access)
        refused_in_time(gunicorn, other, answered_at, "POST", "/refresh", tokens["refresh_token"])

        # Restarts everything: gunicorn with SIGTERM, the server with SIGKILL.
        gunicorn.stop()
        server.stop(signal.SIGKILL)
        server.start()
        gunicorn.environment.update(blocklist_at(server, client))
        gunicorn.start()
        for worker in gunicorn.workers:
            assert gunicorn.ask_until_known(worker, "GET", "/item", access) == REVOKED
            assert gunicorn.ask_until_known(worker, "POST", "/refresh", tokens["refresh_token"]) == REVOKED
            another = log_in(gunicorn, worker)["access_token"]
            assert gunicorn.ask_until_known(worker, "GET", "/item", another) == (200, [])


@pytest.mark.parametrize("shown", ["access_token", "refresh_token"])
def test_a_logout_ends_the_whole_session_in_every_worker(
    server: Server, client: Credentials, tmp_path: Path, shown: str
) -> None:
    with under_gunicorn(tmp_path / "run", with_the_set=False, environment=blocklist_at(server, client)) as gunicorn:
        one, other = gunicorn.workers
        tokens = log_in(gunicorn, one)
        renewed = gunicorn.ask_until_known(other, "POST", "/refresh", log_in(gunicorn, other)["refresh_token"])[1][
            "access_token"
        ]
        used = log_in(gunicorn, one)
        from_refresh = gunicorn.ask_until_known(one, "POST", "/refresh", used["refresh_token"])[1]["access_token"]

        assert gunicorn.ask_until_known(one, "POST", "/logout", tokens[shown])[0] == 200
        answered_at = moment()
        for worker in (one, other):
            refused_in_time(gunicorn, worker, answered_at, "GET", "/item", tokens["access_token"])
            refused_in_time(gunicorn, worker, answered_at, "POST", "/refresh", tokens["refresh_token"])

        assert gunicorn.ask_until_known(one, "POST", "/logout", used["access_token"])[0] == 200
        answered_at = moment()
        refused_in_time(gunicorn, other, answered_at, "GET", "/item", from_refresh)
        assert gunicorn.ask_until_known(one, "GET", "/item", renewed) == (200, []), "of another login"


def test_a_refresh_token_is_good_for_one_time_at_all_workers_together(
    server: Server, client: Credentials, tmp_path: Path
) -> None:
    with under_gunicorn(tmp_path / "run", with_the_set=False, environment=blocklist_at(server, client)) as gunicorn:
        one, other = gunicorn.workers
        for first, second in ((one, other), (other, one)):
            refresh = log_in(gunicorn, first)["refresh_token"]
            assert gunicorn.ask_until_known(first, "POST", "/refresh", refresh)[0] == 200
            # At once, also at a worker that does not have the revocation yet.
            assert gunicorn.ask_until_known(second, "POST", "/refresh", refresh)[0] == 401


@pytest.mark.pure
def test_with_the_set_the_other_worker_goes_on_accepting(tmp_path: Path) -> None:
    with under_gunicorn(tmp_path / "run", with_the_set=True) as gunicorn:
        one, other = gunicorn.workers
        access = log_in(gunicorn, one)["access_token"]
        assert gunicorn.ask(one, "POST", "/logout", access)[0] == 200
        answered_at = time.monotonic()
        assert gunicorn.ask(one, "GET", "/item", access) == REVOKED
        while time.monotonic() < answered_at + BOUND:
            assert gunicorn.ask(other, "GET", "/item", access) == (200, []), "no revocation reached it"

        gunicorn.stop()
        gunicorn.start()
        for worker in gunicorn.workers:
            assert gunicorn.ask(worker, "GET", "/item", access) == (200, []), "a restart forgets"


def test_when_the_server_is_gone_the_application_says_so(server: Server, client: Credentials, tmp_path: Path) -> None:
    with under_gunicorn(tmp_path / "run", with_the_set=False, environment=blocklist_at(server, client)) as gunicorn:
        worker = gunicorn.workers[0]
        access = log_in(gunicorn, worker)["access_token"]
        server.stop(signal.SIGKILL)
        status, body = gunicorn.ask(worker, "POST", "/logout", access)
        assert (status, body["message"]) == (503, "Please try again.")
        eventually(lambda: gunicorn.ask(worker, "GET", "/item", access)[0] == 503)


def test_only_one_file_differs(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "adieu").mkdir()
    plain = the_example(tmp_path / "set", with_the_set=True)
    shared = the_example(tmp_path / "adieu", with_the_set=False)

    def differing(comparison: "filecmp.dircmp[str]") -> list[str]:
        assert not comparison.left_only
        assert not comparison.right_only
        assert not comparison.funny_files
        return comparison.diff_files + [
            f"{name}/{file}" for name, below in comparison.subdirs.items() for file in differing(below)
        ]

    assert differing(filecmp.dircmp(plain, shared)) == ["blocklist.py"]
    assert [file.name for file in shared.rglob("*.py") if "adieu" in file.read_text()] == ["blocklist.py"]
