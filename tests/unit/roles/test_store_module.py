"""Artifacts arrive whole, checked, and once."""

from __future__ import annotations

import hashlib
import tarfile

import pytest


def artifact(data: bytes, name: str) -> dict[str, object]:
    return {"name": name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


@pytest.fixture
def store(plugin, tmp_path, monkeypatch):
    module = plugin("modules", "mammoctl_store")
    monkeypatch.setattr(module.os, "chown", lambda *_args: None)
    root, incoming = tmp_path / "store", tmp_path / "store" / ".incoming"
    incoming.mkdir(parents=True)
    return module, root, incoming


def test_alone_and_together(store):
    module, root, incoming = store
    one, two = artifact(b"one", "a.whl"), artifact(b"two", "uv")
    (incoming / one["sha256"]).write_bytes(b"one")
    (root / "two").write_bytes(b"two")
    with tarfile.open(incoming / "small.tar", "w") as tar:
        tar.add(root / "two", arcname=two["sha256"])
    assert module.missing(str(root), [one, two]) == [one, two]
    assert module.take(str(root), str(incoming), [one, two]) == []
    assert module.missing(str(root), [one, two]) == []
    assert (root / one["sha256"] / "a.whl").read_bytes() == b"one"
    assert (root / two["sha256"] / "uv").stat().st_mode & 0o777 == 0o644
    assert list(incoming.iterdir()) == []


def test_a_wrong_checksum_is_named_and_does_not_stay(store):
    module, root, incoming = store
    wanted = artifact(b"right", "a.whl")
    (incoming / wanted["sha256"]).write_bytes(b"wrong")
    assert module.take(str(root), str(incoming), [wanted]) == ["a.whl"]
    assert module.missing(str(root), [wanted]) == [wanted]
    assert list(incoming.iterdir()) == []


def test_a_truncated_artifact_counts_as_missing(store):
    module, root, _incoming = store
    wanted = artifact(b"right", "a.whl")
    folder = root / wanted["sha256"]
    folder.mkdir()
    (folder / "a.whl").write_bytes(b"rig")
    assert module.missing(str(root), [wanted]) == [wanted]


def test_members_of_an_archive_cannot_leave_the_folder(store, tmp_path):
    module, _root, incoming = store
    (tmp_path / "evil").write_bytes(b"x")
    with tarfile.open(incoming / "small.tar", "w") as tar:
        tar.add(tmp_path / "evil", arcname="../../../outside")
    module.unpack(str(incoming / "small.tar"), str(incoming))
    assert (incoming / "outside").exists()
    assert not (tmp_path.parent / "outside").exists()


def test_small_files_travel_together(plugin):
    push = plugin("action", "mammoctl_push")
    files = [{"size": 1}, {"size": 100}, {"size": 10}]
    assert push.parcels(files, small=50) == ([{"size": 1}, {"size": 10}], [{"size": 100}])
