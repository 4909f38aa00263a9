"""A proxy in front of the engine's socket that lets through what docs/docker.md lists."""

from __future__ import annotations

import http.client
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.command import ROOT

SOCKET = "/var/run/docker.sock"
ROW = re.compile(r"^\| (GET|POST) \| `(/[^`]+)` \|", re.MULTILINE)


def listed() -> list[tuple[str, str]]:
    """Method and path of each row in the table of what is asked of the engine."""
    rows = ROW.findall((ROOT / "docs" / "docker.md").read_text(encoding="utf-8"))
    assert len(rows) == 6
    return rows


def pattern(path: str) -> re.Pattern[str]:
    """What a path of the table matches, with a version of the API before it or without."""
    return re.compile(r"(/v1\.\d+)?" + path.replace("{id}", "[a-zA-Z0-9_.-]+"))


class _Engine(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)


@contextmanager
def filter_proxy(allowed: list[tuple[str, str]]) -> Iterator[str]:
    """The DOCKER_HOST of a proxy that answers 403 to everything which is not allowed."""

    class Handler(BaseHTTPRequestHandler):
        def _pass(self) -> None:
            path = self.path.partition("?")[0]
            if not any(m == self.command and pattern(p).fullmatch(path) for m, p in allowed):
                self.send_error(403)
                return
            engine = _Engine("engine")
            engine.request(self.command, self.path, headers={"Host": "engine"})
            answer = engine.getresponse()
            body = answer.read()
            engine.close()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _pass  # noqa: N815 (the names that http.server looks for)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"tcp://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
