"""Callbacks when a token is revoked, and when the revocations become stale or fresh."""

import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from adieu.follower import logger
from adieu.index import Claims

if TYPE_CHECKING:
    from adieu.blocklist import Blocklist

_INTERVAL = 0.05
"""How often the thread looks for news, in seconds."""


class Hooks:
    """The callbacks of one blocklist in one process, and the thread that calls them.

    The thread is not the follower's and holds no lock: a callback that is slow delays other callbacks only.
    """

    def __init__(self, blocklist: "Blocklist") -> None:
        self._blocklist = weakref.ref(blocklist)
        self._process = os.getpid()
        self._watched: dict[object, tuple[Claims, Callable[[], object]]] = {}
        self._has_new = False
        self._when_stale: list[Callable[[], object]] = []
        self._when_fresh: list[Callable[[], object]] = []
        self._thread: threading.Thread | None = None

    def watch(self, claims: Claims, callback: Callable[[], object]) -> Callable[[], None]:
        """Calls back once when a token with these claims is revoked; returns a function that ends this."""
        self._run_here()
        key = object()
        self._watched[key] = (claims, callback)
        # The token may have been revoked before.
        self._has_new = True

        def cancel() -> None:
            self._watched.pop(key, None)

        return cancel

    def add(self, when_stale: Callable[[], object] | None, when_fresh: Callable[[], object] | None) -> None:
        """Calls back whenever the revocations become stale, or fresh again."""
        self._run_here()
        self._when_stale += [when_stale] if when_stale else []
        self._when_fresh += [when_fresh] if when_fresh else []

    def _run_here(self) -> None:
        if self._process != os.getpid():
            # The connections of the parent are not served by this process.
            self._process = os.getpid()
            self._watched, self._when_stale, self._when_fresh, self._thread = {}, [], [], None
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(self._process,), name="adieu-hooks", daemon=True)
            self._thread.start()

    def _run(self, process: int) -> None:
        seen, was_fresh = -1, True
        while process == os.getpid():
            time.sleep(_INTERVAL)
            blocklist = self._blocklist()
            if blocklist is None or blocklist._follower.is_closed:
                return
            changes = blocklist._follower.changes + blocklist._written
            if changes != seen or self._has_new:
                # Before the check, so that a token that is added during it is checked next.
                seen, self._has_new = changes, False
                self._check(blocklist)
            is_fresh = blocklist.is_fresh
            if is_fresh != was_fresh:
                was_fresh = is_fresh
                for callback in list(self._when_fresh if is_fresh else self._when_stale):
                    _call(callback)
            del blocklist

    def _check(self, blocklist: "Blocklist") -> None:
        for key, (claims, callback) in list(self._watched.items()):
            if blocklist._index.is_revoked(claims) and self._watched.pop(key, None) is not None:
                _call(callback)


def _call(callback: Callable[[], object]) -> None:
    try:
        callback()
    except Exception:  # noqa: BLE001  It is the application's, and is logged.
        logger.exception("a callback failed")
