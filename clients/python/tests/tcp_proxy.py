"""Simulates a bad network: a TCP proxy that can be cut and delayed."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

_PATIENCE = 60.0


class Proxy:
    """Forwards bytes between the clients of `port` and another port of this machine, which may change."""

    def __init__(self, upstream: Callable[[], int]) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._changed = threading.Condition()
        self._is_cut = False
        self._holds_answers = False
        self._held = 0
        self._asked = 0
        self._released = 0
        self._sockets: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Closes every connection, and accepts no more."""
        with self._changed:
            self._is_cut = True
            sockets, self._sockets = self._sockets, set()
            self._changed.notify_all()
        for each in sockets:
            _end(each)

    def mend(self) -> None:
        """Restores normal operation."""
        with self._changed:
            self._is_cut = self._holds_answers = False
            self._changed.notify_all()

    def hold_answers(self) -> None:
        """From now on, forwards requests and holds responses."""
        with self._changed:
            self._holds_answers = True
            self._held = self._asked = self._released = 0

    def wait_for_held_answer(self) -> None:
        """Waits until a response is held."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._held > self._released, _PATIENCE)

    def release_held_answer(self) -> None:
        """Forwards the responses that are held now, and keeps holding later ones."""
        with self._changed:
            self._released = self._held
            self._asked = 0
            self._changed.notify_all()

    def wait_for_question(self) -> None:
        """Waits for a request since responses are held, or since they were released."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._asked > 0, _PATIENCE)

    def close(self) -> None:
        _end(self._listener)
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._upstream()))
            except OSError:
                client.close()
                continue
            with self._changed:
                if self._is_cut:
                    client.close()
                    server.close()
                    continue
                self._sockets |= {client, server}
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=(source, sink, answers), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with self._changed:
                    if answers and self._holds_answers:
                        self._held += 1
                        mine = self._held
                        self._changed.notify_all()
                        self._changed.wait_for(
                            lambda mine=mine: self._is_cut or not self._holds_answers or self._released >= mine  # type: ignore[misc]
                        )
                    elif not answers:
                        self._asked += 1
                        self._changed.notify_all()
                    if self._is_cut:
                        break
                sink.sendall(data)
        with self._changed:
            self._sockets -= {source, sink}
        _end(source)
        _end(sink)


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


@contextlib.contextmanager
def proxy_to(upstream: Callable[[], int]) -> Iterator[Proxy]:
    """A proxy that runs until the end of the context."""
    proxy = Proxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
