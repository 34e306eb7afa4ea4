"""Under gevent and eventlet, handlers that take long do not delay the follower of the compiled core."""

import os
import subprocess
import sys

import pytest
from adieu_server import Credentials, Server
from conftest import TEST_TIMEOUT

CHECKS = 20
SERVICE = f"""
import logging, sys, time, uuid
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
from adieu import Blocklist, StaleError

blocklist = Blocklist(*sys.argv[1:4], max_staleness=1)
blocklist.wait_ready(60)

def handle():
    # Never yields for as long as a slow handler takes.
    until = time.monotonic() + 0.15
    while time.monotonic() < until:
        pass
    try:
        return uuid.uuid4().hex not in blocklist
    except StaleError:
        return False

print("accepted", sum(in_parallel(handle, {CHECKS})))
revoked = uuid.uuid4().hex
blocklist.add(revoked)
print("revoked", revoked in blocklist)
blocklist.close()
"""
LOOPS = {
    "gevent": """
from gevent import monkey
monkey.patch_all()
from gevent.pool import Pool

def in_parallel(work, count):
    return Pool(20).map(lambda _: work(), range(count))
""",
    "eventlet": """
import eventlet
eventlet.monkey_patch()

def in_parallel(work, count):
    return list(eventlet.GreenPool(20).imap(lambda _: work(), range(count)))
""",
}


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_that_is_busy_refuses_nothing(
    shared_server: Server, shared_client: Credentials, backend: str, loop: str
) -> None:
    place = (shared_server.url, shared_client.name, shared_client.secret)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOOPS[loop] + SERVICE, *place],
        env={**os.environ, "ADIEU_PURE": "1" if backend == "pure" else "0"},
        capture_output=True,
        text=True,
        timeout=TEST_TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "revoked True" in lines, done.stdout
    if backend == "core":
        assert "revocations are looked up by the compiled core" in lines
        assert f"accepted {CHECKS}" in lines, done.stdout
    else:
        # Its follower shares the loop, so that it may be stale; the log tells which it is.
        assert "revocations are looked up in Python: ADIEU_PURE is set" in lines
