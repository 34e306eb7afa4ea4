"""Measures the compiled core beside the implementation in Python, and beside PyJWT with a lookup, in one run.

    python benches/side_by_side.py [ENTRIES]

A real node (`ADIEU_BIN`, or cargo's debug build) serves the entries to both, half of them sessions, each in the form in
which the implementation reads them. Each implementation runs in a process of its own, in turns. The times are of the
processor, in the fastest of several rounds; a figure is the median of the turns.
"""

import base64
import gc
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from adieu_server import Credentials, Server, running

A_BATCH = 500
A_ROUND = 1_000
ROUNDS = 40
TURNS = 5
NOW = int(time.time())
KEY = "k" * 64


def fill(server: Server, client: Credentials, count: int) -> None:
    """Revokes tokens, which expire within an hour, and as many sessions."""
    draw = random.Random(1)
    basic = base64.b64encode(f"{client.name}:{client.secret}".encode()).decode()
    for start in range(0, count, A_BATCH):
        batch = [entry(draw, number) for number in range(start, min(start + A_BATCH, count))]
        status, answer = server.ask("POST", "/revocations", {"revocations": batch}, basic=basic)
        assert status == 200, answer


def entry(draw: random.Random, number: int) -> dict[str, Any]:
    """Returns the revocation of a token or of a session."""
    name = str(uuid.UUID(int=draw.getrandbits(128), version=4))
    return {"session": name} if number % 2 else {"token_id": name, "expires_at": NOW + 600 + draw.randrange(3600)}


def nanoseconds(work: Callable[[list[Any]], object], inputs: list[Any]) -> float:
    """Returns the time of one call, in the fastest round."""
    best = float("inf")
    for _ in range(ROUNDS):
        random.shuffle(inputs)
        some = inputs[:A_ROUND]
        begin = time.thread_time_ns()
        work(some)
        best = min(best, time.thread_time_ns() - begin)
    return best / A_ROUND


def resident() -> int:
    """Returns the resident bytes of this process."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def measure(url: str, name: str, secret: str, count: int) -> None:
    """Measures the implementation that the environment chooses, and prints the results as JSON."""
    from adieu import Blocklist, Verifier

    gc.collect()
    before, cpu = resident(), time.process_time()
    blocklist = Blocklist(url, name, secret)
    blocklist.wait_ready(600)
    cpu = time.process_time() - cpu
    gc.collect()
    results = {"bytes an entry": (resident() - before) / count, "ms of CPU until ready": cpu * 1000}

    payload = {"iss": "adieu", "sub": "jose", "sid": "s", "iat": NOW, "exp": NOW + 900, "type": "access"}
    absent = [{**payload, "jti": str(uuid.uuid4()), "sid": str(uuid.uuid4())} for _ in range(10 * A_ROUND)]
    results["ns: is_revoked"] = nanoseconds(lambda some: [blocklist.is_revoked(each) for each in some], absent)
    ids = [each["jti"] for each in absent]
    results["ns: jti in"] = nanoseconds(lambda some: [jti in blocklist for jti in some], ids)
    # The least that a look-up can take: a call in C that reads the same values.
    claims = itemgetter("iss", "jti", "sid", "sub", "iat", "exp")
    results["ns: only read the claims"] = nanoseconds(lambda some: [claims(each) for each in some], absent)
    nothing: frozenset[str] = frozenset()
    results["ns: only jti in an empty set"] = nanoseconds(lambda some: [jti in nothing for jti in some], ids)

    pair = Ed25519PrivateKey.generate()
    public = pair.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    private = pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for algorithm, signing, key in (("HS256", KEY, KEY), ("EdDSA", private, public)):
        headers = {"typ": "at+jwt"}
        tokens = [jwt.encode(each, signing, algorithm, headers=headers) for each in absent[: 2 * A_ROUND]]
        if blocklist.backend == "core":
            verifier = Verifier(blocklist=blocklist, issuer="adieu", key=key, algorithm=algorithm)
            verify = nanoseconds(lambda some, check=verifier.verify: [check(token) for token in some], tokens)  # type: ignore[misc]
            results[f"ns: verify {algorithm}, and read the claims"] = nanoseconds(
                lambda some, check=verifier.verify: [check(token)["sub"] for token in some],  # type: ignore[misc]
                tokens,
            )
        else:
            loaded: Any = public_key(public) if algorithm == "EdDSA" else key

            def by_hand(some: list[str], loaded: Any = loaded, algorithm: str = algorithm) -> None:
                for token in some:
                    claims = jwt.decode(token, loaded, algorithms=[algorithm], issuer="adieu")
                    assert not blocklist.is_revoked(claims)

            verify = nanoseconds(by_hand, tokens)
            results[f"ns: verify {algorithm}, and read the claims"] = verify
        results[f"ns: verify {algorithm}"] = verify
    print(json.dumps(results))
    blocklist.close()


def public_key(pem: str) -> Any:
    """Returns the key as PyJWT uses it, so that it is not parsed for each token."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    return load_pem_public_key(pem.encode())


def main() -> None:
    """Prints the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    quota = {"ADIEU_CLIENT_REVOCATION_QUOTA": f"{2 * count} per 1h"}
    with tempfile.TemporaryDirectory() as data, running(Path(data), **quota) as server:
        client = server.add_client("bench")
        fill(server, client, count)
        turns: dict[str, list[dict[str, float]]] = {"pure": [], "core": []}
        for _ in range(TURNS):
            for backend, results in turns.items():
                done = subprocess.run(
                    [sys.executable, __file__, "measure", server.url, client.name, client.secret, str(count)],
                    env={**os.environ, "ADIEU_PURE": "1" if backend == "pure" else "0"},
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                results.append(json.loads(done.stdout))
    print(f"{count:,} entries, Python {sys.version.split()[0]}; verify in the column `pure` is PyJWT and is_revoked")
    print(f"{'':40}{'pure':>10}{'core':>10}{'ratio':>8}")
    for name in turns["pure"][0]:
        pure, core = (statistics.median(turn[name] for turn in results) for results in turns.values())
        print(f"{name:40}{pure:10.1f}{core:10.1f}   1/{pure / core:.1f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
    else:
        main()
