"""Logout for JSON Web Tokens: a set of revoked tokens that every process shares and that survives restarts.

>>> from adieu import Blocklist
>>> BLOCKLIST = Blocklist("https://adieu.example.org", "shop", secret)  # doctest: +SKIP
>>> BLOCKLIST.revoke(payload)                                           # doctest: +SKIP
>>> BLOCKLIST.is_revoked(payload)                                       # doctest: +SKIP
True

1. ``is_revoked`` is a lookup in this process's memory. If the memory is older than ``max_staleness``, it raises
   `StaleError`.
2. ``revoke`` returns when the revocation is on stable storage, and raises when it may not be.
3. Nothing un-revokes: there is no ``discard``.

``jti in BLOCKLIST`` and ``BLOCKLIST.add(jti)`` are for applications that know only the ids of their own tokens.

`Verifier` verifies tokens as well: signature, claims and revocation in one call.

`adieu.flask`, `adieu.fastapi`, `adieu.django` (with simplejwt) and `adieu.drf` are the integrations for frameworks.
"""

from adieu.aio import AsyncBlocklist
from adieu.blocklist import Blocklist
from adieu.errors import AdieuError, InvalidClaimsError, RefusedError, StaleError, TokenError, UnavailableError
from adieu.index import token_id_of
from adieu.verifier import Claims, Verifier

__all__ = [
    "AdieuError",
    "AsyncBlocklist",
    "Blocklist",
    "Claims",
    "InvalidClaimsError",
    "RefusedError",
    "StaleError",
    "TokenError",
    "UnavailableError",
    "Verifier",
    "token_id_of",
]
