"""The kind of a token, by the header's ``typ`` and the claims that issuers use for it.

A refresh token or an identity token has the same signing key as an access token, so a good signature is not enough.
"""

import base64
import json
from collections.abc import Collection, Mapping
from typing import Any

ACCESS = ("access",)
"""The kinds that are accepted by default."""

CLAIMS = ("type", "token_type", "token_use", "typ")
"""The claims of Flask-JWT-Extended and Adieu, of simplejwt, of Cognito, and of Keycloak."""

_OTHER_NAMES = {
    "access_token": "access",
    "at+jwt": "access",
    "refresh_token": "refresh",
    # These name how a token is sent and its format, not its kind.
    "bearer": None,
    "jwt": None,
}


def checked(types: Collection[str]) -> frozenset[str]:
    """Returns the accepted kinds. Raises `TypeError` if they are one name instead of a collection."""
    if isinstance(types, str):
        raise TypeError(f"types must be a collection of names, such as ({types!r},)")
    return frozenset(map(_lower, types))


def is_one_of(types: Collection[str], header: Mapping[str, Any], payload: Mapping[str, Any]) -> bool:
    """Returns whether header and payload together name one kind of token, and it is one of these.

    A token without a kind counts as an access token. The comparison ignores case.
    """
    named = set()
    if "typ" in header:
        typ = header["typ"]
        # `typ` is a media type (RFC 7515 section 4.1.9).
        named.add(_kind(_lower(typ).removeprefix("application/") if isinstance(typ, str) else typ))
    for claim in CLAIMS:
        if claim in payload:
            named.add(_kind(payload[claim]))
    named.discard(None)
    return len(named) <= 1 and all(kind in types for kind in named or ACCESS)


def header_of(token: str | bytes) -> Mapping[str, Any]:
    """Returns the header of a token that has been verified."""
    if isinstance(token, bytes):
        token = token.decode("ascii")
    encoded = token.partition(".")[0]
    header = json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    if not isinstance(header, dict):
        raise TypeError("the header of a token must be an object")
    return header


def _kind(name: object) -> str | None:
    if not isinstance(name, str):
        # A value of a wrong type: a kind that is never accepted.
        return ""
    name = _lower(name)
    return _OTHER_NAMES.get(name, name)


def _lower(name: str) -> str:
    # ASCII only, as at the node: some other letters have an ASCII letter as their lower case.
    return name.lower() if name.isascii() else name
