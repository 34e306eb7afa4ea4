"""Public keys that verify signatures, checked when they are read, as in the compiled core. Needs `cryptography`.

A key is for one algorithm, and never for the one that a token names.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from adieu.base64url import decode, encode

Key = tuple[str | None, str, Any]
"""The id of a key, its algorithm, and the key itself."""

_RSA = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"))
_MIN_RSA_BITS = 2048
_MAX_RSA_BITS = 8192
_MAX_EXPONENT_BITS = 33

_MAX_KEYS = 64
"""The maximum number of keys of an issuer."""

_MAX_KEY_ID_BYTES = 256

_PRIVATE = frozenset(("d", "p", "q", "dp", "dq", "qi", "oth", "k"))
"""The members of a private key (RFC 7518 section 6). If one is published, it is no secret any more."""

_PEM = re.compile(rb"\s*-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/\s]+={0,2}\s*)-----END PUBLIC KEY-----\s*")


def of_pem(algorithm: str, content: bytes) -> Key:
    """Returns a public key from its PEM form; its id is its thumbprint. Raises `ValueError` if it is not fit."""
    block = _PEM.fullmatch(content)
    if block is None:
        raise ValueError("key must be a public key in PEM form")
    text = b"".join(block[1].split()).decode().rstrip("=")
    try:
        key: Any = load_der_public_key(decode(text.translate(str.maketrans("+/", "-_"))))
        _require_fit(algorithm, key)
        return thumbprint(key), algorithm, key
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"key must be a public key for {algorithm}") from error


def of_document(content: bytes, rsa: str) -> list[Key]:
    """Returns the keys of an issuer's document (RFC 7517 section 5). Raises `ValueError` or `TypeError` if it is none.

    A key that is not a public key for signatures with a known algorithm is left out, and so is a second key with the
    same id. `rsa` is the algorithm of RSA keys that name none.
    """
    published = json.loads(content)
    if not isinstance(published, dict) or not isinstance(published.get("keys"), list):
        raise TypeError("the document is not a set of keys")
    keys: dict[str | None, Key] = {}
    for jwk in published["keys"]:
        try:
            key = _of_jwk(jwk, rsa)
        except (KeyError, TypeError, ValueError, UnsupportedAlgorithm):
            continue
        keys.setdefault(key[0], key)
    if len(keys) > _MAX_KEYS:
        raise ValueError(f"there are more than {_MAX_KEYS} keys")
    return list(keys.values())


def _of_jwk(jwk: Any, rsa: str) -> Key:
    if not isinstance(jwk, dict) or not _PRIVATE.isdisjoint(jwk):
        raise TypeError("not a public key")
    # A member that is null counts as absent.
    jwk = {name: value for name, value in jwk.items() if value is not None}
    operations = jwk.get("key_ops", ["verify"])
    is_list = isinstance(operations, list) and all(isinstance(operation, str) for operation in operations)
    if jwk.get("use", "sig") != "sig" or not is_list or "verify" not in operations:
        raise ValueError("not for signatures")
    key: EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey
    kind = (jwk["kty"], jwk.get("crv"))
    if kind[0] == "RSA":
        only_fit = rsa
        key = RSAPublicNumbers(*(int.from_bytes(_bytes(jwk, name), "big") for name in ("e", "n"))).public_key()
    elif kind == ("OKP", "Ed25519"):
        only_fit = "EdDSA"
        key = Ed25519PublicKey.from_public_bytes(_bytes(jwk, "x"))
    elif kind in (("EC", "P-256"), ("EC", "P-384")):
        only_fit, curve = ("ES256", SECP256R1()) if kind[1] == "P-256" else ("ES384", SECP384R1())
        key = EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + _bytes(jwk, "x") + _bytes(jwk, "y"))
    else:
        raise ValueError("an unknown kind of key")
    algorithm = jwk.get("alg", only_fit)
    algorithm = "EdDSA" if algorithm == "Ed25519" else algorithm
    _require_fit(algorithm, key)
    kid = jwk.get("kid", thumbprint(key))
    if not isinstance(kid, str) or not 0 < len(kid.encode()) <= _MAX_KEY_ID_BYTES:
        raise ValueError("an invalid id")
    return kid, algorithm, key


def _bytes(jwk: Mapping[str, Any], name: str) -> bytes:
    value = jwk[name]
    if not isinstance(value, str):
        raise TypeError("a member of a key must be text")
    return decode(value)


def _require_fit(algorithm: Any, key: Any) -> None:
    """Raises unless the key is one for this algorithm."""
    if isinstance(key, RSAPublicKey):
        numbers = key.public_numbers()
        is_fit = (
            algorithm in _RSA
            and _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS
            and numbers.n % 2 == numbers.e % 2 == 1
            and 1 < numbers.e.bit_length() <= _MAX_EXPONENT_BITS
        )
    elif isinstance(key, EllipticCurvePublicKey):
        is_fit = (algorithm, key.curve.name) in (("ES256", "secp256r1"), ("ES384", "secp384r1"))
    else:
        is_fit = isinstance(key, Ed25519PublicKey) and algorithm == "EdDSA"
    if not is_fit:
        raise ValueError(f"the key is not fit for {algorithm}")


def thumbprint(key: EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey) -> str:
    """Returns the thumbprint of a public key (RFC 7638), which is its id if it has no other."""
    members: Mapping[str, str]
    if isinstance(key, RSAPublicKey):
        numbers = key.public_numbers()
        members = {"e": _of_number(numbers.e), "kty": "RSA", "n": _of_number(numbers.n)}
    elif isinstance(key, EllipticCurvePublicKey):
        point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
        x, y = point[: len(point) // 2], point[len(point) // 2 :]
        crv = "P-256" if key.curve.name == "secp256r1" else "P-384"
        members = {"crv": crv, "kty": "EC", "x": encode(x), "y": encode(y)}
    else:
        members = {"crv": "Ed25519", "kty": "OKP", "x": encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw))}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return encode(hashlib.sha256(text.encode()).digest())


def _of_number(number: int) -> str:
    return encode(number.to_bytes((number.bit_length() + 7) // 8, "big"))
