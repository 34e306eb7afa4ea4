"""The blocklist for asyncio: whatever waits is awaited, and runs in a thread."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from adieu.blocklist import Blocklist


class AsyncBlocklist:
    """The methods of `Blocklist` that may wait, with ``await``. `blocklist` is the `Blocklist`, which has all others.

    The arguments are those of `Blocklist`, or an existing one as `blocklist`.
    A cancelled call may nevertheless have revoked: it is safe to repeat it.
    """

    def __init__(self, *arguments: Any, blocklist: Blocklist | None = None, **options: Any) -> None:
        self.blocklist = Blocklist(*arguments, **options) if blocklist is None else blocklist

    async def is_revoked(
        self, payload: Mapping[str, Any], token: str | bytes | None = None, *, kid: str | None = None
    ) -> bool:
        """Like `Blocklist.is_revoked`; it uses a thread only where that may wait."""
        if self.blocklist.may_wait:
            return await asyncio.to_thread(self.blocklist.is_revoked, payload, token, kid=kid)
        return self.blocklist.is_revoked(payload, token, kid=kid)

    async def add(self, jti: str, *, exp: float | None = None, keep_until: float | None = None) -> None:
        """Like `Blocklist.add`."""
        await asyncio.to_thread(self.blocklist.add, jti, exp=exp, keep_until=keep_until)

    async def update(self, jtis: Iterable[str]) -> None:
        """Like `Blocklist.update`."""
        await asyncio.to_thread(self.blocklist.update, jtis)

    async def revoke(
        self, payload: Mapping[str, Any], token: str | bytes | None = None, *, keep_until: float | None = None
    ) -> None:
        """Like `Blocklist.revoke`."""
        await asyncio.to_thread(self.blocklist.revoke, payload, token, keep_until=keep_until)

    async def revoke_once(
        self, payload: Mapping[str, Any], token: str | bytes | None = None, *, kid: str | None = None
    ) -> bool:
        """Like `Blocklist.revoke_once`."""
        return await asyncio.to_thread(self.blocklist.revoke_once, payload, token, kid=kid)

    async def revoke_subject(self, subject: str | int, *, issuer: str | None = None) -> None:
        """Like `Blocklist.revoke_subject`."""
        await asyncio.to_thread(self.blocklist.revoke_subject, subject, issuer=issuer)

    async def revoke_claim(self, name: str, value: str | int | bool, *, issuer: str | None = None) -> None:
        """Like `Blocklist.revoke_claim`."""
        await asyncio.to_thread(self.blocklist.revoke_claim, name, value, issuer=issuer)

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Like `Blocklist.wait_ready`."""
        await asyncio.to_thread(self.blocklist.wait_ready, timeout)

    async def close(self) -> None:
        """Like `Blocklist.close`."""
        await asyncio.to_thread(self.blocklist.close)

    async def __aenter__(self) -> "AsyncBlocklist":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()
