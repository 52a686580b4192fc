"""What is asked of the cluster's storage, and how its failures are told."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from masters import Local, on_hdfs

from mammoctl.cluster import ClusterFile
from mammoctl.data import storage as storage_of
from mammoctl.data.push import list_data
from mammoctl.data.storage import Storage
from mammoctl.errors import RemoteError
from mammoctl.ssh import Result


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        ("put: Cannot create file. Name node is in safe mode.", "safe mode"),
        ("mkdir: Call From lab1 failed on java.net.ConnectException", "does not answer"),
        ("could only be written to 0 of the 1 minReplication nodes", "full"),
    ],
)
def test_what_hdfs_says_is_translated(
    nodes: Local, deployment: ClusterFile, stderr: str, message: str
) -> None:
    storage = Storage(nodes, on_hdfs(deployment))  # type: ignore[arg-type]
    with pytest.raises(RemoteError, match=message):
        storage.run(f"echo '{stderr}' >&2; exit 1")


def test_a_storage_that_cannot_be_read_is_not_taken_for_an_empty_one(
    nodes: Local, deployment: ClusterFile, tmp_path: Path
) -> None:
    assert list_data(nodes, deployment) == []  # type: ignore[arg-type]
    (tmp_path / "storage" / "data").rmdir()
    (tmp_path / "storage").rmdir()
    assert list_data(nodes, deployment) == []  # type: ignore[arg-type]
    (tmp_path / "storage").write_text("in the way")
    with pytest.raises(RemoteError, match="ended with status") as caught:
        list_data(nodes, deployment)  # type: ignore[arg-type]
    assert "Not a directory" in caught.value.details[-1]
    with pytest.raises(RemoteError, match="ended with status"):
        Storage(nodes, deployment).names(f"{deployment.paths.data}/set")  # type: ignore[arg-type]


def test_what_hdfs_receives_is_told_by_checksum_and_its_failure_by_status(
    nodes: Local, deployment: ClusterFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The master's program is one that keeps its input in a file, or refuses one of its name."""
    program = tmp_path / "program.py"
    program.write_text(KEEPS_IT)
    monkeypatch.setattr(storage_of.webhdfs, "__file__", str(program))
    storage = Storage(nodes, on_hdfs(deployment))  # type: ignore[arg-type]
    content = os.urandom(2_700_001)
    kept = tmp_path / "a b"
    assert storage.send_all(str(kept), io.BytesIO(content)) == hashlib.sha256(content).hexdigest()
    assert kept.read_bytes() == content
    with pytest.raises(RemoteError, match="refuses to write a file") as caught:
        storage.send_all(str(tmp_path), io.BytesIO(content))
    assert "IsADirectoryError" in caught.value.details[-1]


KEEPS_IT = """
import hashlib, json, sys

def main(operations):
    [(name, path)] = json.loads(operations)
    try:
        content = sys.stdin.buffer.read()
        open(path, "wb").write(content)
    except OSError as error:
        print("[]")
        print(repr(error), file=sys.stderr)
        return 1
    print(json.dumps([hashlib.sha256(content).hexdigest()]))
    return 0
"""


def test_a_file_that_cannot_be_read_has_no_checksum(
    nodes: Local, deployment: ClusterFile, tmp_path: Path
) -> None:
    storage = Storage(nodes, deployment)  # type: ignore[arg-type]
    there, none = f"file://{tmp_path}/a\\b", f"file://{tmp_path}/none"
    (tmp_path / "a\\b").write_bytes(b"content")
    sha256 = hashlib.sha256(b"content").hexdigest()
    assert storage.sha256(there) == sha256
    with pytest.raises(RemoteError, match="none cannot be read"):
        storage.sha256(none)
    # In a list of many it is one among them.
    assert storage.sums([none, there]) == ["", sha256]
    assert storage.sums([]) == []


class Starting:
    """A master whose HDFS takes data at the third time of asking."""

    def __init__(self, since: str, why: str) -> None:
        self.cluster = SimpleNamespace(vars={}, master=SimpleNamespace(name="n1"))
        self.since, self.why, self.asked = since, why, 0

    def run(self, _host: str, command: str, **_options: Any) -> Result:
        if command.startswith("show="):
            return Result("n1", "", self.since, "", 0)
        self.asked += 1
        good = self.asked == 3
        return Result("n1", "", "[[]]" if good else "", "" if good else self.why, int(not good))


@pytest.mark.parametrize(
    "why",
    [
        "SafeModeException: Cannot create directory. Name node is in safe mode.",
        "RetriableException: Namenode is in startup mode",
        "<urlopen error [Errno 111] Connection refused>",
        "no DataNode takes hdfs://n1:8020/x",
    ],
)
def test_an_hdfs_that_has_just_been_started_is_waited_for(
    deployment: ClusterFile, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_of.time, "sleep", lambda _seconds: None)
    young = Starting("1000\n@400\n@990\n", why)
    assert Storage(young, on_hdfs(deployment)).names("hdfs://n1/x") == []  # type: ignore[arg-type]
    for since in ("1000\n@400\n@500\n", "1000\n@400\n", ""):
        old = Starting(since, why)
        with pytest.raises(RemoteError):
            Storage(old, on_hdfs(deployment)).names("hdfs://n1/x")  # type: ignore[arg-type]
        assert old.asked == 1


@pytest.mark.parametrize(
    ("answers", "what"), [("[null, null]", "remove"), ("[]", "rename"), ("", "rename")]
)
def test_of_several_things_the_one_that_failed_is_named(
    nodes: Local, deployment: ClusterFile, monkeypatch: pytest.MonkeyPatch, answers: str, what: str
) -> None:
    refused = Result("n1", "", answers, "AccessControlException: denied", 1)
    monkeypatch.setattr(nodes, "run", lambda *_args, **_options: refused)
    storage = Storage(nodes, on_hdfs(deployment))  # type: ignore[arg-type]
    with pytest.raises(RemoteError, match=f"refuses to {what} a folder"):
        storage.change(("move", "/a", "/b"), ("mkdir", "/c"), ("remove", "/d"))
