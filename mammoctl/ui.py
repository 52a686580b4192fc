"""The pages of a cluster on this machine: tunnels, with the links between the pages kept."""

from __future__ import annotations

import http.client
import http.server
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from mammoctl import role_settings
from mammoctl.errors import MammoctlError
from mammoctl.status.master import hdfs_page

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.ssh import Nodes

_CHUNK = 1 << 16
_WAIT_S = 30.0
# Of one connection only, or decided here (RFC 9110, section 7.6.1).
_NOT_PASSED = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade", "content-length", "accept-encoding", "host",
}  # fmt: skip


@dataclass(frozen=True)
class Page:
    """A page: on which node, at which address and port there."""

    title: str
    node: str
    address: str
    port: int


def pages(nodes: Nodes, record: ClusterFile) -> list[Page]:
    """Return the pages of the services that a cluster has, the Spark master's first."""
    variables = nodes.cluster.vars
    host, address = record.master.host, record.master.address
    found = [Page("Spark master", host, address, record.master.ui_port)]
    if record.master.history_port:
        found.append(Page("Spark history", host, address, record.master.history_port))
    hdfs = record.storage.kind == "hdfs"
    if hdfs:
        port = urlsplit(hdfs_page(nodes, record)).port or 80
        found.append(Page("HDFS NameNode", host, address, port))
    for name, worker in record.workers.items():
        port = role_settings.number(variables, "spark_worker_ui_port")
        found.append(Page("Spark worker", name, worker.address or name, port))
    if hdfs:
        for name, worker in record.workers.items():
            port = role_settings.number(variables, "hdfs_datanode_http_port")
            found.append(Page("HDFS DataNode", name, worker.address or name, port))
    return found


def applications(nodes: Nodes, record: ClusterFile, running: int) -> list[Page]:
    """Return the pages of running applications: each takes the next free port of the master.

    Args:
        nodes: the way to the master.
        record: the cluster.
        running: how many the Spark master knows.
    """
    first = role_settings.number(nodes.cluster.vars, "spark_ui_port")
    tries = role_settings.number(nodes.cluster.vars, "spark_port_retries")
    host, address = record.master.host, record.master.address
    found: list[Page] = []
    for port in range(first, first + tries + 1):
        if len(found) >= running:
            break
        with suppress(MammoctlError, LookupError, TypeError):
            url = f"http://{address}:{port}/api/v1/applications"
            name = nodes.http_json(host, url, timeout=5)[0]["name"]
            found.append(Page(f"application {name}", host, address, port))
    return found


def state(url: str, seconds: float = 5) -> str:
    """Return whether a page is there: ``ok``, ``none`` (nothing of that kind), or ``silent``.

    HDFS from its single jar answers without having pages: those are not in the jar.
    """
    try:
        with urllib.request.urlopen(url, timeout=seconds):  # noqa: S310  our own listener
            return "ok"
    except urllib.error.HTTPError as exc:
        return "none" if exc.code == 404 else "silent"
    except (OSError, http.client.HTTPException):
        return "silent"


class Local:
    """Listeners on loopback, one per page; a link from page to page makes the next one.

    Use it as a context manager; leaving it closes all of them.
    """

    def __init__(self, nodes: Nodes, record: ClusterFile) -> None:
        self._nodes = nodes
        self._homes = {record.master.host: record.master.host}
        self._homes[record.master.address] = record.master.host
        for name, worker in record.workers.items():
            self._homes |= {name: name, worker.address: name}
        self._homes.pop("", None)
        self._addresses = {home: address for address, home in self._homes.items()}
        names = "|".join(re.escape(name) for name in sorted(self._homes, key=len, reverse=True))
        self._link = re.compile(rf"(?:https?://|(?<![:\w/])//)({names}):(\d+)(?![\w.-])".encode())
        self._urls: dict[tuple[str, int], str] = {}
        self._lock = threading.RLock()
        self._stack = ExitStack()

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def url(self, node: str, port: int) -> str:
        """Return the address on this machine that leads to a port of a node."""
        with self._lock:
            if (node, port) not in self._urls:
                address = self._addresses.get(node, node)
                local = self._stack.enter_context(self._nodes.tunnel(node, address, port))
                server = self._stack.enter_context(_listening(port))
                server.upstream, server.local = local, self
                server.remote = f"{address}:{port}"
                self._urls[node, port] = f"http://127.0.0.1:{server.server_address[1]}"
            return self._urls[node, port]

    def rewrite(self, text: bytes) -> bytes:
        """Return a page, or a header's value, with links to nodes that work here."""
        return self._link.sub(self._linked, text)

    def _linked(self, match: re.Match[bytes]) -> bytes:
        port = int(match[2])
        if not 0 < port < 65536:
            return match[0]
        return self.url(self._homes[match[1].decode()], port).encode()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    upstream: tuple[str, int]
    local: Local
    remote: str


@contextmanager
def _listening(wanted: int) -> Iterator[_Server]:
    """Listen on loopback: at the same port as on the node where that is free, so that it stays."""
    try:
        server = _Server(("127.0.0.1", wanted if wanted >= 1024 else 0), _Handler)
    except OSError:
        server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Passes a request on; changes nothing but links."""

    protocol_version = "HTTP/1.1"
    server: _Server
    own: ClassVar[frozenset[str]] = frozenset({"127.0.0.1", "localhost"})

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal is the user's."""

    def do_GET(self) -> None:
        """Pass the request on."""
        # A page elsewhere must not reach the cluster by a name of its own for this address.
        if (self.headers.get("Host") or "").partition(":")[0] not in self.own:
            self._say(403, "this address serves 127.0.0.1 only")
            return
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _NOT_PASSED}
        request = http.client.HTTPConnection(*self.server.upstream, timeout=_WAIT_S)
        try:
            headers |= {"Host": self.server.remote, "Connection": "close"}
            request.request(self.command, self.path, body, headers)
            self._answer(request.getresponse())
        except (OSError, http.client.HTTPException):
            self._say(502, f"nothing answers at {self.server.remote}: mammoctl status tells more")
        finally:
            request.close()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def _answer(self, response: http.client.HTTPResponse) -> None:
        kind = response.getheader("Content-Type", "")
        page = kind.startswith("text/html") and self.command != "HEAD"
        body = self.server.local.rewrite(response.read()) if page else b""
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() == "location":
                value = self.server.local.rewrite(value.encode()).decode()  # noqa: PLW2901
            if name.lower() not in _NOT_PASSED:
                self.send_header(name, value)
        length = str(len(body)) if page else response.getheader("Content-Length")
        if length is not None:
            self.send_header("Content-Length", length)
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if page:
            self.wfile.write(body)
        else:
            while piece := response.read(_CHUNK):
                self.wfile.write(piece)

    def _say(self, status: int, text: str) -> None:
        body = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        self.wfile.write(body)
