"""A service in Flask that returns what WSGI makes of the headers with an identity.

`python service.py [PORT]` prints its port.
"""

import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

from flask import Flask, request

app = Flask(__name__)


@app.route("/<path:path>", methods=["GET", "POST", "OPTIONS"])
def identity(**_: str) -> dict[str, str]:
    """Return the headers with an identity, as WSGI names them."""
    return {name[5:]: value for name, value in request.environ.items() if name.startswith("HTTP_") and "ADIEU" in name}


class Quiet(WSGIRequestHandler):
    """Logs no request."""

    def log_message(self, *_: object) -> None:
        """Do nothing."""


server = make_server("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 0, app, handler_class=Quiet)
print(server.server_port, flush=True)
server.serve_forever()
