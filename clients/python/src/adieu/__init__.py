"""Logout for JSON Web Tokens: a blocklist that every process shares and that survives restarts.

>>> from adieu import Blocklist
>>> BLOCKLIST = Blocklist("https://adieu.example.org", "shop", secret)  # doctest: +SKIP
>>> BLOCKLIST.add(jti)                                                  # doctest: +SKIP
>>> jti in BLOCKLIST                                                    # doctest: +SKIP
True

1. ``jti in BLOCKLIST`` asks this process's memory and nobody else. It never answers from a memory that is older than
   ``max_staleness``: then it raises `StaleError`.
2. ``BLOCKLIST.add(jti)`` returns when the revocation is on stable storage, and raises when it may not be.
3. Nothing un-revokes: there is no ``discard``.

`adieu.flask`, `adieu.fastapi` and `adieu.django` are the glue for these frameworks.
"""

from adieu.blocklist import Blocklist
from adieu.errors import AdieuError, RefusedError, StaleError, UnavailableError

__all__ = ["AdieuError", "Blocklist", "RefusedError", "StaleError", "UnavailableError"]
