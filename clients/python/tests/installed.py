"""Uses the installed package in an environment that has nothing else: run by the test command, not by pytest."""

import importlib.metadata
import importlib.resources
import os
import time

from adieu import Blocklist, StaleError

NOW = int(time.time())
PAYLOAD = {"jti": "a", "sub": "jose", "iat": NOW, "exp": NOW + 900}

with Blocklist.in_memory() as blocklist:
    blocklist.revoke(PAYLOAD)
    assert blocklist.is_revoked(PAYLOAD)
    assert not blocklist.is_revoked({**PAYLOAD, "jti": "b"})

for pure, backend in (("1", "pure"), ("0", "core")):
    os.environ["ADIEU_PURE"] = pure
    with Blocklist("http://127.0.0.1:1", "shop", "secret", start_timeout=0) as blocklist:
        assert blocklist.backend == backend
        try:
            blocklist.is_revoked(PAYLOAD)
        except StaleError:
            continue
        raise AssertionError("it was accepted before anything was known")

for name in ("adieu", "adieu-core"):
    files = {str(path) for path in importlib.metadata.files(name) or ()}
    for wanted in ("LICENSE-MIT", "LICENSE-APACHE", "py.typed"):
        assert any(path.endswith(wanted) for path in files), (name, wanted)
    links = importlib.metadata.metadata(name).get_all("Project-URL") or []
    assert any(link.startswith("Changelog") for link in links), name
