"""Makes the keys of some issuers in a folder, and prints tokens of theirs, made as their documentations have it."""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from flask import Flask
from flask_jwt_extended import JWTManager, create_access_token, create_refresh_token

folder = Path(sys.argv[1])


def key_pair(name, private_key):
    (folder / f"{name}.pem").write_bytes(
        private_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private_key


def secret(name):
    text = f"{uuid4().hex}{uuid4().hex}"
    (folder / f"{name}.secret").write_text(f"{text}\n")
    return text


def flask(**config):
    app = Flask("issuer")
    app.config.update(config)
    JWTManager(app)
    return app


shop_secret, till_secret = secret("shop"), secret("till")
forum_key = key_pair("forum", ed25519.Ed25519PrivateKey.generate())
desk_key = key_pair("desk", rsa.generate_private_key(65537, 2048))
desk_pem = desk_key.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
now = int(time.time())

# Flask-JWT-Extended as it is, and with a key pair and an issuer.
shop = flask(JWT_SECRET_KEY=shop_secret)
desk = flask(
    JWT_ALGORITHM="RS256",
    JWT_PRIVATE_KEY=desk_pem,
    JWT_PUBLIC_KEY=(folder / "desk.pem").read_bytes(),
    JWT_ENCODE_ISSUER="desk",
    JWT_ACCESS_TOKEN_EXPIRES=timedelta(minutes=5),
)


def shop_token():
    with shop.app_context():
        return create_access_token("jose", additional_claims={"is_admin": True})


def desk_token():
    with desk.app_context():
        return create_access_token("jose")


# RFC 9068, with PyJWT.
def forum_token(key=forum_key, headers=None, **claims):
    claims = {
        "iss": "forum",
        "sub": "jose",
        "aud": "adieu",
        "iat": now,
        "exp": now + 300,
        "jti": str(uuid4()),
        "is_admin": True,
    } | claims
    return jwt.encode(claims, key, "EdDSA", headers={"typ": "at+jwt"} | (headers or {}))


# As short as it gets, with PyJWT.
def till_token(key=till_secret, kid="2026", number=[0], **claims):
    number[0] += 1
    claims = {"iss": "till", "sub": "jose", "exp": now + 300, "number": number[0]} | claims
    return jwt.encode(claims, key, "HS512", headers={"kid": kid})


tokens = {}
for name, make in {"shop": shop_token, "forum": forum_token, "till": till_token, "desk": desk_token}.items():
    for which in ["", " again", " once more"]:
        tokens[name + which] = make()

with shop.app_context():
    tokens["shop refresh"] = create_refresh_token("jose")

hour = 3600
tokens["bad"] = {
    "the forum's key for the desk": forum_token(iss="desk"),
    "the forum's key for the server": forum_token(iss="adieu"),
    "the forum's key for an unknown issuer": forum_token(iss="unknown"),
    "the till's secret for the shop": till_token(iss="shop"),
    "the till's secret without an issuer": jwt.encode(
        {"sub": "jose", "exp": now + 300}, till_secret, "HS512", headers={"kid": "2026"}
    ),
    "a key of another name": till_token(kid="2025"),
    "no audience": jwt.encode(
        {"iss": "forum", "sub": "jose", "exp": now + 300, "jti": "1"}, forum_key, "EdDSA", headers={"typ": "at+jwt"}
    ),
    "another audience": forum_token(aud="another audience"),
    "an identity token": forum_token(headers={"typ": "JWT"}),
    "expired": forum_token(exp=now - hour, iat=now - 2 * hour),
    "of the future": forum_token(nbf=now + 200),
    "one that lives for years": forum_token(exp=now + 10_000 * hour),
    "a stranger's key": forum_token(key=ed25519.Ed25519PrivateKey.generate()),
}

print(json.dumps(tokens))
