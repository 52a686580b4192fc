"""What HDFS's REST API answers, from a server that says what its documentation says."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest

from mammoctl.data import webhdfs

FILES = {"/m/data/b/dataset.json": "b\n", "/m/data/a ł/dataset.json": "a\n", "/m/data/.tmp/x": ""}
FILES |= {"/dead/x": "from another one", "/cut": "not whole"}
WORDS = "could only be written to 0 of the 1 minReplication nodes"


class Handler(BaseHTTPRequestHandler):
    seen: ClassVar[list[tuple[str, str, dict[str, str]]]] = []
    written: ClassVar[list[bytes]] = []

    def _answer(self, status: int, body: Any) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, status: int, kind: str, message: str) -> None:
        self._answer(status, {"RemoteException": {"exception": kind, "message": message}})

    def _send_on(self, path: str) -> None:
        host, port = self.server.server_address[:2]
        _command, _path, query = self.seen[-1]
        if path == "/nobody":
            self._answer(200, {"Location": None})
            return
        if path.startswith("/dead") and "excludedatanodes" not in query:
            port = 1
        operation = {"CREATE": "DATANODE"}.get(query["op"], query["op"])
        there = f"http://{host}:{port}/webhdfs/v1{quote(path)}?op={operation}"
        self._answer(200, {"Location": there})

    def _give(self, path: str) -> None:
        data = FILES[path].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data) + ("cut" in path)))
        self.end_headers()
        self.wfile.write(data)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path.removeprefix("/webhdfs/v1"))
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.seen.append((self.command, path, query))
        operation = query["op"]
        below = sorted({name[len(path) + 1 :].split("/")[0] for name in FILES if path in name})
        if path.startswith("/safe"):
            self._refuse(403, "SafeModeException", "Name node is in safe mode.")
        elif operation == "LISTSTATUS" and below:
            found = [{"pathSuffix": name} for name in reversed(below)]
            self._answer(200, {"FileStatuses": {"FileStatus": found}})
        elif operation == "OPEN" and query.get("noredirect") and path in FILES:
            self._send_on(path)
        elif operation == "OPEN" and not query.get("noredirect"):
            self._give(path)
        elif operation == "CREATE":
            self._send_on(path)
        elif operation == "DATANODE" and path == "/full":
            self._refuse(403, "IOException", WORDS + "\n\tat org.apache...")
            self.close_connection = True
        elif operation == "DATANODE":
            self.written.append(b"".join(self._chunks()))
            self._answer(201, b"")
        elif operation in ("MKDIRS", "DELETE"):
            self._answer(200, {"boolean": True})
        elif operation == "RENAME":
            self._answer(200, {"boolean": path in FILES})
        else:
            self._refuse(404, "FileNotFoundException", f"File {path} does not exist.")

    do_PUT = do_DELETE = do_GET  # noqa: N815  their names are given

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def files() -> Iterator[webhdfs.Files]:
    Handler.seen.clear()
    Handler.written.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{server.server_address[1]}"
    found = {"dfs.namenode.http-address": address, "fs.permissions.umask-mode": "027"}
    yield webhdfs.Files(found, "anna")
    server.shutdown()
    server.server_close()


def test_what_is_there_and_what_is_not(files: webhdfs.Files) -> None:
    root = "hdfs://m:8020/m/data"
    assert files.names(root) == [".tmp", "a ł", "b"]
    assert files.names(f"{root}/c") is None
    assert files.read(f"{root}/b/dataset.json") == "b\n"
    assert files.read(f"{root}/b/other") is None
    assert files.read_each(root, "dataset.json") == ["a\n", "b\n"]
    assert files.read_each(f"{root}/c", "dataset.json") == []
    assert {query["user.name"] for *_, query in Handler.seen if "noredirect" in query} == {"anna"}


def test_what_is_changed_has_the_modes_of_the_settings(files: webhdfs.Files) -> None:
    files.mkdir("/m/new")
    files.write("/m/new/x", "text ł")
    files.remove("/m/new")
    files.move("hdfs://m:8020/m/data/.tmp/x", "hdfs://m:8020/m/data/c")
    made, written, sent, removed, moved = Handler.seen
    assert made[2]["permission"] == "750"
    assert written[2]["permission"] == "640"
    assert "anna" not in sent[2].values()
    assert Handler.written == ["text ł".encode()]
    assert removed[0] == "DELETE"
    assert removed[2]["recursive"] == "true"
    assert moved[2]["destination"] == "/m/data/c"


def test_a_file_is_written_as_it_comes(
    files: webhdfs.Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(2 * webhdfs.PIECE + 5)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    assert files.receive("/m/part") == hashlib.sha256(content).hexdigest()
    assert Handler.written == [content]
    assert Handler.seen[0][2]["permission"] == "640"


def test_a_file_is_copied_and_compared(files: webhdfs.Files) -> None:
    sha256 = hashlib.sha256(b"b\n").hexdigest()
    assert files.copy("/m/data/b/dataset.json", "/m/other") == sha256
    assert Handler.written == [b"b\n"]
    uris = ("/m/data/b/dataset.json", "/m/none", "/cut")
    assert files.sums(*uris) == [sha256, None, None]
    with pytest.raises(webhdfs.Refused, match="1 bytes cannot be read"):
        files.read("/cut")


def test_a_datanode_that_has_just_died_is_passed_over(files: webhdfs.Files) -> None:
    assert files.read("/dead/x") == "from another one"
    files.write("/dead/y", "text")
    assert Handler.written == [b"text"]
    assert [
        query.get("excludedatanodes") for *_, query in Handler.seen if "noredirect" in query
    ] == [*(None, "127.0.0.1:1", None, "127.0.0.1:1")]


def test_a_datanode_that_takes_nothing_says_why(
    files: webhdfs.Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(64 * webhdfs.PIECE)  # more than what fits on the way
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    with pytest.raises(webhdfs.Refused, match=f"^IOException: {WORDS}$"):
        files.receive("/full")
    with pytest.raises(webhdfs.Refused, match="no DataNode takes"):
        files.write("/nobody", "text")


def test_a_refusal_is_told_in_the_words_of_hdfs(files: webhdfs.Files) -> None:
    with pytest.raises(webhdfs.Refused, match="SafeModeException: Name node is in safe mode"):
        files.names("/safe")
    with pytest.raises(webhdfs.Refused, match="RENAME of /m/nothing: No such file"):
        files.move("/m/nothing", "/m/x")


def test_the_program_as_the_master_reads_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "site.xml"
    settings.write_text(
        "<configuration><property><name>dfs.namenode.http-address</name>"
        "<value>127.0.0.1:1</value></property></configuration>"
    )
    monkeypatch.setattr(webhdfs, "SETTINGS", (str(settings),))
    assert webhdfs.main("[]") == 0
    assert capsys.readouterr().out == "[]"
    assert webhdfs.main('[["names", "/"]]') == 1
    said = capsys.readouterr()
    assert "Connection refused" in said.err
    assert said.out == "[]"
