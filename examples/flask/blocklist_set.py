"""The revoked tokens, in a set: known to this process alone, and only while it runs."""

from collections.abc import Mapping
from typing import Any


class Blocklist:
    """The ids of revoked tokens and sessions."""

    def __init__(self) -> None:
        self._ids: set[str] = set()

    def is_revoked(self, payload: Mapping[str, Any]) -> bool:
        """Returns whether the token or its session was logged out."""
        return payload["jti"] in self._ids or payload["sid"] in self._ids

    def revoke(self, payload: Mapping[str, Any]) -> None:
        """Logs the token and its session out."""
        self._ids |= {payload["jti"], payload["sid"]}

    def revoke_once(self, payload: Mapping[str, Any]) -> bool:
        """Uses the token up. Returns false if it was used before."""
        if self.is_revoked(payload):
            return False
        self._ids.add(payload["jti"])
        return True


BLOCKLIST = Blocklist()
