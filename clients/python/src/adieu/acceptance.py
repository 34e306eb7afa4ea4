"""What a token must be beside authentic and not revoked."""

import time
from collections.abc import Collection, Mapping
from typing import Any

from adieu import kind

SKEW = 3.0
"""How many seconds the clock of an issuer may be ahead by default, as at a node."""


def is_acceptable(
    types: Collection[str] | None, header: Mapping[str, Any], payload: Mapping[str, Any], skew: float = SKEW
) -> bool:
    """Returns whether a verified token is of one of these kinds, or of any without `types`, and not from the future.

    A cut-off of its user would not cover a token that was issued more than `skew` seconds from now.
    """
    if types is not None and not kind.is_one_of(types, header, payload):
        return False
    issued_at = payload.get("iat")
    # The look-up rejects all other values.
    return not isinstance(issued_at, (int, float)) or issued_at <= time.time() + skew
