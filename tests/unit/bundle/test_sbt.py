"""What sbt consists of: fetched by one Maven, held against its lock, packed the same everywhere."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import tarfile
from pathlib import Path

import pytest

from mammoctl.bundle import locks, maven, sbt_repository, versions
from mammoctl.bundle.model import Target
from mammoctl.bundle.process import Runner
from mammoctl.bundle.sources import Sources
from mammoctl.bundle.store import Store
from mammoctl.errors import BundleError

TARGET = Target("3.11", "x86_64")
FILES = ("org/x/y_2.12/1.0/y_2.12-1.0.pom", "org/x/y_2.12/1.0/y_2.12-1.0.jar")
# Stands in for Maven: writes each item of the pom into the local repository that it is told.
MVN = """#!/usr/bin/env python3
import os, pathlib, re, sys
options = dict(a[2:].split("=", 1) for a in sys.argv if a.startswith("-D") and "=" in a)
pom = pathlib.Path(sys.argv[sys.argv.index("--file") + 1]).read_text()
for item in re.findall("<artifactItem>(.*?)</artifactItem>", pom):
    f = dict(re.findall(r"<(\\w+)>(.*?)</", item))
    folder = pathlib.Path(options["maven.repo.local"], *f["groupId"].split("."))
    folder = folder / f["artifactId"] / f["version"]
    folder.mkdir(parents=True, exist_ok=True)
    if f["type"] != os.environ.get("WITHOUT"):
        (folder / f"{f['artifactId']}-{f['version']}.{f['type']}").write_text(f["type"])
"""


@pytest.fixture
def mvn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "bin" / "mvn"
    program.parent.mkdir()
    program.write_text(MVN)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return program


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pin two small files instead of the real ones."""
    entries = {
        name: {"sha256": hashlib.sha256(name[-3:].encode()).hexdigest(), "size": 3}
        for name in FILES
    }
    path = tmp_path / "locks" / "sbt.json"
    path.parent.mkdir()
    path.write_text(json.dumps(entries))
    monkeypatch.setattr(locks, "folder", lambda: path.parent)
    sbt_repository.read_lock.cache_clear()
    return path


@pytest.fixture(autouse=True)
def _forget() -> object:
    yield
    sbt_repository.read_lock.cache_clear()


def _make(store: Store, folder: Path) -> None:
    folder.mkdir()
    sbt_repository.job(store, TARGET).work(folder, Runner())


def test_the_archive_holds_the_pinned_files(
    store: Store, mvn: Path, lock: Path, tmp_path: Path
) -> None:
    with store.writing():
        _make(store, tmp_path / "one")
        first = sbt_repository.stored(store, TARGET)
        _make(store, tmp_path / "two")
    assert first is not None
    assert sbt_repository.stored(store, TARGET) == first
    with tarfile.open(first.path) as tar:
        assert tar.getnames() == sorted(FILES)
        assert {(m.mtime, m.uid, m.mode) for m in tar} == {(0, 0, 0o644)}


def test_a_file_that_is_not_the_pinned_one_is_refused(
    store: Store, mvn: Path, lock: Path, tmp_path: Path
) -> None:
    entries = json.loads(lock.read_text())
    entries[FILES[1]]["sha256"] = "0" * 64
    lock.write_text(json.dumps(entries))
    with pytest.raises(BundleError, match=r"y_2.12-1.0.jar does not have its pinned checksum"):
        _make(store, tmp_path / "one")
    assert sbt_repository.stored(store, TARGET) is None


def test_a_file_that_maven_did_not_bring_is_named(
    store: Store, mvn: Path, lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WITHOUT", "pom")
    with pytest.raises(BundleError, match=r"did not fetch .*y_2.12-1.0.pom"):
        _make(store, tmp_path / "one")


def test_another_lock_is_another_archive(lock: Path) -> None:
    before = sbt_repository.derivation()
    lock.write_text(lock.read_text().replace("1.0", "1.1"))
    sbt_repository.read_lock.cache_clear()
    assert sbt_repository.derivation() != before


def test_without_maven_the_mend_is_told(
    store: Store, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BundleError, match="mvn is needed") as caught:
        sbt_repository.job(store, TARGET)
    assert "apt-get install" in caught.value.hint


def test_a_cluster_may_do_without() -> None:
    without = Target("3.11", "x86_64", ("cpu",), Sources(sbt_repository=False))
    assert sbt_repository.variants(TARGET) == ("cpu",)
    assert sbt_repository.variants(without) == ()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (FILES[0], ("org.x", "y_2.12", "1.0", "", "pom")),
        ("jline/jline/3.1/jline-3.1-jdk8.jar", ("jline", "jline", "3.1", "jdk8", "jar")),
    ],
)
def test_coordinates_of_a_path(name: str, expected: tuple[str, ...]) -> None:
    assert maven.coordinates(name) == expected


def test_the_committed_lock_is_for_the_pinned_sbt_and_scala() -> None:
    pinned, files = versions.load(), sbt_repository.read_lock()
    sbt, scala = pinned["sbt"]["default"], pinned["spark"]["scala"]
    assert f"org/scala-sbt/sbt/{sbt}/sbt-{sbt}.jar" in files
    for part in ("scala-compiler", "scala-library", "scala2-sbt-bridge"):
        assert f"org/scala-lang/{part}/{scala}/{part}-{scala}.jar" in files
    assert all(re.fullmatch("[0-9a-f]{64}", entry["sha256"]) for entry in files.values())
    assert all(entry["size"] > 0 for entry in files.values())
