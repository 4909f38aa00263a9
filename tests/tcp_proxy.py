"""A line to a server that a test can cut: what a broken network looks like to both ends."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends RST, as a dead peer's kernel would."""


class Proxy:
    """Passes bytes between its own port on loopback and a server's port or socket, both ways."""

    def __init__(self, server: int | str) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lines: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    def cut(self) -> None:
        """Break every line that is open now; new ones are served."""
        lines, self._lines = self._lines, []
        for ends in lines:
            for end in ends:
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def close(self) -> None:
        """Serve nobody any more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                self._serve(client)

    def _connected(self) -> socket.socket:
        if isinstance(self._server, int):
            return socket.create_connection(("127.0.0.1", self._server))
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._server)
        return server

    def _serve(self, client: socket.socket) -> None:
        try:
            server = self._connected()
        except OSError:
            client.close()
            return
        self._lines.append((client, server))
        for ends in ((client, server), (server, client)):
            threading.Thread(target=_pump, args=ends, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def proxy(server: int | str) -> Iterator[Proxy]:
    """A proxy for the length of the block, to a port on loopback or the path of a socket."""
    made = Proxy(server)
    try:
        yield made
    finally:
        made.close()
