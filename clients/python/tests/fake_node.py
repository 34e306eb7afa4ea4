"""A node that gives the same page in every response, good or bad."""

import contextlib
import http.server
import threading
from collections.abc import Iterable, Iterator

from conftest import TEST_TIMEOUT

PAGE = {
    "cursor": "log.1",
    "complete": True,
    "from_start": True,
    "age_ms": 0,
    "pruned_through": 0,
    "issuer": "adieu",
    "max_staleness_ms": 600_000,
}
"""The members of a page beside its entries."""


@contextlib.contextmanager
def a_node_that_answers(
    content: bytes,
    *,
    holds: bool = False,
    after: float = 0,
    agents: list[str] | None = None,
    targets: list[str] | None = None,
    cache_control: str | None = None,
    statuses: Iterable[int] = (),
) -> Iterator[str]:
    """Yields its URL. With `holds`, it holds the requests after the first, as a node does that has no news.

    It takes `after` seconds to answer. Adds the `User-Agent` of each request to `agents`, and its target to `targets`.
    The first answers have these `statuses`, and all later ones 200. They have a `Cache-Control` if it is given.
    """
    closing = threading.Event()
    status = iter(statuses)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if agents is not None:
                agents.append(self.headers["User-Agent"])
            if targets is not None:
                targets.append(self.path)
            closing.wait(after)
            if holds and "after=" in self.path:
                closing.wait(TEST_TIMEOUT)
            self.send_response(next(status, 200))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if cache_control is not None:
                self.send_header("Cache-Control", cache_control)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    # So that no connection outlives the node.
    server.daemon_threads = False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
