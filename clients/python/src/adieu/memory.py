"""A node in this process, for an application's own tests: the same rules, without a network."""

import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from adieu.errors import RefusedError
from adieu.index import KEPT_AFTER_EXPIRY, BadFactError, Index, number
from adieu.node import Node, Page

ISSUER = "adieu"
"""The node's own issuer."""

_KEPT = 30 * 24 * 3600
_NEVER = 253_402_300_799
"""The end of the year 9999: the revocation of a key does not lapse."""

_KINDS = {"token_id": "token", "session": "session", "subject": "subject", "key": "key", "claim": "claim"}


class MemoryNode(Node):
    """Has the interface of a node, and keeps its log in a list."""

    tls = None

    def __init__(self) -> None:
        self._log = secrets.token_hex(8)
        self._entries: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._is_closed = False

    def read(self, query: Mapping[str, str | int], timeout: float) -> Page:  # noqa: ARG002
        """Returns the entries after the cursor, and waits for one if there are none."""
        after = query.get("after")
        known = 0 if after is None else int(str(after).rpartition(".")[2])
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closed or after is None or len(self._entries) > known, int(query["wait"]) / 1000
            )
            return Page(
                cursor=f"{self._log}.{len(self._entries)}",
                complete=True,
                from_start=after is None,
                age_ms=0,
                pruned_through=0,
                issuer=ISSUER,
                entries=self._entries[known:],
            )

    def revoke(self, revocations: Sequence[Mapping[str, Any]], timeout: float) -> None:  # noqa: ARG002
        """Appends revocations, all or none. Raises `RefusedError` if one is invalid, as a node does."""
        now = int(time.time())
        try:
            entries = [_entry(revocation, now) for revocation in revocations]
            # A follower that can't read one would be stale for ever.
            Index(None).extend(entries)
        except (BadFactError, TypeError) as error:
            raise RefusedError("the node answered 422: a revocation is invalid", 422) from error
        with self._changed:
            self._entries += entries
            self._changed.notify_all()

    def after_fork(self) -> None:
        """Continues with a copy: from now on, parent and child have nothing in common."""
        self._changed = threading.Condition()

    def close(self) -> None:
        """Ends every wait."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()


def _entry(revocation: Mapping[str, Any], now: int) -> dict[str, Any]:
    """Returns the entry of the log for a revocation. Raises `TypeError` if its time is invalid."""
    name = next(iter(_KINDS.keys() & revocation.keys()))
    until = number(revocation.get("keep_until", now + _KEPT)) + KEPT_AFTER_EXPIRY
    entry = {
        "issuer": revocation.get("issuer", ISSUER),
        "kind": _KINDS[name],
        "lapses_at": _NEVER if name == "key" else min(until, _NEVER),
    }
    entry |= revocation[name] if name == "claim" else {"id": revocation[name]}
    return entry | ({"issued_until": now} if name in ("subject", "claim") else {})
