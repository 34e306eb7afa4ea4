"""Logout for JSON Web Tokens: which tokens have been revoked, known to every process and after every restart.

>>> from adieu import Blocklist
>>> BLOCKLIST = Blocklist("https://adieu.example.org", "shop", secret)  # doctest: +SKIP
>>> BLOCKLIST.revoke(payload)                                           # doctest: +SKIP
>>> BLOCKLIST.is_revoked(payload)                                       # doctest: +SKIP
True

1. ``is_revoked`` asks this process's memory and nobody else. It never answers from a memory that is older than
   ``max_staleness``: then it raises `StaleError`.
2. ``revoke`` returns when the revocation is on stable storage, and raises when it may not be.
3. Nothing un-revokes: there is no ``discard``.

``jti in BLOCKLIST`` and ``BLOCKLIST.add(jti)`` are for applications that know the ids of their own tokens and no more.

`adieu.flask`, `adieu.fastapi` and `adieu.django` are the glue for these frameworks.
"""

from adieu.blocklist import Blocklist
from adieu.errors import AdieuError, InvalidClaimsError, RefusedError, StaleError, UnavailableError
from adieu.index import token_id_of

__all__ = [
    "AdieuError",
    "Blocklist",
    "InvalidClaimsError",
    "RefusedError",
    "StaleError",
    "UnavailableError",
    "token_id_of",
]
