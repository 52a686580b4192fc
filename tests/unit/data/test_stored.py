"""Data sets on the cluster are found, compared with what was sent, and removed."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mammoctl.data import claim, stored
from mammoctl.errors import DataError
from mammoctl.ssh import Result

PARTS = {"part-00000.parquet": b"one" * 1000, "part-00001.parquet": b"two"}


class Master:
    """A master whose storage is a folder here; its commands are run by a shell, without sudo."""

    def __init__(self, root: Path, ids: Path) -> None:
        self.cluster = SimpleNamespace(name="ward", vars={}, master=SimpleNamespace(name="n1"))
        self.root, self.ids = root, ids

    def run(self, _host: Any, command: Any, *, check: bool = True, **_options: Any) -> Result:
        argv = ["sh", "-c", command] if isinstance(command, str) else command
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return Result("n1", str(command), done.stdout, done.stderr, done.returncode)

    def secret(self, _host: Any, _sudo: bool) -> bytes:
        return b""

    def openssh(self, _host: Any, argv: list[str], _sudo: bool, _options: list[str]) -> list[str]:
        return argv

    def follow(self, _host: Any, line: Any, *, sudo: Any) -> Iterator[str]:
        assert sudo == "spark"
        yield from self.run(None, line).stdout.splitlines()


@pytest.fixture
def master(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Master:
    root, ids = tmp_path / "data", tmp_path / "datasets"
    monkeypatch.setattr(stored, "IDS_ROOT", str(ids))
    monkeypatch.setattr(claim, "FOLDER", str(tmp_path))
    monkeypatch.setattr(stored, "list_jobs", lambda _nodes: [])
    folder = root / "screening"
    folder.mkdir(parents=True)
    for name, content in PARTS.items():
        (folder / name).write_bytes(content)
    parts = [
        {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "images": 2}
        for name, data in PARTS.items()
    ]
    about = {"schema": 1, "name": "screening", "images": 4, "parts": parts}
    (folder / "dataset.json").write_text(json.dumps(about) + "\n")
    (root / ".tmp-other-0123abcd").mkdir()
    (ids / "screening").mkdir(parents=True)
    (ids / "screening" / "ids.csv").write_text("image_id,file\n" + "x,y\n" * 4)
    (ids / "screening" / "ids.csv").chmod(0o600)
    return Master(root, ids)


@pytest.fixture
def cluster(master: Master) -> Any:
    return SimpleNamespace(
        storage=SimpleNamespace(kind="shared"), paths=SimpleNamespace(data=f"file://{master.root}")
    )


def verify(master: Any, cluster: Any) -> list[str]:
    return stored.verify(master, cluster, "screening").findings


def test_a_good_data_set_and_how_far_it_was_read(master: Any, cluster: Any) -> None:
    told: list[int] = []
    verdict = stored.verify(master, cluster, "screening", begin=told.append, advance=told.append)
    # the tests may not run as root, who is the map's owner on a master
    assert [one for one in verdict.findings if "by others" not in one] == []
    assert (verdict.parts, verdict.size) == (2, 3003)
    assert told == [3003, 3000, 3]


def test_every_kind_of_damage_is_named(master: Any, cluster: Any) -> None:
    folder = master.root / "screening"
    (folder / "part-00000.parquet").write_bytes(b"one" * 999 + b"two")
    (folder / "part-00001.parquet").unlink()
    (folder / "part-00002.parquet").write_bytes(b"")
    (master.ids / "screening" / "ids.csv").write_text("image_id,file\nx,y\n")
    (master.ids / "screening" / "ids.csv").chmod(0o644)
    findings = "\n".join(verify(master, cluster))
    for words in (
        "part-00001.parquet is missing",
        "part-00002.parquet was never sent",
        "part-00000.parquet is damaged: sha256 ",
        "can be read by others",
        "1 rows for 4 images",
    ):
        assert words in findings
    (master.ids / "screening" / "ids.csv").unlink()
    assert "the map from ids to files is missing" in "\n".join(verify(master, cluster))
    (folder / "dataset.json").write_text("torn")
    assert verify(master, cluster) == ["dataset.json is missing or cannot be read"]


def test_a_name_that_is_nearly_right(master: Any, cluster: Any) -> None:
    with pytest.raises(DataError, match="no data set 'screning'") as caught:
        stored.verify(master, cluster, "screning")
    assert caught.value.hint == "did you mean screening?"
    with pytest.raises(DataError) as caught:
        stored.remove(master, cluster, "pilot")
    assert caught.value.hint == "there are: screening"
    with pytest.raises(DataError, match="cannot be called"):
        stored.remove(master, cluster, "../../etc")


def test_removed_with_its_map_and_nothing_else(master: Any, cluster: Any) -> None:
    (master.root / "pilot").mkdir()
    stored.remove(master, cluster, "screening")
    assert sorted(path.name for path in master.root.iterdir()) == [".tmp-other-0123abcd", "pilot"]
    assert list(master.ids.iterdir()) == []


def test_a_removal_that_was_cut_short_is_repeated(master: Any, cluster: Any) -> None:
    for name in (".tmp-screening-00000000", ".old-screening-00000000"):
        (master.root / name).mkdir()
    stored.remove(master, cluster, "screening")
    assert [path.name for path in master.root.iterdir()] == [".tmp-other-0123abcd"]
    (master.root / ".tmp-screening-00000000").mkdir()  # all that such a removal has left
    stored.remove(master, cluster, "screening")
    assert [path.name for path in master.root.iterdir()] == [".tmp-other-0123abcd"]
    with pytest.raises(DataError, match="no data set 'screening'"):
        stored.remove(master, cluster, "screening")


def test_not_removed_while_a_job_uses_it(
    master: Any, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def job(name: str, state: str, data: str) -> dict[str, Any]:
        return {"spec": {"id": name, "data": data}, "state": {"state": state}}

    jobs = [job("over", "failed", "screening"), job("other", "running", "pilot")]
    monkeypatch.setattr(stored, "list_jobs", lambda _nodes: jobs)
    assert stored.users(master, "screening") == []
    jobs.append(job("waits", "queued", "screening"))
    with pytest.raises(DataError, match="used by waits"):
        stored.remove(master, cluster, "screening")
    assert (master.root / "screening").is_dir()
