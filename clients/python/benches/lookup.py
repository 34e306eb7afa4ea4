"""Measures the cost of a lookup, compared with a plain set.

    python benches/lookup.py [IDS]

Prints nanoseconds a look-up, the best of many short rounds, of ids that are in it and of ids that are not (which nearly
all are). A server is started for it: ADIEU_BIN, or where cargo puts it.
"""

import random
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from adieu_server import running

from adieu import Blocklist
from adieu.index import Index

LOOK_UPS = 100_000
A_ROUND = 1_000


def nanoseconds(look_up: Callable[[Sequence[str]], int], asked: Sequence[str]) -> float:
    """Returns the time of the fastest round; other load disturbed the others. Each round looks up other ids."""
    best = float("inf")
    for start in range(0, len(asked), A_ROUND):
        a_round = asked[start : start + A_ROUND]
        begin = time.perf_counter_ns()
        look_up(a_round)
        best = min(best, time.perf_counter_ns() - begin)
    return best / A_ROUND


def main() -> None:
    """Prints the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    known = [str(uuid.uuid4()) for _ in range(count)]
    # New strings, as in a decoded token: Python has not cached their hash yet.
    hits = [str(uuid.UUID(random.choice(known))) for _ in range(LOOK_UPS)]
    misses = [str(uuid.uuid4()) for _ in range(LOOK_UPS)]
    now = int(time.time())

    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "adieu") as server:
        client = server.add_client("bench")
        with Blocklist(server.url, client.name, client.secret) as blocklist:
            blocklist.wait_ready(60)
            assert isinstance(blocklist._index, Index), "run it with ADIEU_PURE=1"
            with blocklist._index.lock:
                blocklist._index.extend(
                    {"issuer": "adieu", "kind": "token", "id": jti, "lapses_at": now + 1020} for jti in known
                )
            plain = set(known)
            # The follower's thread could not run in the meantime.
            while not blocklist.is_fresh:
                time.sleep(0.01)

            def in_set(asked: Sequence[str]) -> int:
                return sum(1 for jti in asked if jti in plain)

            def in_blocklist(asked: Sequence[str]) -> int:
                return sum(1 for jti in asked if jti in blocklist)

            def revoked(asked: Sequence[str]) -> int:
                payload = {"iss": "adieu", "sub": "jose", "sid": "s", "iat": now, "exp": now + 900, "type": "access"}
                return sum(1 for jti in asked if blocklist.is_revoked({**payload, "jti": jti}))

            assert (in_blocklist(hits), in_blocklist(misses)) == (len(hits), 0)
            print(f"{count:,} ids, Python {sys.version.split()[0]}; ns a look-up, with the loop around it")
            print(f"{'':32}{'absent':>8}{'present':>9}")
            for name, look_up in (
                ("jti in set", in_set),
                ("jti in Blocklist", in_blocklist),
                ("Blocklist.is_revoked(payload)", revoked),
            ):
                print(f"{name:32}{nanoseconds(look_up, misses):8.0f}{nanoseconds(look_up, hits):9.0f}")


if __name__ == "__main__":
    main()
