"""The HTTP connection to a node.

1. The client follows no redirect and uses no proxy: the credentials go to the configured address only.
2. Every wait and every response has a limit.
3. Connections are reused and shared by threads, never by processes: see `Node.after_fork`.
"""

import base64
import contextlib
import http.client
import io
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn
from urllib.parse import SplitResult, urlencode, urlsplit

# The standard library imports this module with the first connection. If the process forked during that import, the
# child would wait for it forever.
import encodings.idna  # noqa: F401  isort: skip

from adieu.errors import AdieuError, RefusedError, UnavailableError
from adieu.index import number, text

VERSION = "0.1.0"
"""The version of this package, and the only one of the core that fits it. Each request states it."""

MAX_PAGE_BYTES = 16 * 1024 * 1024
"""The maximum length of a response. A node sends no longer pages."""

MAX_PAGE_ENTRIES = 65_536
"""The maximum number of entries of a page. A node sends no more."""

_MAX_VALUES = 16 * MAX_PAGE_ENTRIES
"""The maximum number of values in a response. A value takes many times more memory than its bytes."""

MAX_REVOCATIONS = 100
"""The maximum number of revocations in one request, well below that of a node."""

MAX_BODY_BYTES = 60_000
"""The maximum length of the body of a request: a node accepts 64 KiB unless configured otherwise."""

_OF_A_BODY = {"Content-Type": "application/json", "Prefer": "wait=0"}
"""The node should not wait until a cut-off is over: the client waits, by the clock of this machine (RFC 7240)."""

_PERMANENT = frozenset((400, 401, 403, 413, 422))
"""The statuses that do not pass by themselves. Others do, such as those of a proxy while the node restarts."""

_COMMA = ", "
_MOST_IDLE = 4
_POSITION = re.compile("[0-9]{1,20}")
_MAX_NUMBER = (1 << 64) - 1
"""Numbers of the feed have at most 64 bits."""

_LONGEST_MESSAGE = 300

_HUNG_UP = (ConnectionError, http.client.RemoteDisconnected, http.client.BadStatusLine, ssl.SSLEOFError)
"""Errors of a request on a connection that was idle for too long: the node has not processed the request."""


@dataclass(frozen=True)
class Page:
    """A page of the feed."""

    cursor: str
    complete: bool
    from_start: bool
    age_ms: int
    pruned_through: int
    issuer: str
    entries: Sequence[Mapping[str, Any]]


class Node:
    """One node and the credentials for it."""

    def __init__(self, url: str, client_id: str, secret: str, ssl_context: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        if not names_a_host(parts):
            raise ValueError("url must begin with http:// or https:// and name a host")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("url must have no credentials, query or fragment")
        if not client_id or ":" in client_id:
            raise ValueError("client_id must be the name that `adieu client add` was given")
        # A file may have a byte order mark before the secret, and a line ending after it.
        secret = secret.removeprefix("\ufeff").rstrip("\r\n")
        if not secret:
            raise ValueError("secret must be what `adieu client add` printed")
        self._parts, self._path = parts, parts.path.rstrip("/")
        self.tls = (ssl_context or ssl.create_default_context()) if parts.scheme == "https" else None
        credentials = base64.b64encode(f"{client_id}:{secret}".encode()).decode("ascii")
        self._headers = {
            "Accept": "application/json",
            "Authorization": f"Basic {credentials}",
            "User-Agent": f"adieu-python/{VERSION}",
        }
        self._lock = threading.Lock()
        self._is_closed = False
        self._idle: list[http.client.HTTPConnection] = []
        self._all: set[http.client.HTTPConnection] = set()

    def read(self, query: Mapping[str, str | int], timeout: float) -> Page:
        """Reads a page of the feed. Raises `UnavailableError` or `RefusedError`."""
        answer = self._ask("GET", f"/revocations?{urlencode(query)}", None, timeout)
        try:
            if len(answer["entries"]) > MAX_PAGE_ENTRIES:
                raise TypeError
            page = Page(
                cursor=_is(str, answer["cursor"]),
                complete=_is(bool, answer["complete"]),
                from_start=_is(bool, answer["from_start"]),
                age_ms=_number(answer["age_ms"]),
                pruned_through=number(answer["pruned_through"]),
                issuer=text(answer["issuer"]),
                entries=_is(list, answer["entries"]),
            )
            _number(answer["max_staleness_ms"])
            log, position = _place(page.cursor)
        except (KeyError, TypeError) as error:
            raise UnavailableError("the node's answer is not a page of revocations") from error
        if not page.from_start:
            # Otherwise something may be missing between the cursor of the request and the page.
            after_log, after = _place(str(query["after"])) if "after" in query else ("", 0)
            if log != after_log or position < after:
                raise UnavailableError("the page does not continue the log from where it was read")
        return page

    def revoke(self, revocations: Sequence[Mapping[str, Any]], timeout: float) -> None:
        """Sends revocations; durable when it returns. Raises `UnavailableError` or `RefusedError`."""
        for body in _bodies(revocations):
            self._ask("POST", "/revocations", body, timeout)

    def after_fork(self) -> None:
        """Closes the parent's connections in a child, without a message to the node.

        Two processes that write to one connection would get each other's responses.
        """
        inherited, self._all, self._idle, self._lock = self._all, set(), [], threading.Lock()
        for connection in inherited:
            if isinstance(connection.sock, socket.socket):
                with contextlib.suppress(OSError):
                    os.close(connection.sock.detach())

    def close(self) -> None:
        """Closes every connection, also one that a thread waits on."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            busy, self._all = self._all.difference(idle), set()
        for connection in idle:
            connection.close()
        for connection in busy:
            # The thread that waits on it wakes up and closes it.
            if isinstance(connection.sock, socket.socket):
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def _ask(self, method: str, target: str, body: bytes | None, timeout: float) -> dict[str, Any]:
        try:
            status, content = self._exchange(method, target, body, timeout)
        except TimeoutError as error:
            raise UnavailableError(f"the node did not answer within {timeout:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"the node can't be reached: {type(error).__name__}") from error
        try:
            answer = _parsed(content) if _values(content) <= _MAX_VALUES else None
        except (ValueError, RecursionError):
            answer = None
        if status != http.client.OK:
            raise _refusal(status, answer)
        if not isinstance(answer, dict):
            raise UnavailableError("the node's answer is not a JSON object")
        return answer

    def _exchange(self, method: str, target: str, body: bytes | None, timeout: float) -> tuple[int, bytes]:
        until = time.monotonic() + timeout
        connection = self._take(timeout)
        if connection is not None:
            try:
                return self._exchange_on(connection, method, target, body, until)
            except _HUNG_UP:
                pass
        return self._exchange_on(self._connect(timeout), method, target, body, until)

    def _exchange_on(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: bytes | None, until: float
    ) -> tuple[int, bytes]:
        headers = self._headers if body is None else self._headers | _OF_A_BODY
        response = None
        limit_response(connection, until)
        try:
            connection.request(method, self._path + target, body, headers)
            response = connection.getresponse()
            content = response.read(MAX_PAGE_BYTES + 1)
            if len(content) > MAX_PAGE_BYTES:
                raise http.client.HTTPException("the answer is too long")
        except BaseException:
            if response is not None:
                response.close()
            self._drop(connection)
            raise
        # Unread bytes would be taken for the beginning of the next response.
        if response.isclosed() and connection.sock is not None:
            self._keep(connection)
        else:
            self._drop(connection)
        return response.status, content

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        connection = connection_to(self._parts, timeout, self.tls)
        with self._lock:
            if self._is_closed:
                raise UnavailableError("the blocklist was closed")
            self._all.add(connection)
        return connection

    def _take(self, timeout: float) -> http.client.HTTPConnection | None:
        with self._lock:
            if not self._idle:
                return None
            connection = self._idle.pop()
        connection.timeout = timeout
        if isinstance(connection.sock, socket.socket):
            connection.sock.settimeout(timeout)
        return connection

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if connection in self._all and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
                return
        self._drop(connection)

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._all.discard(connection)
        connection.close()


def names_a_host(parts: SplitResult) -> bool:
    """Returns whether this is a URL for HTTP. Raises `ValueError` if its port is none."""
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0


def connection_to(parts: SplitResult, timeout: float, tls: ssl.SSLContext | None) -> http.client.HTTPConnection:
    """Returns a connection to the host of a URL. It connects with the first request."""
    # Without a port, the standard library would take the end of an IPv6 address for one.
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port or http.client.HTTP_PORT, timeout=timeout)
    return http.client.HTTPSConnection(host, parts.port or http.client.HTTPS_PORT, timeout=timeout, context=tls)


def limit_response(connection: http.client.HTTPConnection, until: float) -> None:
    """Limits the time of each response of a connection, head and body. `until` is one of ``time.monotonic()``."""
    connection.response_class = partial(_Response, until=until)  # type: ignore[assignment]


class _Bounded(io.RawIOBase):
    """What arrives at a socket until a time. The timeout of a socket is for each of its reads, of one byte or more."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self._connection = connection
        # Keeps the socket open for as long as the response is read, as the standard library does.
        self._file = connection.makefile("rb", buffering=0)
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """A response that has to be there by a time, head and body."""

    def __init__(self, sock: socket.socket, *args: Any, until: float, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_Bounded(sock, until))


def _bodies(revocations: Sequence[Mapping[str, Any]]) -> Iterator[bytes]:
    """Returns the bodies of the requests for revocations, in order. Only a body of one revocation may be longer."""
    batch: list[str] = []
    length = 0
    for each in map(json.dumps, revocations):
        if batch and (len(batch) == MAX_REVOCATIONS or length + len(each) > MAX_BODY_BYTES):
            yield _body(batch)
            batch = []
        if not batch:
            length = len(_body(batch))
        batch.append(each)
        length += len(each) + len(_COMMA)
    if batch:
        yield _body(batch)


def _body(revocations: Sequence[str]) -> bytes:
    return f'{{"revocations": [{_COMMA.join(revocations)}]}}'.encode("ascii")


def _parsed(content: bytes) -> Any:
    """Reads a JSON text as strictly as the compiled core does. Raises `ValueError` or `RecursionError`."""
    # As bytes, the standard library would also read UTF-16, half a surrogate pair, and text after a byte order mark.
    return json.loads(content.decode(), object_pairs_hook=_members, parse_constant=_no_number)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    # Two parsers could read different values there.
    if len(members) != len(pairs):
        raise ValueError("a name appears twice")
    return members


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _place(cursor: str) -> tuple[str, int]:
    """Returns the id of a log and a position in it."""
    log, _, position = cursor.rpartition(".")
    if not _POSITION.fullmatch(position):
        raise TypeError
    return text(log), _number(int(position))


def _values(content: bytes) -> int:
    """Returns an upper bound of the number of values in a JSON text, without creating them."""
    if len(content) <= _MAX_VALUES:
        return len(content)
    text = content.replace(rb"\\", b"").replace(rb"\"", b"")
    quotes = text.count(b'"')
    if quotes > 2 * _MAX_VALUES:
        return quotes
    # Every second part is inside a string.
    return sum(part.count(b",") + part.count(b"{") + part.count(b"[") for part in text.split(b'"')[::2])


def _refusal(status: int, answer: object) -> AdieuError:
    # The node's message names the wrong setting. It is truncated, because it ends up in a log.
    detail = ""
    if isinstance(answer, dict):
        said = answer.get("message") or answer.get("description") or answer.get("errors")
        if said:
            detail = ": " + (said if isinstance(said, str) else json.dumps(said))[:_LONGEST_MESSAGE]
    message = f"the node answered {status}{detail}"
    return RefusedError(message, status) if status in _PERMANENT else UnavailableError(message)


def _is(kind: type[Any], value: object) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


def _number(value: object) -> int:
    if type(value) is int and 0 <= value <= _MAX_NUMBER:
        return value
    raise TypeError
