"""Keeps the index up to date and tracks its staleness.

Everything that was acknowledged before a read was *sent* is in its response. The follower therefore takes the moment
before it sends the read, on the steady clock of this machine. Once the page is in the index, the index was complete as
of that moment. Clocks of two machines are never compared, and a late response proves nothing about a later time.
"""

import contextlib
import logging
import mmap
import os
import random
import secrets
import sys
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from adieu.clock import MILLISECOND, SECOND, moment
from adieu.errors import AdieuError, RefusedError, StaleError, UnavailableError
from adieu.index import BadFactError, Index
from adieu.node import Node, Page

if TYPE_CHECKING:
    from adieu.core import CoreFollower

logger = logging.getLogger("adieu")

OFFSET = 1 << 62
"""Added to the moment in `Follower.stamp`, so that zero is longer ago than any bound."""

_FIRST_RETRY = 0.02
_SLOWEST_RETRY = 0.5
_SLOWEST_RETRY_WHEN_REFUSED = 5.0
"""Rejected credentials may become valid when an operator adds the client again."""

_JITTER = random.SystemRandom()
"""Not the generator that the application may have seeded: it shares this module."""

_LONGEST_WAIT_MS = 30_000

_MIN_TIMEOUT = 0.5
"""How many seconds beyond the wait a response may take at least. Otherwise a quarter of the bound."""

_MIN_PAGE_TIMEOUT = 2.0
"""The same without a wait. Otherwise the bound, since such pages are long."""

_MAX_TIMEOUT = 10.0
"""The same at most, and for the first page, which needs a new connection."""

_WIPE_ON_FORK = 18
"""`MADV_WIPEONFORK` of Linux, for which the standard library has no name."""


class Follower:
    """A daemon thread that reads the feed. After a fork, each child gets a thread of its own.

    Python reports a fork, except when C code forks, as uWSGI does. The freshness of the index is therefore in memory
    that a fork wipes: a lookup in the child finds that the index is stale, and then that the process is another. uWSGI
    does not stop other threads while it forks either, and the child may then wait forever for a lock that one of them
    held. Under uWSGI the thread therefore starts after the fork, with the first lookup in a worker.
    """

    def __init__(self, node: Node, index: Index, max_staleness: float, *, accepts_when_stale: bool) -> None:
        self._node = node
        self._index = index
        self._accepts_when_stale = accepts_when_stale
        # Rounded up: the node must not forget this follower while it still accepts tokens. In nanoseconds first, so
        # that 16.1 s, which is a little more in binary, is not one millisecond more.
        self._staleness_ms = -(-round(max_staleness * SECOND) // MILLISECOND)
        # A quarter of the bound: one read may fail and be repeated before the index is stale.
        self._wait_ms = min(self._staleness_ms // 4, _LONGEST_WAIT_MS)
        self.cursor: str | None = None
        """The position up to which the feed is in the index."""
        self.changes = 0
        """How many pages with revocations were applied."""
        self._closed = False
        self.stamp = _wiped_by_a_fork()
        """The moment as of which the index is complete, plus `OFFSET`; zero when it never was."""
        self.has_read_all = False
        """Whether the index was ever complete, in this process or in its parent before the fork."""
        _require_threads()
        # Before the thread starts, so that a fork in between handles this follower and its thread.
        followers.add(self)
        self._begin(with_thread=not uwsgi_forks_later())

    def _begin(self, *, with_thread: bool) -> None:
        self.stamp[0] = 0
        self._process = os.getpid()
        self.started_at = moment()
        self.error: AdieuError | None = None
        """The error of the last read; none when it succeeded."""
        self._heard = False
        self._changed = threading.Condition()
        self._stop = threading.Event()
        # From the operating system's random source, so that a process and its fork never share it.
        self.name = secrets.token_urlsafe(12)
        self._thread: threading.Thread | None = None
        if with_thread:
            self._thread = threading.Thread(target=self._run, args=(self._stop,), name="adieu-follower", daemon=True)
            self._thread.start()

    @property
    def complete_at(self) -> int | None:
        """The moment as of which the index is complete, in this process; none when it never was."""
        self.run_here()
        stamp: int = self.stamp[0]
        return stamp - OFFSET if stamp else None

    def run_here(self) -> None:
        """Restarts in a process whose fork Python did not report. Cheap, but not for every lookup."""
        if self._is_to_begin():
            with beginning:
                if self._is_to_begin():
                    self._after_fork_in_child()

    def _is_to_begin(self) -> bool:
        if self._process != os.getpid():
            return True
        return self._thread is None and not self._closed and not uwsgi_forks_later()

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def close(self) -> None:
        """Stops following. The index is stale from now on."""
        self._closed = True
        self._stop.set()
        self.stamp[0] = 0
        self._node.close()
        with self._changed:
            self._changed.notify_all()

    def join(self) -> None:
        """After `close`, waits for the thread to end, with a timeout."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(1 + self._wait_ms / 1000)

    def wait_ready(self, until: int | None) -> bool:
        """Waits until this process has read the whole feed once, the node rejects the client, or the moment `until`."""
        self.run_here()
        if self._thread is None:
            self._read_without_a_thread(until)
        with self._changed:
            while not self.stamp[0]:
                if self._closed or isinstance(self.error, RefusedError):
                    return False
                left = None if until is None else (until - moment()) / SECOND
                if left is not None and left <= 0:
                    return False
                self._changed.wait(left)
            return True

    def _read_without_a_thread(self, until: int | None) -> None:
        """Reads the feed on the caller's thread, while uWSGI loads the application."""
        while not self._closed and not self.stamp[0] and (until is None or moment() < until):
            try:
                self._catch_up(self._stop)
            except AdieuError as error:
                self._failed(error, self._stop)
                if isinstance(error, RefusedError):
                    return
                self._stop.wait(_FIRST_RETRY)

    def wait_complete(self, since: int, until: int) -> bool:
        """Waits until the index is complete as of the moment `since`, or until the moment `until`."""
        with self._changed:
            while self.stamp[0] < since + OFFSET:
                left = (until - moment()) / SECOND
                if self._closed or left <= 0:
                    return False
                self._changed.wait(left)
            return True

    def _before_fork(self) -> None:
        # So that the child has a page with its cursor, or neither.
        self._index.lock.acquire()

    def _after_fork_in_parent(self) -> None:
        self._index.lock.release()

    def _after_fork_in_child(self) -> None:
        # The revocations stay, because revocations only accumulate. The freshness does not: the node does not know this
        # process yet, so `?wait=everywhere` would not wait for it.
        self._index.lock = threading.Lock()
        self._node.after_fork()
        if self._closed:
            self._process = os.getpid()
        else:
            self._begin(with_thread=True)

    def _run(self, stop: threading.Event) -> None:
        retry = _FIRST_RETRY
        while not stop.is_set():
            try:
                self._catch_up(stop)
            except AdieuError as error:
                self._failed(error, stop)
            except BadFactError as error:
                self._failed(UnavailableError(str(error)), stop)
            except Exception as error:  # noqa: BLE001  If the thread ended, every later check would be rejected.
                self._failed(UnavailableError(f"an unexpected {type(error).__name__}: {error}"), stop)
            else:
                retry = _FIRST_RETRY
                continue
            slowest = _SLOWEST_RETRY_WHEN_REFUSED if isinstance(self.error, RefusedError) else _SLOWEST_RETRY
            # With jitter, so that the followers do not all return at once when the node is back.
            stop.wait(min(retry, slowest) * _JITTER.uniform(0.5, 1))
            retry = min(retry * 2, slowest)

    def _catch_up(self, stop: threading.Event) -> None:
        """Reads pages until the end of the log."""
        # A follower without a successful read wants an immediate response, even if there is nothing new.
        wait = self._wait_ms if self._heard else 0
        while True:
            asked_at = moment()
            page = self._node.read(self._query(wait), self._timeout(wait))
            if stop.is_set():
                return
            if not page.complete and page.cursor == self.cursor:
                raise UnavailableError("the feed does not get on")
            self._take_in(page)
            if page.complete:
                if page.age_ms > self._staleness_ms:
                    raise UnavailableError(f"the node itself has had no news for {page.age_ms / 1000:g} s")
                self._succeeded(asked_at - page.age_ms * MILLISECOND)
                return
            wait = 0

    def _timeout(self, wait: int) -> float:
        """Returns after how many seconds a read is given up: one that waits, while there is time for another."""
        if self.cursor is None:
            return _MAX_TIMEOUT
        bound = self._staleness_ms / 1000
        if wait == 0:
            return min(max(bound, _MIN_PAGE_TIMEOUT), _MAX_TIMEOUT)
        return wait / 1000 + min(max(bound / 4, _MIN_TIMEOUT), _MAX_TIMEOUT)

    def _query(self, wait: int) -> dict[str, str | int]:
        query: dict[str, str | int] = {"wait": wait, "follower": self.name, "max_staleness": self._staleness_ms}
        # The cursor covers only pages that are in the index, so sending it acknowledges them.
        if self.cursor is not None:
            query["after"] = self.cursor
        if self._accepts_when_stale:
            query["stale_policy"] = "accept"
        return query

    def _take_in(self, page: Page) -> None:
        if page.from_start and self.cursor is not None:
            logger.error(
                "the revocation log was replaced or rolled back (known %s, found %s); known revocations stay in force",
                self.cursor,
                page.cursor,
            )
        with self._index.lock:
            renamed_from = self._index.node_issuer
            if self._index.name_node(page.issuer):
                logger.warning("the node calls itself %r now, and no longer %r", page.issuer, renamed_from)
            self._index.extend(page.entries)
            self._index.forget_lapsed(page.pruned_through)
            self.cursor = page.cursor
        self.changes += bool(page.entries)

    def _succeeded(self, complete_at: int) -> None:
        if self.error is not None:
            logger.info("following the revocations again")
        self._heard = True
        with self._changed:
            self.error = None
            if not self._closed:
                # The moment never goes back: a node that lags does not undo the proof of another.
                self.stamp[0] = max(self.stamp[0], complete_at + OFFSET)
                self.has_read_all = True
            self._changed.notify_all()

    def _failed(self, error: AdieuError, stop: threading.Event) -> None:
        if stop.is_set():
            return
        self._heard = False
        # Logs once per outage, not once per retry.
        if self.error is None:
            logger.warning(
                "revocations can't be followed: %s; unless that changes within %g s, tokens are %s",
                error,
                self._staleness_ms / 1000,
                "accepted although they may be revoked" if self._accepts_when_stale else "rejected",
            )
        with self._changed:
            self.error = error
            self._changed.notify_all()


def stale(follower: "Follower | CoreFollower", max_staleness: float, kind: type[StaleError]) -> StaleError:
    """Returns the error to raise when the index is stale."""
    why = f": {follower.error}" if follower.error is not None else ""
    if not follower.stamp[0]:
        return kind(f"the revocations have not been read yet{why}")
    return kind(f"the last news of revocations is older than {max_staleness:g} s{why}")


def _require_threads() -> None:
    """Raises if Python threads never run, as by default under older versions of uWSGI."""
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None and not getattr(uwsgi, "has_threads", True) and not getattr(uwsgi, "loop", None):
        raise RuntimeError("uWSGI runs no threads of Python: set enable-threads, or nothing is ever heard of the node")


def uwsgi_forks_later() -> bool:
    """Returns whether uWSGI is loading the application in the process that it will fork the workers from."""
    uwsgi = sys.modules.get("uwsgi")
    return uwsgi is not None and uwsgi.worker_id() == 0


def _wiped_by_a_fork() -> memoryview:
    """Returns memory for a number that is zero in every child of this process."""
    room: mmap.mmap | bytearray = bytearray(8)
    # On other systems than Linux, a fork that Python does not report is detected when the bound has passed.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_WIPE_ON_FORK)
        room = page
    return memoryview(room)[:8].cast("q")


class Forks(Protocol):
    """What follows, and has to know of each fork."""

    def _before_fork(self) -> None: ...

    def _after_fork_in_parent(self) -> None: ...

    def _after_fork_in_child(self) -> None: ...


followers: "weakref.WeakSet[Forks]" = weakref.WeakSet()
"""All followers of this process."""

_forking: list[Forks] = []
beginning = threading.Lock()
"""Held while threads are started in a process whose fork Python did not report."""


def _before_fork() -> None:
    # In a fixed order, so that two threads that fork at once do not deadlock.
    waiting = sorted(followers, key=id)
    for follower in waiting:
        _told(follower._before_fork)
    _forking.extend(waiting)


def _after_fork_in_parent() -> None:
    waiting = _forking.copy()
    # Before the locks are released, because another thread may be waiting to fork.
    _forking.clear()
    for follower in waiting:
        _told(follower._after_fork_in_parent)


def _after_fork_in_child() -> None:
    global beginning  # noqa: PLW0603  If another thread held it, nothing would ever release it here.
    beginning = threading.Lock()
    _forking.clear()
    for follower in list(followers):
        _told(follower._after_fork_in_child)


def _told(tell: Callable[[], None]) -> None:
    """Tells a follower of a fork. What fails there must not keep the others from releasing their locks."""
    try:
        tell()
    except Exception:
        logger.exception("a follower could not be told of a fork")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
