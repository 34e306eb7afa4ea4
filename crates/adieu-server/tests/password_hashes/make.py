"""Makes the password hashes and exports in this folder with the software that users come from.

    python3 -m venv /tmp/hashes && /tmp/hashes/bin/pip install --requirement requirements.txt && /tmp/hashes/bin/python make.py

`hashes.jsonl` has one hash per line. The other files have the shape of an export; all passwords in them are "1234".
Salts are random, so each run makes other hashes.
"""

import base64
import hashlib
import json
import os
import pathlib

import argon2
import bcrypt
import django
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from django.conf import settings
from passlib import hash as passlib
from werkzeug.security import generate_password_hash

settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()

from django.contrib.auth import hashers  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402

HERE = pathlib.Path(__file__).parent
PASSWORDS = [
    "1234",
    "pässwörd 🔑",
    "jose\u0301",  # the last letter is two code points
    "",
    " a\ttab, and spaces ",
    "x" * 72,
    "x" * 80,
    "a" + "ü" * 40,  # bcrypt stops in the middle of a character
]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def unpadded(data: bytes) -> str:
    return b64(data).rstrip("=")


# Each takes a password and returns a text. The costs are small, so that tests are fast; those of the defaults follow below.
CHEAP = {
    "werkzeug scrypt": lambda p: generate_password_hash(p, "scrypt:1024:8:1"),
    "werkzeug pbkdf2:sha1": lambda p: generate_password_hash(p, "pbkdf2:sha1:1000"),
    "werkzeug pbkdf2:sha256": lambda p: generate_password_hash(p, "pbkdf2:sha256:1000", salt_length=1),
    "werkzeug pbkdf2:sha512": lambda p: generate_password_hash(p, "pbkdf2:sha512:1000"),
    "django pbkdf2_sha256": lambda p: hashers.PBKDF2PasswordHasher().encode(p, os.urandom(11).hex(), 1000),
    "django pbkdf2_sha1": lambda p: hashers.PBKDF2SHA1PasswordHasher().encode(p, os.urandom(11).hex(), 1000),
    "django argon2": lambda p: cheap_argon2().encode(p, "a salt of text"),
    "django bcrypt_sha256": lambda p: cheap(hashers.BCryptSHA256PasswordHasher).encode(p, bcrypt.gensalt(4)),
    "django bcrypt": lambda p: cheap(hashers.BCryptPasswordHasher).encode(p, bcrypt.gensalt(4)),
    "django scrypt": lambda p: hashers.ScryptPasswordHasher().encode(p, os.urandom(11).hex(), 1024, 8, 5),
    "passlib pbkdf2_sha1": lambda p: passlib.pbkdf2_sha1.using(rounds=1000).hash(p),
    "passlib pbkdf2_sha256": lambda p: passlib.pbkdf2_sha256.using(rounds=1000).hash(p),
    "passlib pbkdf2_sha512": lambda p: passlib.pbkdf2_sha512.using(rounds=1000).hash(p),
    "passlib scrypt": lambda p: passlib.scrypt.using(rounds=10).hash(p),
    "passlib bcrypt": lambda p: passlib.bcrypt.using(rounds=4, ident="2a").hash(p),
    "passlib bcrypt_sha256 v1": lambda p: passlib.bcrypt_sha256.using(rounds=4, version=1).hash(p),
    "passlib bcrypt_sha256 v1, 2a": lambda p: passlib.bcrypt_sha256.using(rounds=4, version=1, ident="2a").hash(p),
    "passlib bcrypt_sha256 v2": lambda p: passlib.bcrypt_sha256.using(rounds=4, version=2).hash(p),
    "passlib argon2": lambda p: passlib.argon2.using(rounds=1, memory_cost=64, parallelism=2).hash(p),
    "argon2-cffi argon2i": lambda p: argon2.PasswordHasher(1, 64, 1, type=argon2.Type.I).hash(p),
    "bcrypt 2a": lambda p: bcrypt.hashpw(p.encode(), bcrypt.gensalt(4, b"2a")).decode(),
    "bcrypt 2b": lambda p: bcrypt.hashpw(p.encode(), bcrypt.gensalt(4)).decode(),
}

# What new versions of the software make when nothing else is configured.
DEFAULTS = {
    "werkzeug default": generate_password_hash,
    "werkzeug pbkdf2": lambda p: generate_password_hash(p, "pbkdf2"),
    **{
        f"django {hasher.algorithm}": lambda p, hasher=hasher: hashers.make_password(p, hasher=hasher.algorithm)
        for hasher in (
            hashers.PBKDF2PasswordHasher,
            hashers.PBKDF2SHA1PasswordHasher,
            hashers.Argon2PasswordHasher,
            hashers.BCryptSHA256PasswordHasher,
            hashers.BCryptPasswordHasher,
            hashers.ScryptPasswordHasher,
        )
    },
    **{
        f"passlib {scheme.name}": lambda p, scheme=scheme: scheme.hash(p)
        for scheme in (
            passlib.pbkdf2_sha1,
            passlib.pbkdf2_sha256,
            passlib.pbkdf2_sha512,
            passlib.scrypt,
            passlib.bcrypt,
            passlib.bcrypt_sha256,
            passlib.argon2,
        )
    },
    "argon2-cffi": argon2.PasswordHasher().hash,
}


def cheap(hasher):
    made = hasher()
    made.rounds = 4
    return made


def cheap_argon2():
    made = hashers.Argon2PasswordHasher()
    made.time_cost, made.memory_cost, made.parallelism = 1, 64, 1
    return made


def configure_hashers():
    settings.PASSWORD_HASHERS = [
        f"django.contrib.auth.hashers.{name}"
        for name in (
            "PBKDF2PasswordHasher",
            "PBKDF2SHA1PasswordHasher",
            "Argon2PasswordHasher",
            "BCryptSHA256PasswordHasher",
            "BCryptPasswordHasher",
            "ScryptPasswordHasher",
        )
    ]


def write_hashes():
    lines = []
    for made, make in CHEAP.items():
        for password in PASSWORDS:
            lines.append({"made_by": made, "password": password, "hash": make(password)})
    for made, make in DEFAULTS.items():
        lines.append({"made_by": f"{made}, default costs", "password": "1234", "hash": make("1234")})
    write("hashes.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def write_django():
    users = [
        User(pk=1, username="pbkdf2", password=CHEAP["django pbkdf2_sha256"]("1234"), is_superuser=True, is_staff=True),
        User(pk=2, username="argon2", password=CHEAP["django argon2"]("1234")),
        User(pk=3, username="bcrypt", password=CHEAP["django bcrypt_sha256"]("1234")),
        User(pk=4, username="scrypt", password=CHEAP["django scrypt"]("1234")),
        User(pk=5, username="inactive", password=CHEAP["django pbkdf2_sha1"]("1234"), is_active=False),
        User(pk=6, username="single sign-on", password=hashers.make_password(None)),
    ]
    call_command("migrate", verbosity=0)
    for user in users:
        user.save()
    call_command("dumpdata", "auth.user", indent=2, output=HERE / "django.json")
    call_command("dumpdata", "auth.user", format="jsonl", output=HERE / "django.jsonl")


def keycloak_user(name, algorithm, iterations, parameters, value, salt, enabled=True):
    secret = {"value": b64(value), "salt": b64(salt), "additionalParameters": {}}
    data = {"hashIterations": iterations, "algorithm": algorithm, "additionalParameters": parameters}
    credential = {
        "id": "0d1f4f5c-8a5c-4b2b-9d0c-3f1c3d9c5a10",
        "type": "password",
        "userLabel": "My password",
        "createdDate": 1732700000000,
        "secretData": json.dumps(secret, separators=(",", ":")),
        "credentialData": json.dumps(data, separators=(",", ":")),
    }
    return {
        "id": "5a3ff2a4-1d0d-4b6f-8d0a-7f8d3e5b0c11",
        "createdTimestamp": 1732700000000,
        "username": name,
        "enabled": enabled,
        "totp": False,
        "emailVerified": True,
        "email": f"{name}@example.com",
        "credentials": [credential],
        "disableableCredentialTypes": [],
        "requiredActions": [],
        "realmRoles": ["default-roles-example"],
        "notBefore": 0,
        "groups": [],
    }


def write_keycloak():
    def pbkdf2(name, algorithm, digest, length=64, **more):
        salt = os.urandom(16)
        value = hashlib.pbkdf2_hmac(digest, b"1234", salt, 1000, length)
        return keycloak_user(name, algorithm, 1000, {}, value, salt, **more)

    salt = os.urandom(16)
    value = argon2.low_level.hash_secret_raw(b"1234", salt, 5, 7168, 1, 32, argon2.Type.ID)
    parameters = {"hashLength": ["32"], "memory": ["7168"], "type": ["id"], "version": ["1.3"], "parallelism": ["1"]}
    service = keycloak_user("service-account-app", "pbkdf2-sha256", 1, {}, b"", b"")
    service["credentials"] = []
    users = [
        keycloak_user("argon2", "argon2", 5, parameters, value, salt),
        pbkdf2("sha512", "pbkdf2-sha512", "sha512"),
        pbkdf2("sha256", "pbkdf2-sha256", "sha256"),
        pbkdf2("sha256-of-32-bytes", "pbkdf2-sha256", "sha256", 32),
        pbkdf2("sha1", "pbkdf2", "sha1"),
        pbkdf2("off", "pbkdf2-sha512", "sha512", enabled=False),
        service,
    ]
    # A whole realm has hundreds of members besides its users, some of which have members called "users" too.
    realm = {
        "id": "example",
        "realm": "example",
        "accessTokenLifespan": 300,
        "roles": {"realm": [{"name": "users", "composite": False, "attributes": {"users": ["x"]}}]},
        "users": users,
        "clients": [{"clientId": "app", "redirectUris": ["*"]}],
    }
    write("keycloak.json", json.dumps(realm, indent=2) + "\n")


def firebase_hash(password: bytes, key: bytes, salt: bytes) -> bytes:
    derived = hashlib.scrypt(password, salt=salt, n=1 << 14, r=8, p=1, dklen=32)
    encryptor = Cipher(algorithms.AES(derived), modes.CTR(bytes(16))).encryptor()
    return encryptor.update(key) + encryptor.finalize()


def write_firebase():
    # The example of https://github.com/firebase/scrypt, which checks `firebase_hash` too.
    key = "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA=="
    separator, salt = "Bw==", "42xEC+ixf3L2lw=="
    published = "lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ=="
    salted = base64.b64decode(salt) + base64.b64decode(separator)
    assert b64(firebase_hash(b"user1password", base64.b64decode(key), salted)) == published

    def user(email, **more):
        times = {"createdAt": "1732700000000", "lastSignedInAt": "1732700000000"}
        return {"localId": f"id of {email}", "email": email, "emailVerified": True, **more, **times, "providerUserInfo": []}

    own = os.urandom(10)
    mine = firebase_hash(b"1234", base64.b64decode(key), own + base64.b64decode(separator))
    users = [
        user("published@example.com", passwordHash=published, salt=salt),
        user("own@example.com", passwordHash=b64(mine), salt=b64(own), displayName="Own", disabled=False),
        user("off@example.com", passwordHash=published, salt=salt, disabled=True),
        user("google@example.com"),
        {"localId": "anonymous", "createdAt": "1732700000000", "providerUserInfo": []},
    ]
    write("firebase.json", json.dumps({"users": users}, indent=2) + "\n")
    config = ["algorithm: SCRYPT", f"base64_signer_key: {key}", f"base64_salt_separator: {separator}", "rounds: 8", "mem_cost: 14"]
    write("firebase-hash-config.txt", "hash_config {\n" + "".join(f"  {line},\n" for line in config) + "}\n")


def write_auth0():
    def user(email, **more):
        return {
            "_id": {"$oid": os.urandom(12).hex()},
            "email_verified": True,
            "email": email,
            **more,
            "tenant": "example",
            "connection": "Username-Password-Authentication",
            "_tmp_is_unique": True,
        }

    def custom(email, algorithm, value, **more):
        return user(email, custom_password_hash={"algorithm": algorithm, "hash": {"value": value, **more.pop("hash", {})}, **more})

    salt = os.urandom(16)
    pbkdf2 = f"$pbkdf2-sha512$i=1000,l=64${unpadded(salt)}${unpadded(hashlib.pbkdf2_hmac('sha512', b'1234', salt, 1000, 64))}"
    scrypt = hashlib.scrypt(b"1234", salt=salt, n=1024, r=8, p=1, dklen=64)
    without = user("identifiers@example.com", passwordHash=CHEAP["bcrypt 2b"]("1234"))
    without["identifiers"] = [{"type": "email", "value": without.pop("email"), "verified": True}]
    users = [
        user("bcrypt@example.com", passwordHash=CHEAP["bcrypt 2b"]("1234")),
        without,
        custom("custom-argon2@example.com", "argon2", argon2.PasswordHasher(1, 64, 1).hash("1234")),
        custom("custom-bcrypt@example.com", "bcrypt", CHEAP["bcrypt 2a"]("1234")),
        custom("custom-pbkdf2@example.com", "pbkdf2", pbkdf2, hash={"encoding": "utf8"}),
        custom(
            "custom-scrypt@example.com",
            "scrypt",
            scrypt.hex(),
            hash={"encoding": "hex"},
            salt={"value": b64(salt), "encoding": "base64"},
            keylen=64,
            cost=1024,
            blockSize=8,
            parallelization=1,
        ),
        user("passwordless@example.com"),
    ]
    write("auth0.ndjson", "".join(json.dumps(user, separators=(",", ":")) + "\n" for user in users))


def write(name, text):
    (HERE / name).write_text(text, encoding="utf-8")


configure_hashers()
write_hashes()
write_django()
write_keycloak()
write_firebase()
write_auth0()
