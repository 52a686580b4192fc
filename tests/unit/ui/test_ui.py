"""Pages through tunnels: links, headers, what is refused, and that all ends."""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from mammoctl import cluster as clusters
from mammoctl import ui
from mammoctl.cli import app
from mammoctl.errors import RemoteError
from mammoctl.inventory import Cluster, Host

pytestmark = pytest.mark.programs

RECORD = clusters.parse(
    json.dumps(
        {
            "schema": 1,
            "cluster": "ward",
            "master": {
                "host": "n1", "address": "10.0.0.1", "url": "spark://n1:7077", "ui_port": 8080,
                "history_port": 18080,
            },
            "workers": {
                "n1": {"address": "10.0.0.1", "cores": 1, "memory_mb": 1},
                "n11": {"address": "10.0.0.11", "cores": 1, "memory_mb": 1},
            },
            "storage": {"kind": "hdfs", "uri": "hdfs://n1:8020/mammoctl"},
            "paths": dict.fromkeys(["data", "features", "weights", "results", "events"], "x"),
            "python": "x", "python_version": "3.11", "spark_home": "x", "spark_version": "4.3.0",
            "java_home": "x", "executor": {"cores": 1, "memory_mb": 1}, "bundle": "b",
        }
    )
)  # fmt: skip

PAGE = (
    b'<a href="http://n11:8081/x">w</a> <a href="//10.0.0.11:9864">d</a> '
    b'<a href="http://elsewhere:80/">e</a> http://n11.example.org:8081 <a href="/json/">j</a>'
    b"spark://n1:7077 hdfs://n1:8020/mammoctl"
)


class Upstream(http.server.BaseHTTPRequestHandler):
    seen: list[tuple[str, dict[str, str], bytes]]

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append((self.path, dict(self.headers), body))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "http://n11:8081/there")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path == "/missing":
            self.send_error(404)
            return
        plain = self.path == "/log"
        data = b"http://n11:8081 " * 50_000 if plain else PAGE
        self.send_response(200)
        self.send_header("Content-Type", "text/plain" if plain else "text/html;charset=utf-8")
        if not plain:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_args):
        pass


@pytest.fixture
def upstream():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.seen = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class FakeNodes:
    """Every tunnel leads to the one server; what was opened and closed is taken down."""

    def __init__(self, port):
        host = Host("n1", "10.0.0.1")
        self.cluster = Cluster("ward", None, None, {"n1": host}, host, [host], {})
        self.target = ("127.0.0.1", port)
        self.opened, self.closed = [], []

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        pass

    @contextmanager
    def tunnel(self, node, address, port):
        self.opened.append((node, address, port))
        yield self.target
        self.closed.append((node, address, port))

    def http_json(self, host, url, *, timeout):
        if ":4041/" in url:
            return [{"name": "train"}]
        raise RemoteError("nothing answers")


@pytest.fixture
def local(upstream):
    nodes = FakeNodes(upstream.server_address[1])
    with ui.Local(nodes, RECORD) as running:
        running.nodes = nodes
        yield running


def ask(url, path="/", method="GET", body=None, **headers):
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer, answer.read()


def test_links_to_nodes_lead_to_this_machine(local):
    answer, body = ask(local.url("n1", 8080))
    worker, datanode = local.url("n11", 8081), local.url("n11", 9864)
    assert f'<a href="{worker}/x">' in body.decode()
    assert f'<a href="{datanode}">' in body.decode()
    assert b"http://elsewhere:80/" in body
    assert b"http://n11.example.org:8081" in body
    assert b"spark://n1:7077 hdfs://n1:8020/mammoctl" in body  # addresses, but no pages
    assert int(answer.getheader("Content-Length")) == len(body)
    assert len(answer.headers.get_all("Date")) == 1
    assert local.nodes.opened == [
        ("n1", "10.0.0.1", 8080), ("n11", "10.0.0.11", 8081), ("n11", "10.0.0.11", 9864),
    ]  # fmt: skip


def test_a_redirection_stays_here(local):
    answer, _body = ask(local.url("n1", 8080), "/moved")
    assert answer.status == 302
    assert answer.getheader("Location") == local.url("n11", 8081) + "/there"


def test_what_is_no_page_is_passed_as_it_is(local):
    answer, body = ask(local.url("n1", 8080), "/log")
    assert body == b"http://n11:8081 " * 50_000
    assert answer.getheader("Content-Type") == "text/plain"


def test_requests_are_passed_on(local, upstream):
    ask(
        local.url("n1", 8080),
        "/a?b=c",
        "POST",
        b"data",
        Cookie="k=v",
        **{"Accept-Encoding": "gzip"},
    )
    path, headers, body = upstream.seen[-1]
    assert (path, body) == ("/a?b=c", b"data")
    assert headers["Host"] == "10.0.0.1:8080"
    assert headers["Cookie"] == "k=v"
    assert "gzip" not in headers.get("Accept-Encoding", "")


def test_another_name_for_this_machine_is_refused(local, upstream):
    answer, _body = ask(local.url("n1", 8080), Host="evil.example.org")
    assert answer.status == 403
    assert upstream.seen == []


def test_a_page_that_does_not_answer(upstream):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    with ui.Local(FakeNodes(free), RECORD) as local:
        answer, body = ask(local.url("n1", 8080))
    assert answer.status == 502
    assert b"nothing answers at 10.0.0.1:8080" in body


def test_the_port_is_that_of_the_node_where_it_is_free(upstream):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        with ui.Local(FakeNodes(upstream.server_address[1]), RECORD) as local:
            assert not local.url("n1", taken).endswith(f":{taken}")
    with ui.Local(FakeNodes(upstream.server_address[1]), RECORD) as local:
        assert local.url("n1", taken).endswith(f":{taken}")


def test_nothing_stays_open(upstream):
    nodes = FakeNodes(upstream.server_address[1])
    with ui.Local(nodes, RECORD) as local:
        url = local.url("n1", 8080)
        ask(url)
    assert sorted(nodes.closed) == sorted(nodes.opened)
    with pytest.raises(OSError, match="refused"):
        ask(url)


def test_what_a_page_is_worth(local, upstream):
    assert ui.state(local.url("n1", 8080)) == "ok"
    assert ui.state(local.url("n1", 8080) + "/missing") == "none"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    with ui.Local(FakeNodes(free), RECORD) as dead:
        assert ui.state(dead.url("n1", 8080)) == "silent"
    assert ui.state(f"http://127.0.0.1:{free}") == "silent"


def test_which_pages_there_are():
    nodes = FakeNodes(1)
    assert [(page.title, page.node, page.port) for page in ui.pages(nodes, RECORD)] == [
        ("Spark master", "n1", 8080), ("Spark history", "n1", 18080), ("HDFS NameNode", "n1", 9870),
        ("Spark worker", "n1", 8081), ("Spark worker", "n11", 8081),
        ("HDFS DataNode", "n1", 9864), ("HDFS DataNode", "n11", 9864),
    ]  # fmt: skip
    apps = ui.applications(nodes, RECORD, 1)
    assert [(page.title, page.port) for page in apps] == [("application train", 4041)]
    assert ui.applications(nodes, RECORD, 0) == []


def test_the_command(upstream, monkeypatch):
    nodes = FakeNodes(upstream.server_address[1])
    monkeypatch.setattr("mammoctl.inventory.load", lambda _selector: nodes.cluster)
    monkeypatch.setattr("mammoctl.ssh.Nodes", lambda _cluster: nodes)
    monkeypatch.setattr("mammoctl.cluster.read", lambda _nodes: RECORD)
    monkeypatch.setattr("mammoctl.commands.ui.wait", lambda: None)
    done = CliRunner().invoke(app, ["ui", "--json"])
    assert done.exit_code == 0, done.output
    value = json.loads(done.stdout)
    assert value["pages"][0]["title"] == "Spark master"
    assert value["pages"][0]["url"].startswith("http://127.0.0.1:")
    assert value["pages"][0]["ok"] is True
    assert sorted(nodes.closed) == sorted(nodes.opened)
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    assert CliRunner().invoke(app, ["ui", "--no-browser"]).exit_code == 0
    assert opened == []
    assert CliRunner().invoke(app, ["ui"]).exit_code == 0
    assert len(opened) == 1
