"""HTTP over a Unix socket."""

import http.client
import socket

_PATIENCE = 60.0


class UnixConnection(http.client.HTTPConnection):
    """A connection to that server."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(self._path)
