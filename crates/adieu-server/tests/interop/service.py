"""A service that verifies tokens with the Python client.

Reads its settings, those of `Verifier`, as one line of JSON. Says where it listens, and goes on until it is killed.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from adieu import StaleError, TokenError, Verifier

verifier = Verifier(**json.loads(sys.stdin.readline()))
verifier.wait_ready(30)


class Service(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            verifier.verify(self.headers["authorization"].removeprefix("Bearer "))
            status = 204
        except TokenError:
            status = 401
        except StaleError:
            status = 503
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
