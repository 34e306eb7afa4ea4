"""Base64url without padding, as tokens and keys have it (RFC 7515 section 2)."""

import base64


def encode(content: bytes) -> str:
    """Returns the text of these bytes."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Returns the bytes of a text. Raises `ValueError` for another text of these bytes, or of none."""
    content = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    if encode(content) != text:
        raise ValueError("not canonical base64url")
    return content
