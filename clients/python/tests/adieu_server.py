"""Starts the server `adieu`: the real binary on a free port, with its data in a temporary folder."""

import contextlib
import json
import os
import signal
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[3]

TEST_TIMEOUT = 60.0
"""Longer than any step takes on the slowest machine; only a test that hangs reaches it."""


def binary() -> str:
    """Returns the path of the server: ADIEU_BIN, or cargo's output."""
    target = os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")
    return os.environ.get("ADIEU_BIN") or str(Path(target) / "debug" / "adieu")


@dataclass
class Credentials:
    """The credentials of a service."""

    name: str
    secret: str = field(repr=False)


@dataclass
class Server:
    """A server, which can be restarted on the same data."""

    data: Path
    settings: dict[str, str]
    port: int = 0
    process: "subprocess.Popen[str] | None" = None
    tls: ssl.SSLContext | None = None
    """Trusts the certificate of the server, if its settings have one."""

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the server on a free port, and waits until it is ready."""
        self.process = subprocess.Popen(
            [binary(), "serve", "--listen", "127.0.0.1:0"],
            env=self._environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        stdout = self.process.stdout
        assert stdout is not None
        for line in stdout:
            if "://127.0.0.1:" in line:
                digits = line.split("://127.0.0.1:")[1]
                self.port = int(digits[: next((i for i, c in enumerate(digits) if not c.isdigit()), None)])
                break
        else:
            raise AssertionError("the server did not say where it listens")
        # Reads continuously, so that the server never blocks on a full pipe.
        threading.Thread(target=stdout.read, daemon=True).start()
        assert self.ask("GET", "/readyz")[0] == 200

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stops the server, with SIGTERM or SIGKILL."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(how)
            process.send_signal(signal.SIGCONT)
            process.wait(TEST_TIMEOUT)
            if process.stdout is not None:
                with contextlib.suppress(ValueError):
                    process.stdout.close()

    def freeze(self) -> None:
        """Freezes the server: its connections stay open, without responses."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs a command on the store of the server."""
        done = subprocess.run(
            [binary(), *arguments],
            env=self._environment(),
            check=True,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=TEST_TIMEOUT,
        )
        return done.stdout

    def add_client(self, name: str, can: str = "follow,revoke") -> Credentials:
        """Creates credentials for a service."""
        return Credentials(name, self.run("client", "add", name, "--capabilities", can).strip().splitlines()[-1])

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, basic: str | None = None
    ) -> tuple[int, Any]:
        """Sends an HTTP request; returns status and body."""
        request = urllib.request.Request(self.url + path, method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        if basic is not None:
            request.add_header("Authorization", f"Basic {basic}")
        try:
            with urllib.request.urlopen(request, timeout=TEST_TIMEOUT, context=self.tls) as response:
                content = response.read()
                return response.status, json.loads(content) if content else None
        except urllib.error.HTTPError as error:
            with error:
                content = error.read()
                return error.code, json.loads(content) if content else None

    def log_in(self, username: str) -> dict[str, str]:
        """Logs a user in, after registering the user if necessary; returns the tokens."""
        person = {"username": username, "password": "correct horse battery staple"}
        assert self.ask("POST", "/register", person)[0] in (201, 409)
        status, tokens = self.ask("POST", "/login", person)
        assert status == 200
        assert isinstance(tokens, dict)
        return tokens

    def log_in_as_admin(self, username: str) -> str:
        """Adds an administrator, and logs it in; returns its access token."""
        self.run("user", "add", "--admin", "--password-stdin", username, stdin="correct horse battery staple")
        return self.log_in(username)["access_token"]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ADIEU_")}
        # Many tests share a server and its client.
        quota = {"ADIEU_CLIENT_REVOCATION_QUOTA": "1000000 per 1h"}
        return {**kept, "ADIEU_DATA": str(self.data), "ADIEU_LOG_LEVEL": "error", **quota, **self.settings}


@contextlib.contextmanager
def running(data: Path, **settings: str) -> Iterator[Server]:
    """A server that runs until the end of the context."""
    server = Server(data, settings)
    server.start()
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)
