"""What keeps the index up to date, and knows how fresh it is.

A read proves one thing: whatever was acknowledged before it was *sent* is in its answer. So the moment before it is
taken, on the steady clock of this machine; once its page is in the index, the index is known to have been complete
then. No clocks of two machines are compared, and an answer that comes late proves nothing that it should not.
"""

import logging
import os
import random
import secrets
import threading
import weakref

from adieu.clock import MILLISECOND, SECOND, moment
from adieu.errors import AdieuError, RefusedError, StaleError, UnavailableError
from adieu.index import BadFactError, Index
from adieu.node import Node, Page

logger = logging.getLogger("adieu")

NEVER_COMPLETE = -(1 << 63)

_FIRST_RETRY = 0.02
_SLOWEST_RETRY = 0.5
_SLOWEST_RETRY_WHEN_REFUSED = 5.0
"""Wrong credentials rarely become right, but they do, when somebody adds the client again."""

_LONGEST_WAIT_MS = 30_000


class Follower:
    """A daemon thread that reads the feed. In a process that forks, each child gets one of its own."""

    def __init__(self, node: Node, index: Index, max_staleness: float, *, accepts_when_stale: bool) -> None:
        self._node = node
        self._index = index
        self._accepts_when_stale = accepts_when_stale
        self._staleness_ms = int(max_staleness * 1000)
        # A quarter: one read may fail and be repeated before anybody is refused.
        self._wait_ms = min(self._staleness_ms // 4, _LONGEST_WAIT_MS)
        # A node that says nothing for longer has gone, or the way to it has.
        self._patience = self._wait_ms / 1000 + max(max_staleness, 1.0)
        self._cursor: str | None = None
        self._closed = False
        # First, so that a fork in between forgets neither this nor its thread.
        _all.add(self)
        self._begin()

    def _begin(self) -> None:
        self.complete_at = NEVER_COMPLETE
        """The moment at which the index is known to have been complete, in this process."""
        self.started_at = moment()
        self.error: AdieuError | None = None
        """Why the last read failed; none when it did not."""
        self._heard = False
        self._changed = threading.Condition()
        self._stop = threading.Event()
        # Drawn by the system, so that two processes that were one never share it.
        self._id = secrets.token_urlsafe(12)
        threading.Thread(target=self._run, args=(self._stop,), name="adieu-follower", daemon=True).start()

    def close(self) -> None:
        """Stops following. The index is stale from now on."""
        self._closed = True
        self._stop.set()
        self.complete_at = NEVER_COMPLETE
        self._node.close()
        with self._changed:
            self._changed.notify_all()

    def wait_ready(self, until: int | None) -> bool:
        """Waits until the whole feed has been read once in this process, or the node has refused, or that moment."""
        with self._changed:
            while self.complete_at == NEVER_COMPLETE:
                if self._closed or isinstance(self.error, RefusedError):
                    return False
                left = None if until is None else (until - moment()) / SECOND
                if left is not None and left <= 0:
                    return False
                self._changed.wait(left)
            return True

    def wait_complete(self, since: int, until: int) -> bool:
        """Waits until the index is known to have been complete at the one moment, or until the other one."""
        with self._changed:
            while self.complete_at < since:
                left = (until - moment()) / SECOND
                if self._closed or left <= 0:
                    return False
                self._changed.wait(left)
            return True

    def _before_fork(self) -> None:
        # So that the child has all of a page and its cursor, or nothing of it.
        self._index.lock.acquire()

    def _after_fork_in_parent(self) -> None:
        self._index.lock.release()

    def _after_fork_in_child(self) -> None:
        # The facts stay, because facts only add up. How fresh they are does not: the node knows nothing of this process
        # yet, so a logout that waits for everyone would not wait for it.
        self._index.lock = threading.Lock()
        self._node.after_fork()
        if not self._closed:
            self._begin()

    def _run(self, stop: threading.Event) -> None:
        retry = _FIRST_RETRY
        while not stop.is_set():
            try:
                self._catch_up(stop)
            except AdieuError as error:
                self._failed(error, stop)
            except BadFactError as error:
                self._failed(UnavailableError(str(error)), stop)
            except Exception as error:  # noqa: BLE001  A thread that ended would leave everything refused for ever.
                self._failed(UnavailableError(f"an unexpected {type(error).__name__}: {error}"), stop)
            else:
                retry = _FIRST_RETRY
                continue
            slowest = _SLOWEST_RETRY_WHEN_REFUSED if isinstance(self.error, RefusedError) else _SLOWEST_RETRY
            # Spread, so that not every follower comes at once when the node is back.
            stop.wait(min(retry, slowest) * random.uniform(0.5, 1))  # noqa: S311
            retry = min(retry * 2, slowest)

    def _catch_up(self, stop: threading.Event) -> None:
        """Reads until a page was the last."""
        # Whoever comes anew wants to know at once that there is nothing new.
        wait = self._wait_ms if self._heard else 0
        while True:
            asked_at = moment()
            page = self._node.read(self._query(wait), self._patience)
            if stop.is_set():
                return
            self._take_in(page)
            if page.complete:
                if page.age_ms > self._staleness_ms:
                    raise UnavailableError(f"the node itself has had no news for {page.age_ms / 1000:g} s")
                self._succeeded(asked_at - page.age_ms * MILLISECOND)
                return
            wait = 0

    def _query(self, wait: int) -> dict[str, str | int]:
        query: dict[str, str | int] = {"wait": wait, "follower": self._id, "max_staleness": self._staleness_ms}
        # Only pages that are in the index are behind this cursor, so sending it tells the node that they are.
        if self._cursor is not None:
            query["after"] = self._cursor
        if self._accepts_when_stale:
            query["when_stale"] = "accept"
        return query

    def _take_in(self, page: Page) -> None:
        if page.from_start and self._cursor is not None:
            logger.error(
                "the revocation log is another one or went back (known %s, found %s); everything known stays revoked",
                self._cursor,
                page.cursor,
            )
        with self._index.lock:
            renamed_from = self._index.node_issuer
            if self._index.name_node(page.issuer):
                logger.warning("the node calls itself %r now, and no longer %r", page.issuer, renamed_from)
            self._index.extend(page.entries)
            self._index.forget_lapsed(page.pruned_through)
            self._cursor = page.cursor

    def _succeeded(self, complete_at: int) -> None:
        if self.error is not None:
            logger.info("following the revocations again")
        self._heard = True
        with self._changed:
            self.error = None
            # Never back: a node that lags for a while takes nothing of what another has proved.
            self.complete_at = max(self.complete_at, complete_at)
            self._changed.notify_all()

    def _failed(self, error: AdieuError, stop: threading.Event) -> None:
        if stop.is_set():
            return
        self._heard = False
        # Once an outage, not once a try.
        if self.error is None:
            logger.warning(
                "revocations can't be followed: %s; unless that changes within %g s, tokens are %s",
                error,
                self._staleness_ms / 1000,
                "accepted although they may be revoked" if self._accepts_when_stale else "refused",
            )
        with self._changed:
            self.error = error
            self._changed.notify_all()


def stale(follower: Follower, max_staleness: float, kind: type[StaleError]) -> StaleError:
    """What to raise when the index is too old."""
    why = f": {follower.error}" if follower.error is not None else ""
    if follower.complete_at == NEVER_COMPLETE:
        return kind(f"the revocations have not been read yet{why}")
    return kind(f"the last news of revocations is older than {max_staleness:g} s{why}")


_all: "weakref.WeakSet[Follower]" = weakref.WeakSet()
_forking: list[Follower] = []


def _before_fork() -> None:
    # In one order, for two threads that fork at once.
    followers = sorted(_all, key=id)
    for follower in followers:
        follower._before_fork()
    _forking.extend(followers)


def _after_fork_in_parent() -> None:
    followers = _forking.copy()
    # Before the locks are let go of, since another thread may be waiting to fork.
    _forking.clear()
    for follower in followers:
        follower._after_fork_in_parent()


def _after_fork_in_child() -> None:
    _forking.clear()
    for follower in list(_all):
        follower._after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
