"""Measures the compiled core beside the implementation in Python, and beside PyJWT with a lookup, in one run.

    python benches/side_by_side.py [ENTRIES]

A node in another process serves the entries as JSON to both; half of them are sessions. Each implementation runs in a
process of its own, in turns. The times are of the processor, in the fastest of several rounds; a figure is the median
of the turns.
"""

import contextlib
import gc
import http.server
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

A_PAGE = 16_384
A_ROUND = 1_000
ROUNDS = 40
TURNS = 5
NOW = int(time.time())
KEY = "k" * 64


def serve(count: int) -> None:
    """Serves the entries until standard input ends."""
    draw = random.Random(1)
    pages = []
    for start in range(0, count, A_PAGE):
        entries = [entry(draw, number) for number in range(start, min(start + A_PAGE, count))]
        page = {"age_ms": 0, "pruned_through": 0, "issuer": "adieu", "max_staleness_ms": 600_000, "entries": entries}
        last = start + A_PAGE >= count
        cursor = f"log.{start + len(entries)}"
        pages.append(json.dumps({"cursor": cursor, "complete": last, "from_start": start == 0, **page}).encode())
    empty = {"age_ms": 0, "pruned_through": 0, "issuer": "adieu", "max_staleness_ms": 600_000, "entries": []}
    idle = json.dumps({"cursor": f"log.{count}", "complete": True, "from_start": False, **empty}).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            after = int(self.path.partition("after=log.")[2].partition("&")[0] or 0)
            if after >= count:
                time.sleep(1)
            content = idle if after >= count else pages[after // A_PAGE]
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()


def entry(draw: random.Random, number: int) -> dict[str, Any]:
    """Returns an entry; the tokens expire within an hour."""
    name, expires_at = str(uuid.UUID(int=draw.getrandbits(128), version=4)), NOW + 600 + draw.randrange(3600)
    if number % 2:
        return {"issuer": "adieu", "kind": "session", "id": name, "lapses_at": expires_at + 120}
    return {"issuer": "adieu", "kind": "token", "id": name, "expires_at": expires_at, "lapses_at": expires_at + 120}


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


def measure(url: str, count: int) -> None:
    """Measures the implementation that the environment chooses, and prints the results as JSON."""
    from adieu import Blocklist, Verifier

    options: dict[str, Any] = {"max_staleness": 600}
    gc.collect()
    before, cpu = resident(), time.process_time()
    blocklist = Blocklist(url, "bench", "secret", **options)
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
    command = [sys.executable, __file__]
    with subprocess.Popen(
        [*command, "serve", str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as node:
        assert node.stdin is not None
        assert node.stdout is not None
        url = node.stdout.readline().strip()
        turns: dict[str, list[dict[str, float]]] = {"pure": [], "core": []}
        for _ in range(TURNS):
            for backend, results in turns.items():
                done = subprocess.run(
                    [*command, "measure", url, str(count)],
                    env={**os.environ, "ADIEU_PURE": "1" if backend == "pure" else "0"},
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                results.append(json.loads(done.stdout))
        node.stdin.close()
    print(f"{count:,} entries, Python {sys.version.split()[0]}; verify in the column `pure` is PyJWT and is_revoked")
    print(f"{'':40}{'pure':>10}{'core':>10}{'ratio':>8}")
    for name in turns["pure"][0]:
        pure, core = (statistics.median(turn[name] for turn in results) for results in turns.values())
        print(f"{name:40}{pure:10.1f}{core:10.1f}   1/{pure / core:.1f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]))
    elif sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2], int(sys.argv[3]))
    else:
        main()
