"""Downloads over HTTP, against a server on the loopback interface."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mammoctl.bundle.download import download
from mammoctl.errors import BundleError

_CONTENT = bytes(range(256)) * 400


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves ``_CONTENT``; misbehaves as the server's ``plan`` says, one entry per request."""

    server: _Server

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers.get("Range"))
        plan = self.server.plan.pop(0) if self.server.plan else "ok"
        if plan.isdigit():
            self.send_error(int(plan))
            return
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and plan != "whole" else 0
        body = _CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if plan == "cut" else body)

    def log_message(self, format: str, *args: object) -> None:
        return


class _Server(http.server.ThreadingHTTPServer):
    plan: list[str]
    ranges: list[str | None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.h5"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with _Server(("127.0.0.1", 0), _Handler) as there:
        there.plan, there.ranges = [], []
        thread = threading.Thread(target=there.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield there
        there.shutdown()
        thread.join()


def test_a_file_comes_whole(server: _Server, tmp_path: Path) -> None:
    download(server.url, tmp_path / "f", size=len(_CONTENT), progress=False)
    assert (tmp_path / "f").read_bytes() == _CONTENT


def test_a_broken_connection_is_taken_up_where_it_stopped(server: _Server, tmp_path: Path) -> None:
    server.plan = ["cut", "503", "ok"]
    download(server.url, tmp_path / "f", size=len(_CONTENT), progress=False, pause=0)
    assert (tmp_path / "f").read_bytes() == _CONTENT
    half = f"bytes={len(_CONTENT) // 2}-"
    assert server.ranges == [None, half, half]


def test_a_server_without_ranges_starts_again(server: _Server, tmp_path: Path) -> None:
    server.plan = ["cut", "whole"]
    download(server.url, tmp_path / "f", size=len(_CONTENT), progress=False, pause=0)
    assert (tmp_path / "f").read_bytes() == _CONTENT


def test_a_part_of_something_else_is_dropped(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 10)
    server.plan = ["416"]
    download(server.url, tmp_path / "f", size=len(_CONTENT), progress=False, pause=0)
    assert server.ranges == ["bytes=10-", None]
    assert (tmp_path / "f").read_bytes() == _CONTENT


def test_a_refusal_is_not_repeated(server: _Server, tmp_path: Path) -> None:
    server.plan = ["404"]
    with pytest.raises(BundleError, match="answers 404 Not Found"):
        download(server.url, tmp_path / "f", size=1, progress=False, pause=0)
    assert len(server.ranges) == 1


def test_a_file_of_another_size_is_refused(server: _Server, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"{len(_CONTENT)} bytes instead of 5"):
        download(server.url, tmp_path / "f", size=5, progress=False, pause=0)
    assert not (tmp_path / "f").exists()


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(BundleError, match="cannot download") as caught:
        download("http://127.0.0.1:9/f", tmp_path / "f", size=1, progress=False, pause=0)
    assert "HTTPS_PROXY" in caught.value.hint
