"""The compiled core behind the interfaces of `adieu.follower.Follower` and `adieu.index.Index`.

A native thread follows, on which no code of Python runs. Waiting is polling, because a native wait would stop the loop
of gevent and eventlet, and a signal could not end it.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from adieu.clock import SECOND, moment
from adieu.errors import AdieuError, InvalidClaimsError, RefusedError, UnavailableError
from adieu.follower import OFFSET, followers, logger
from adieu.index import KEPT_AFTER_EXPIRY, Claims, without_id
from adieu.node import Node

if TYPE_CHECKING:
    from adieu_core import Core

_FIRST_POLL = 0.001
_SLOWEST_POLL = 0.02

_LOG_INTERVAL = 0.1
"""How often the messages of the core are logged, in seconds."""

_RETRY_INTERVAL = SECOND // 2
"""How often a thread that could not be started after a fork is tried again, in nanoseconds."""

_FORK_PATIENCE = 0.25
"""How many seconds a fork waits for a read in flight, if the index would soon be stale without it."""

_KEPT_UNTIL_TOLD = 3600
"""How many seconds beyond the bound a revocation of this process is kept whose time only the node knows.

The feed brings it within the bound, or the index is stale and rejects. The clock may be set meanwhile.
"""

_KEPT_WHEN_ACCEPTING = 400 * 24 * 3600
"""How many seconds it is kept if a stale index accepts: the feed may not bring it before the outage is over."""


class CoreIndex:
    """The revocations in the core."""

    def __init__(self, core: "Core", max_staleness: float, *, accepts_when_stale: bool) -> None:
        self._core = core
        self._kept = _KEPT_WHEN_ACCEPTING if accepts_when_stale else math.ceil(max_staleness) + _KEPT_UNTIL_TOLD

    @property
    def node_issuer(self) -> str | None:
        """The node's own issuer, once it is known."""
        return self._core.node_issuer

    @property
    def pruned_through(self) -> int:
        """The time up to which lapsed revocations may have been removed."""
        return self._core.pruned_through

    def __contains__(self, jti: object) -> bool:
        return isinstance(jti, str) and self._core.contains(str(jti))

    def __len__(self) -> int:
        return self._core.size[0]

    def is_revoked(self, claims: Claims) -> bool:
        """Returns whether a revocation matches the token, or one that could have matched it was removed."""
        issuer, token_id, session, subject, issued_at, expires_at, kid, payload = claims
        if token_id is None:
            raise without_id(payload)
        # No revocation has a name that is not UTF-8.
        names = [name if name is None or _is_utf8(name) else "" for name in (issuer, token_id, session, subject, kid)]
        whole = payload if isinstance(payload, dict) else dict(payload)
        if self._core.matches(names[0], names[1] or "", names[2], names[3], issued_at, names[4], whole):
            return True
        if expires_at is None:
            raise InvalidClaimsError("a token without exp outlives its revocation, and can't be judged")
        return expires_at + KEPT_AFTER_EXPIRY <= self._core.pruned_through

    def cuts_off(self, issuer: str | None, payload: Mapping[str, str], subject: str | None, issued_at: int) -> bool:
        """Returns whether a token of this subject or with these claims, issued at this time, is revoked."""
        return self._core.matches(issuer, "", None, subject, issued_at, None, dict(payload))

    def remember(self, revocations: Iterable[Mapping[str, Any]]) -> None:
        """Applies what this process has revoked, until the feed brings it."""
        until_told = int(time.time()) + self._kept
        for revocation in revocations:
            issuer = revocation.get("issuer")
            if "token_id" in revocation:
                known = revocation.get("keep_until")
                lapses_at = until_told if known is None else max(known, 0) + KEPT_AFTER_EXPIRY
                self._core.add_token(issuer, revocation["token_id"], lapses_at)
            elif "session" in revocation:
                self._core.add_session(issuer, revocation["session"], until_told)


class CoreFollower:
    """The thread of the core. It stops while this process forks, and each child gets a thread of its own."""

    def __init__(self, core: "Core", node: Node) -> None:
        self._core = core
        self._node = node
        self._closed = False
        self._forked_unnoticed = False
        self.stamp = _Stamp(core)
        self._held = threading.Lock()
        """Held while this process forks or the thread of the core starts, so that neither happens during the other."""
        self._has_read_all = False
        self._not_started: UnavailableError | None = None
        """Why the threads could not be started after a fork."""
        self._tried_at = 0
        self._logging_in = 0
        """The process in which the messages of the core are logged."""
        self._process = os.getpid()
        self.started_at = moment()
        followers.add(self)
        with self._held:
            self._begin(self._core.start)

    def _begin(self, begin: Callable[[], None]) -> None:
        if self._logging_in != self._process:
            threading.Thread(target=self._log, name="adieu-log", daemon=True).start()
            self._logging_in = self._process
        begin()

    def _begin_after_fork(self, begin: Callable[[], None]) -> None:
        """Starts the threads. What fails, for example without a free file descriptor, is tried again by `run_here`."""
        if self._closed:
            return
        self._tried_at = moment()
        try:
            self._begin(begin)
        except Exception as error:  # noqa: BLE001  Other followers of this process start nevertheless.
            if self._not_started is None:
                logger.warning("revocations can't be followed after a fork: %s", error)
            self._not_started = UnavailableError(f"the follower could not be started after a fork: {error}")
        else:
            self._not_started = None
        if self._closed:
            self._core.pause(0)

    @property
    def name(self) -> str | None:
        """The name of this follower at the node."""
        return self._core.follower_id

    @property
    def cursor(self) -> str | None:
        """The position up to which the feed is in the index."""
        return self._core.cursor

    @property
    def complete_at(self) -> int | None:
        """The moment as of which the index is complete, in this process; none when it never was."""
        self.run_here()
        return self._core.complete_at

    @property
    def has_read_all(self) -> bool:
        """Whether the index was ever complete, in this process or in its parent before the fork."""
        self._has_read_all = self._has_read_all or self._core.complete_at is not None
        return self._has_read_all

    @property
    def error(self) -> AdieuError | None:
        """The error of the last read; none when it succeeded."""
        if self._forked_unnoticed:
            return UnavailableError("Python was not notified of the fork: set ADIEU_PURE=1")
        if self._not_started is not None:
            return self._not_started
        failure = self._core.failure
        if failure is None:
            return None
        status, message = failure
        return UnavailableError(message) if status is None else RefusedError(message, status)

    def run_here(self) -> None:
        """Starts the threads if they could not be started after a fork.

        Rejects everything in a process whose fork Python did not report: the native thread is not in it.
        """
        if self._process != os.getpid():
            if not self._forked_unnoticed:
                self._forked_unnoticed = True
                self._core.forget_freshness()
        elif (
            self._not_started is not None
            and moment() - self._tried_at > _RETRY_INTERVAL
            # Otherwise another thread starts them now, or forks and starts them afterwards.
            and self._held.acquire(blocking=False)
        ):
            try:
                self._begin_after_fork(self._core.resume)
            finally:
                self._held.release()

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def changes(self) -> int:
        """How many pages with revocations were applied."""
        return self._core.changes

    def close(self) -> None:
        """Stops following. The index is stale from now on."""
        self._closed = True
        self._node.close()
        self._core.forget_freshness()
        if self._process == os.getpid():
            self._core.pause(0)

    def join(self) -> None:
        """Does nothing: `close` waits for the thread."""

    def wait_ready(self, until: int | None) -> bool:
        """Waits until this process has read the whole feed once, the node rejects the client, or the moment `until`."""
        self.run_here()
        return self._wait(lambda: self.stamp[0] != 0, until) and self.stamp[0] != 0

    def wait_complete(self, since: int, until: int) -> bool:
        """Waits until the index is complete as of the moment `since`, or until the moment `until`."""
        return self._wait(lambda: self.stamp[0] >= since + OFFSET, until)

    def _wait(self, is_over: Callable[[], bool], until: int | None) -> bool:
        pause = _FIRST_POLL
        while not is_over():
            if self._closed or (not self.stamp[0] and isinstance(self.error, RefusedError)):
                return False
            left = _SLOWEST_POLL if until is None else (until - moment()) / SECOND
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(2 * pause, _SLOWEST_POLL)
        return True

    def _before_fork(self) -> None:
        self._held.acquire()
        _ = self.has_read_all
        if not self._closed:
            self._core.pause(_FORK_PATIENCE)

    def _after_fork_in_parent(self) -> None:
        try:
            self._begin_after_fork(self._core.resume)
        finally:
            self._held.release()

    def _after_fork_in_child(self) -> None:
        # The revocations stay, because revocations only accumulate. The freshness does not: the node does not know this
        # process yet, so `?wait=everywhere` would not wait for it.
        self._held = threading.Lock()
        self._node.after_fork()
        self._core.forget_freshness()
        self._process = os.getpid()
        self.started_at = moment()
        self._begin_after_fork(self._core.start)

    def _log(self) -> None:
        process = self._process
        while not self._closed and process == os.getpid():
            time.sleep(_LOG_INTERVAL)
            self.run_here()
            for level, message in self._core.take_messages():
                logger.log(level, "%s", message)


class _Stamp:
    """The moment as of which the index is complete, plus `OFFSET`; zero when it never was."""

    def __init__(self, core: "Core") -> None:
        self._core = core

    def __getitem__(self, place: int) -> int:
        complete_at = self._core.complete_at
        return 0 if complete_at is None else complete_at + OFFSET


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
