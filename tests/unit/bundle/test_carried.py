"""A bundle that is carried: written, read elsewhere, and refused where it is not what it was."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mammoctl.bundle import (
    archive,
    carried,
    ensure_weights,
    fetch,
    parts,
    resolve,
    versions,
    weights,
)
from mammoctl.bundle.model import Artifact, Bundle, Target, content_key
from mammoctl.bundle.sources import Sources
from mammoctl.bundle.store import Store
from mammoctl.errors import BundleError, UsageError

LONG = "environment-" + "x" * 90 + ".tar.zst"


def _artifact(store: Store, kind: str, name: str, releases: tuple[str, ...] = ()) -> Artifact:
    stored = store.add_text(f"{kind} {name}\n" * 1000, name)
    where = stored.name, stored.sha256, stored.size, stored.relative
    return Artifact(kind, *where, ("cpu",), releases)


@pytest.fixture
def bundle(store: Store) -> Bundle:
    target = Target("3.11", "x86_64", ("cpu",), Sources(packages=("debian12",)))
    files = [_artifact(store, part.KIND, f"{part.KIND}.jar") for part in parts.wanted(target)]
    files += [
        _artifact(store, "environment", LONG),
        _artifact(store, "requirements", "requirements-cpu.txt"),
        _artifact(store, "package", "nftables_1_amd64.deb", ("debian12",)),
    ]
    made = Bundle(content_key(files), Path(), store.root, target, {"cpu": files[-2]}, tuple(files))
    return resolve.remember(made)


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(tmp_path / "elsewhere" / "store")


@pytest.mark.parametrize("name", ["site.tar", "site"])
def test_what_was_carried_is_the_same_bundle(
    bundle: Bundle, other: Store, tmp_path: Path, name: str
) -> None:
    archive.write(bundle, tmp_path / name)
    found = carried.opened(tmp_path / name, other)
    assert (found.key, found.target, found.files) == (bundle.key, bundle.target, bundle.files)
    assert found.store == other.root
    for file in bundle.files:
        assert (other.root / file.path).read_bytes() == (bundle.store / file.path).read_bytes()
    assert carried.problems(tmp_path / name)[1] == {}
    assert carried.named(str(tmp_path / name)).key == bundle.key


def test_it_is_the_same_byte_for_byte_wherever_it_was_made(
    bundle: Bundle, other: Store, tmp_path: Path
) -> None:
    first = archive.write(bundle, tmp_path / "a.tar")
    again = carried.opened(tmp_path / "a.tar", other)
    own = replace(again.target, sources=replace(again.target.sources, python_locks="/home/me"))
    assert archive.write(replace(again, target=own), tmp_path / "b.tar") == first
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert (tmp_path / "b.tar.sha256").read_text() == f"{first}  b.tar\n"


@pytest.mark.parametrize("name", ["site.tar", "site"])
def test_its_sums_can_be_checked_without_mammoctl(
    bundle: Bundle, tmp_path: Path, name: str
) -> None:
    archive.write(bundle, tmp_path / name)
    folder = tmp_path / "unpacked"
    if name == "site":
        folder = tmp_path / name
    else:
        subprocess.run(["sha256sum", "--check", f"{name}.sha256"], cwd=tmp_path, check=True)
        folder.mkdir()
        subprocess.run(["tar", "-xf", tmp_path / name, "-C", folder], check=True)
    argv = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    subprocess.run(argv, cwd=folder, check=True)


def test_a_folder_is_completed_and_what_it_no_longer_has_goes(
    bundle: Bundle, store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "site"
    archive.write(bundle, folder)
    lost, gone = bundle.files[0], bundle.files[-1]
    (folder / "store" / lost.path).write_text("cut")
    fewer = tuple(file for file in bundle.files if file != gone)
    smaller = replace(bundle, files=fewer, key=content_key(fewer))
    archive.write(smaller, folder)
    found, problems = carried.problems(folder)
    assert found.key == smaller.key and problems == {}
    assert not (folder / "store" / gone.sha256).exists()


def test_other_peoples_folders_and_full_disks_are_left_alone(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/thesis").touch()
    with pytest.raises(UsageError, match="with other things"):
        archive.write(bundle, tmp_path / "docs")
    assert [path.name for path in (tmp_path / "docs").iterdir()] == ["thesis"]
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(BundleError, match="not enough room"):
        archive.write(bundle, tmp_path / "site.tar")
    assert not (tmp_path / "site.tar").exists()


def test_the_clusters_bundle_is_taken_again_only_where_it_was_carried_to(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, nodes = bundle.key, SimpleNamespace()
    monkeypatch.setattr("mammoctl.cluster.read", lambda _: SimpleNamespace(bundle=key))
    assert carried.of_cluster(nodes) is None  # type: ignore[arg-type]
    path = tmp_path / "site.tar"
    archive.write(bundle, path)
    carried.opened(path)
    assert carried.of_cluster(nodes) is None  # type: ignore[arg-type]  # it was made here
    shutil.rmtree(bundle.store)
    shutil.rmtree(resolve.bundles_dir())
    carried.opened(path)
    assert carried.of_cluster(nodes) == key  # type: ignore[arg-type]
    next(bundle.store.glob(bundle.files[0].path)).unlink()
    assert carried.of_cluster(nodes) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_cut_archive_names_what_is_missing_and_leaves_nothing_wrong(
    bundle: Bundle, other: Store, tmp_path: Path, part: float
) -> None:
    path = tmp_path / "site.tar"
    archive.write(bundle, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(BundleError, match="damaged or missing") as caught:
        carried.opened(path, other)
    assert any("cut off" in line or "missing" in line for line in caught.value.details)
    assert "sha256sum --check site.tar.sha256" in caught.value.hint
    assert "site.tar" in carried.problems(path)[1]
    path.write_bytes(content)
    assert carried.opened(path, other).key == bundle.key


@pytest.mark.parametrize("name", ["site.tar", "site"])
def test_an_altered_file_is_named(bundle: Bundle, other: Store, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    archive.write(bundle, path)
    file = bundle.files[-1]
    changed = path if name.endswith("tar") else path / "store" / file.path
    content = changed.read_bytes()
    changed.write_bytes(content.replace(b"package nftables_1", b"package nftables_2", 1))
    with pytest.raises(BundleError) as caught:
        carried.opened(path, other)
    assert file.name in caught.value.details[0] and "has sha256" in caught.value.details[0]
    assert other.get(file.sha256) is None


def _with_record(path: Path, text: str) -> None:
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo("bundle.json")
        entry.size = len(text.encode())
        tar.addfile(entry, io.BytesIO(text.encode()))


def _changed(bundle: Bundle, tmp_path: Path, change: Any) -> Path:
    path = tmp_path / "changed.tar"
    archive.write(bundle, path)
    with tarfile.open(path) as tar:
        stream = tar.extractfile("bundle.json")
        assert stream is not None
        record = json.load(stream)
    change(record)
    _with_record(path, json.dumps(record))
    return path


def _elsewhere(record: dict[str, Any]) -> None:
    record["files"][0]["path"] = "../../etc/cron.d/x"


def _newer(record: dict[str, Any]) -> None:
    record["mammoctl"] = "99.0"


def _schema(record: dict[str, Any]) -> None:
    record["schema"] = 2


def _swapped(record: dict[str, Any]) -> None:
    record["files"][0]["kind"] = "package"


def _no_path(record: dict[str, Any]) -> None:
    record["files"][0]["path"] = None


def _no_files(record: dict[str, Any]) -> None:
    record["files"] = ["a", "b"]


def _half(record: dict[str, Any]) -> None:
    del record["files"][0]["sha256"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_elsewhere, "outside of the bundle"),
        (_newer, "was made by mammoctl 99.0; this is"),
        (_schema, "was made by mammoctl"),
        (_swapped, "has been changed"),
        (_half, "record is damaged"),
        (_no_path, "record is damaged"),
        (_no_files, "record is damaged"),
    ],
)
def test_a_record_that_cannot_be_believed_is_refused(
    bundle: Bundle, other: Store, tmp_path: Path, change: Any, said: str
) -> None:
    with pytest.raises((BundleError, UsageError), match=said) as caught:
        carried.opened(_changed(bundle, tmp_path, change), other)
    assert caught.value.hint
    assert not other.root.exists()


def test_an_older_bundle_without_a_part_is_told(
    bundle: Bundle, other: Store, tmp_path: Path
) -> None:
    fewer = tuple(file for file in bundle.files if file.kind != "hdfs")
    archive.write(replace(bundle, files=fewer, key=content_key(fewer)), tmp_path / "old.tar")
    with pytest.raises(UsageError, match="lacks what this mammoctl installs: hdfs"):
        carried.opened(tmp_path / "old.tar", other)


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 2000])
def test_what_is_no_bundle_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises((UsageError, BundleError)) as caught:
        carried.read(tmp_path / "x.tar")
    assert "mammoctl bundle create" in caught.value.hint
    with pytest.raises(UsageError, match="there is no bundle at"):
        carried.read(tmp_path / "none.tar")


def test_a_key_is_no_file(bundle: Bundle) -> None:
    assert carried.named(bundle.key[:6]).key == bundle.key
    assert not carried.is_file(bundle.key)
    assert carried.is_file("./site") and carried.is_file("site.tar")


@pytest.mark.parametrize("text", ["[]", "{", "null", '"x"'])
def test_a_record_of_another_kind_is_told(tmp_path: Path, text: str) -> None:
    _with_record(tmp_path / "x.tar", text)
    with pytest.raises(BundleError, match="record is damaged"):
        carried.read(tmp_path / "x.tar")


def test_a_disk_that_fails_is_told(
    bundle: Bundle, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.write(bundle, tmp_path / "site.tar")

    def full(*_args: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "add", full)
    with pytest.raises(BundleError, match="No space left on device") as caught:
        carried.opened(tmp_path / "site.tar", other)
    assert "check both disks" in caught.value.hint


def test_weights_that_were_carried_are_found_as_the_published_ones(
    store: Store, other: Store, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"weights of vgg16"
    entry = {
        "url": "https://x/vgg16.h5",
        "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "size": 16,
    }
    table = {**versions.load(), "weights": {"imagenet": {"vgg16": entry}, "known": {}}}
    monkeypatch.setattr(versions, "load", lambda: table)

    def download(_url: str, path: Path, **_how: object) -> None:
        path.write_bytes(content)

    monkeypatch.setattr("mammoctl.bundle.download.download", download)
    with store.writing() as scratch:
        fetch.run_jobs([weights.job(store, "vgg16")], scratch, show=False)
    given = weights.published(store, "vgg16")
    assert given is not None
    where = given.name, given.sha256, given.size, given.relative
    files = (*bundle.files, Artifact("weights", *where, ()))
    target = replace(bundle.target, sources=replace(bundle.target.sources, weights=("vgg16",)))
    full = replace(bundle, files=files, key=content_key(files), target=target)
    archive.write(full, tmp_path / "site.tar")
    assert weights.published(other, "vgg16") is None
    carried.opened(tmp_path / "site.tar", other)
    found = ensure_weights("imagenet", "vgg16", store=other)
    assert found is not None and found.path.read_bytes() == content
    with pytest.raises(BundleError, match="no published ImageNet weights are pinned for other"):
        weights.published(other, "other")
