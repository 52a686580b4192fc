"""What serves the nodes' Debian packages in the tests: a proxy and a mirror in one."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = 1 << 20  # bytes


class PackageServer(ThreadingHTTPServer):
    """Fetches what is asked for: whole URLs as a proxy does, paths below ``upstream``."""

    daemon_threads = True

    def __init__(self, address: str, upstream: str) -> None:
        super().__init__((address, 0), _Handler)
        self.upstream = upstream.rstrip("/")
        self.proxied: list[str] = []
        self.mirrored: list[str] = []

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"


class _Handler(BaseHTTPRequestHandler):
    server: PackageServer

    def do_GET(self) -> None:
        if self.path.startswith("http://"):
            self.server.proxied.append(self.path)
            source = self.path
        else:
            self.server.mirrored.append(self.path)
            source = self.server.upstream + self.path
        try:
            with urllib.request.urlopen(source, timeout=60) as answer:  # noqa: S310  http only
                self.send_response(answer.status)
                for name in ("Content-Length", "Content-Type", "Last-Modified"):
                    if value := answer.headers.get(name):
                        self.send_header(name, value)
                self.end_headers()
                while data := answer.read(CHUNK):
                    self.wfile.write(data)
        except urllib.error.HTTPError as exc:
            self.send_error(exc.code)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the lists are the record."""


@contextmanager
def package_server(address: str, upstream: str) -> Iterator[PackageServer]:
    """Serve on a free port of ``address`` until the end of the block.

    Args:
        address: of the control machine, as the nodes reach it.
        upstream: the mirror that answers paths.
    """
    server = PackageServer(address, upstream)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
