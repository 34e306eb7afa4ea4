"""A key is for one algorithm and for signatures, or it is not used. Both implementations use the same keys."""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import jwt
import pytest
from conftest import TEST_TIMEOUT
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from fake_node import PAGE, a_node_that_answers

from adieu import TokenError, Verifier

NOW = int(time.time())
ED, OTHER_ED = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
P256, P384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
RSA = rsa.generate_private_key(65537, 2048)
SHORT_RSA = rsa.generate_private_key(65537, 1024)  # noqa: S505
ED448 = ed448.Ed448PrivateKey.generate()


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def number(value: int) -> str:
    return encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def raw(key: Any) -> str:
    return encoded(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def jwk_of(key: Any, **members: Any) -> dict[str, Any]:
    """Returns the public key, under the id `named`."""
    jwk: dict[str, Any]
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        jwk = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e), "alg": "RS256"}
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        point, size = key.public_key().public_numbers(), (key.key_size + 7) // 8
        jwk = {"kty": "EC", "crv": f"P-{key.key_size}"}
        jwk |= {name: encoded(getattr(point, name).to_bytes(size, "big")) for name in ("x", "y")}
    else:
        jwk = {"kty": "OKP", "crv": "Ed448" if key is ED448 else "Ed25519", "x": raw(key)}
    return {**jwk, "kid": "named", **members}


def without(name: str, jwk: dict[str, Any]) -> dict[str, Any]:
    return {other: value for other, value in jwk.items() if other != name}


def thumbprint_of(key: Any) -> str:
    members = {name: value for name, value in jwk_of(key).items() if name not in ("alg", "kid")}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return encoded(hashlib.sha256(text.encode()).digest())


def pem_of(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def private_pem_of(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def sign(key: Any, algorithm: str, kid: str | None = None) -> str:
    """Signs by hand, because a library would reject some of these keys."""
    header = {"alg": algorithm, "typ": "at+jwt", **({} if kid is None else {"kid": kid})}
    payload = {"iss": "adieu", "sub": "jose", "jti": "some id", "iat": NOW, "exp": NOW + 900}
    signed = ".".join(encoded(json.dumps(part).encode()) for part in (header, payload))
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(signed.encode(), padding.PKCS1v15(), SHA256())
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.key_size + 7) // 8
        both = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(SHA256())))
        signature = b"".join(part.to_bytes(size, "big") for part in both)
    else:
        signature = key.sign(signed.encode())
    return f"{signed}.{encoded(signature)}"


def verdict(verifier: Verifier, token: str) -> str:
    try:
        verifier.verify(token)
    except TokenError as error:
        return error.code
    return "good"


Make = Callable[..., Verifier]


@pytest.fixture
def verifier(backend: str) -> Iterator[Make]:
    """Creates a verifier of a node that publishes some keys, and has some revocations."""
    with ExitStack() as ending:

        def make(keys: list[Any] | None = None, entries: list[Any] | None = None, **options: Any) -> Verifier:
            content = json.dumps({**PAGE, "entries": entries or [], "keys": keys or []}).encode()
            url = ending.enter_context(a_node_that_answers(content, holds=True))
            made = Verifier(url, "shop", "secret", issuer="adieu", max_staleness=600, **options)
            ending.callback(made.close)
            assert made.blocklist.backend == backend
            made.wait_ready(TEST_TIMEOUT)
            return made

        yield make


USED: dict[str, tuple[Any, str, Any, str | None]] = {
    "Ed25519": (ED, "EdDSA", jwk_of(ED), "named"),
    "Ed25519 by its newer name in the key": (ED, "EdDSA", jwk_of(ED, alg="Ed25519"), "named"),
    "Ed25519 by its newer name in the token": (ED, "Ed25519", jwk_of(ED), "named"),
    "P-256": (P256, "ES256", jwk_of(P256), "named"),
    "RSA": (RSA, "RS256", jwk_of(RSA), "named"),
    "RSA with a leading zero": (RSA, "RS256", jwk_of(RSA, e="AAEAAQ"), "named"),
    "RSA without an algorithm": (RSA, "RS256", without("alg", jwk_of(RSA)), "named"),
    "no id": (ED, "EdDSA", without("kid", jwk_of(ED)), thumbprint_of(ED)),
    "no id, of RSA": (RSA, "RS256", without("kid", jwk_of(RSA, e="AAEAAQ")), thumbprint_of(RSA)),
    "no id, of P-256": (P256, "ES256", without("kid", jwk_of(P256)), thumbprint_of(P256)),
    "an id that is null": (ED, "EdDSA", jwk_of(ED, kid=None), thumbprint_of(ED)),
    "an id of 256 bytes": (ED, "EdDSA", jwk_of(ED, kid="k" * 256), "k" * 256),
    "no use": (ED, "EdDSA", jwk_of(ED, use=None, alg=None, key_ops=None), "named"),
    "for signatures": (ED, "EdDSA", jwk_of(ED, use="sig", key_ops=["sign", "verify"]), "named"),
    "other members": (ED, "EdDSA", jwk_of(ED, x5c=["MII="], n=7, y=None), "named"),
}
"""A private key, the algorithm of its token, the public key, and the id in the token."""

NOT_USED: dict[str, tuple[Any, str, Any]] = {
    "no object": (ED, "EdDSA", 7),
    "null": (ED, "EdDSA", None),
    "no kind": (ED, "EdDSA", without("kty", jwk_of(ED))),
    "no x": (ED, "EdDSA", without("x", jwk_of(ED))),
    "an x that is no text": (ED, "EdDSA", jwk_of(ED, x=7)),
    "an x that is short": (ED, "EdDSA", jwk_of(ED, x="AA")),
    "an x with padding": (ED, "EdDSA", jwk_of(ED, x=jwk_of(ED)["x"] + "=")),
    "no y": (P256, "ES256", without("y", jwk_of(P256))),
    "no point": (P256, "ES256", jwk_of(P256, y=jwk_of(P256)["x"])),
    "no n": (RSA, "RS256", without("n", jwk_of(RSA))),
    "an n that is a list": (RSA, "RS256", jwk_of(RSA, n=[jwk_of(RSA)["n"]])),
    "an exponent of one": (RSA, "RS256", jwk_of(RSA, e="AQ")),
    "an even modulus": (RSA, "RS256", jwk_of(RSA, n=number(1 << 2047))),
    "a large exponent": (RSA, "RS256", jwk_of(RSA, e=number((1 << 40) + 1))),
    "a short key": (SHORT_RSA, "RS256", jwk_of(SHORT_RSA)),
    "a certificate alone": (
        RSA,
        "RS256",
        {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "named", "x5c": ["MII="]},
    ),
    "X25519": (ED, "EdDSA", jwk_of(ED, crv="X25519", x=raw(x25519.X25519PrivateKey.generate()), alg="EdDSA")),
    "Ed448": (ED448, "EdDSA", jwk_of(ED448, alg="EdDSA")),
    "P-521": (P384, "ES384", jwk_of(P384, crv="P-521", alg="ES384")),
    "another algorithm of elliptic curves": (P384, "ES256", jwk_of(P384, alg="ES256")),
    "an algorithm of another kind": (RSA, "RS256", jwk_of(RSA, alg="EdDSA")),
    "an unknown algorithm": (ED, "EdDSA", jwk_of(ED, alg="ES256K")),
    "an empty algorithm": (ED, "EdDSA", jwk_of(ED, alg="")),
    "an algorithm that is a list": (ED, "EdDSA", jwk_of(ED, alg=["EdDSA"])),
    "for encryption": (ED, "EdDSA", jwk_of(ED, use="enc")),
    "a use that is no text": (ED, "EdDSA", jwk_of(ED, use=["sig"])),
    "for signing alone": (ED, "EdDSA", jwk_of(ED, key_ops=["sign"])),
    "for operations that are one text": (ED, "EdDSA", jwk_of(ED, key_ops="verify")),
    "for operations that are not all text": (ED, "EdDSA", jwk_of(ED, key_ops=["verify", 7])),
    "an empty id": (ED, "EdDSA", jwk_of(ED, kid="")),
    "an id that is a number": (ED, "EdDSA", jwk_of(ED, kid=7)),
    "an id of 257 bytes": (ED, "EdDSA", jwk_of(ED, kid="\u00e9" * 128 + "k")),
    "a private part": (ED, "EdDSA", jwk_of(ED, d=raw(OTHER_ED))),
    "a private part that is null": (ED, "EdDSA", jwk_of(ED, d=None)),
    "another prime of RSA": (RSA, "RS256", jwk_of(RSA, oth=[])),
    "a secret": (ED, "EdDSA", {"kty": "oct", "k": encoded(b"k" * 32), "alg": "HS256", "kid": "named"}),
}
"""A private key, the algorithm of its token, and the published key."""

BESIDE = jwk_of(OTHER_ED, kid="beside")


def test_a_published_key_is_used(verifier: Make) -> None:
    published, tokens = [], {}
    for name, (key, algorithm, jwk, kid) in USED.items():
        ours = name if kid == "named" else kid
        published.append({**jwk, "kid": name} if kid == "named" else jwk)
        tokens[name] = (sign(key, algorithm, ours), sign(OTHER_ED, algorithm, ours))
    verify = verifier(published, algorithm="RS256")
    wrong = {name: [verdict(verify, token) for token in both] for name, both in tokens.items()}
    assert {name: found for name, found in wrong.items() if found != ["good", "invalid_token"]} == {}
    assert verdict(verify, sign(ED, "EdDSA", "another")) == "invalid_token"
    assert verdict(verify, sign(P256, "ES256")) == "good"


def test_a_published_key_that_is_not_fit_is_left_out_and_the_others_are_used(verifier: Make) -> None:
    verify = verifier([*(jwk for _, _, jwk in NOT_USED.values()), BESIDE], algorithm="RS256")
    assert verdict(verify, sign(OTHER_ED, "EdDSA", "beside")) == "good"
    accepted = []
    for name, (key, algorithm, jwk) in NOT_USED.items():
        kid = jwk["kid"] if isinstance(jwk, dict) and isinstance(jwk["kid"], str) else "named"
        tokens = [sign(key, algorithm, None), sign(key, algorithm, kid), sign(key, algorithm, thumbprint_of(key))]
        accepted += [name for token in tokens if verdict(verify, token) != "invalid_token"]
    assert accepted == []
    for headers in ({}, {"kid": "named"}):
        secret = jwt.encode({"sub": "jose"}, "k" * 32, headers=headers)
        assert verdict(verify, secret) == "invalid_token"


def test_the_first_of_two_keys_with_one_id_is_used(verifier: Make) -> None:
    verify = verifier([jwk_of(ED, use="enc"), jwk_of(ED), jwk_of(OTHER_ED), without("kid", jwk_of(P256))])
    assert verdict(verify, sign(ED, "EdDSA", "named")) == "good"
    assert verdict(verify, sign(OTHER_ED, "EdDSA", "named")) == "invalid_token"
    assert verdict(verify, sign(OTHER_ED, "EdDSA")) == "invalid_token"
    assert verdict(verify, sign(P256, "ES256")) == "good"


def test_a_token_without_an_id_is_tried_with_a_few_keys(verifier: Make) -> None:
    keys = [ed25519.Ed25519PrivateKey.generate() for _ in range(5)]
    verify = verifier([jwk_of(P256), *(without("kid", jwk_of(key)) for key in keys)])
    verdicts = [verdict(verify, sign(key, "EdDSA")) for key in keys]
    assert verdicts == ["good"] * 4 + ["invalid_token"]
    assert verdict(verify, sign(keys[4], "EdDSA", thumbprint_of(keys[4]))) == "good"


TOO_MANY = [{**BESIDE, "kid": str(kid)} for kid in range(65)]


def test_what_is_no_set_of_keys_is_not_read(verifier: Make) -> None:
    blocklist = verifier(key="k" * 32, algorithm="HS256").blocklist
    documents: list[Any] = [[], {}, {"keys": None}, {"keys": {}}, {"keys": "abc"}, {"keys": TOO_MANY}]
    with ExitStack() as ending:
        made = []
        for document in [*documents, {"keys": [BESIDE] * 65}]:
            keys_url = ending.enter_context(a_node_that_answers(json.dumps(document).encode()))
            made.append(Verifier(blocklist=blocklist, issuer="adieu", keys_url=keys_url))
            ending.callback(made[-1].close)
        made[-1].wait_ready(TEST_TIMEOUT)
        assert [one._check.has_keys for one in made] == [False] * len(documents) + [True]


FIXED = [(ED, "EdDSA"), (ED, "Ed25519"), (P256, "ES256"), (RSA, "RS256")]


@pytest.mark.parametrize(("key", "algorithm"), FIXED, ids=[algorithm for _, algorithm in FIXED])
def test_the_id_of_a_fixed_key_is_its_thumbprint(verifier: Make, key: Any, algorithm: str) -> None:
    pem, kid = pem_of(key), thumbprint_of(key)
    blocklist = verifier(key=pem, algorithm=algorithm).blocklist
    for written in (pem, pem.encode(), f"\r\n{pem}\n", pem.replace("\n", "\r\n"), "".join(pem.splitlines())):
        verify = Verifier(blocklist=blocklist, issuer="adieu", key=written, algorithm=algorithm)
        for named in (None, kid):
            assert verdict(verify, sign(key, algorithm, named)) == "good"
        for named in ("", "another", kid + "A"):
            assert verdict(verify, sign(key, algorithm, named)) == "invalid_token"
    revoked = [{"issuer": "adieu", "kind": "key", "id": kid, "lapses_at": 253_402_300_799}]
    verify = verifier(key=pem, algorithm=algorithm, entries=revoked)
    for named in (None, kid):
        assert verdict(verify, sign(key, algorithm, named)) == "token_revoked"
    assert verdict(verify, sign(key, algorithm, "another")) == "invalid_token"


def test_a_secret_has_no_id(verifier: Make) -> None:
    verify = verifier(key="k" * 32, algorithm="HS256")
    payload = {"iss": "adieu", "sub": "jose", "jti": "some id", "exp": NOW + 900}
    for headers, code in (({}, "good"), ({"kid": "any"}, "invalid_token"), ({"kid": ""}, "invalid_token")):
        token = jwt.encode(payload, "k" * 32, headers={"typ": "at+jwt", **headers})
        assert verdict(verify, token) == code


CERTIFICATE = pem_of(ED).replace("PUBLIC KEY", "CERTIFICATE")
UNFIT = {
    "no PEM": ("x" * 40, "EdDSA"),
    "nothing": ("", "RS256"),
    "an empty block": ("-----BEGIN PUBLIC KEY----------END PUBLIC KEY-----", "RS256"),
    "no key": ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "RS256"),
    "two keys": (pem_of(ED) * 2, "EdDSA"),
    "text before it": ("key: " + pem_of(ED), "EdDSA"),
    "a private key": (private_pem_of(ED), "EdDSA"),
    "a private key of RSA": (private_pem_of(RSA), "RS256"),
    "a certificate": (CERTIFICATE, "EdDSA"),
    "a key of RSA for EdDSA": (pem_of(RSA), "EdDSA"),
    "Ed25519 for RSA": (pem_of(ED), "RS256"),
    "Ed448": (pem_of(ED448), "EdDSA"),
    "another curve": (pem_of(P384), "ES256"),
    "a short key": (pem_of(SHORT_RSA), "RS256"),
    "bytes": (b"\xff" * 40, "ES384"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_fixed_key_that_is_not_fit_is_refused_when_it_is_made(case: str) -> None:
    key: Any
    key, algorithm = UNFIT[case]
    with pytest.raises(ValueError, match=r"key|setting"):
        Verifier("http://127.0.0.1:1", "shop", "secret", issuer="adieu", key=key, algorithm=algorithm)


@pytest.mark.parametrize(
    "pem",
    [pem_of(ED), private_pem_of(RSA), "\n" + pem_of(P256), "\ufeff" + pem_of(ED), "key: " + private_pem_of(ED)],
    ids=["public", "private", "led", "byte order mark", "text before it"],
)
def test_a_key_in_pem_form_is_no_secret(pem: str) -> None:
    with pytest.raises(ValueError, match="PEM"):
        Verifier("http://127.0.0.1:1", "shop", "secret", issuer="adieu", key=pem, algorithm="HS256")
