"""The managed interpreter: where it comes from, and what an archive of one's own must be."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
from pathlib import Path
from typing import Any

import pytest

from mammoctl.bundle import interpreter, versions
from mammoctl.bundle.model import Target
from mammoctl.bundle.process import Runner
from mammoctl.bundle.sources import Sources
from mammoctl.bundle.store import Store
from mammoctl.errors import BundleError, UsageError

MANAGED = Target("3.12", "x86_64", ("cpu",), Sources(interpreter="managed"))


def elf(machine: int, *glibc: str) -> bytes:
    """Return the start of a program for a processor, with the names of symbol versions."""
    head = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + struct.pack("<HH", 3, machine) + b"\0" * 100
    return head + b"\0".join([b"", *(f"GLIBC_{v}".encode() for v in glibc), b""])


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_what_an_archive_holds_is_read_from_its_programs(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "own.tar.gz",
        {
            "python/bin/python3.12": elf(183, "2.2.5", "2.17"),
            "python/lib/libssl.so.3": elf(183, "2.34", "2.36", "2.4"),
            "python/lib/python3.12/notes.txt": b"\0GLIBC_2.99\0",
        },
    )
    assert interpreter.inspect(path, "sum") == interpreter.Interpreter(
        "3.12", ("aarch64",), "2.36", "sum"
    )


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"python/bin/python3": elf(62)}, "does not hold one CPython"),
        ({"bin/python3.12": elf(62)}, "does not hold one CPython"),
        (
            {"python/bin/python3.12": elf(62), "python/bin/python3.13": elf(62)},
            "versions: 3.12, 3.13; processors: x86_64",
        ),
        ({"python/bin/python3.9": elf(62)}, "Python 3.9, for which there is no locked"),
    ],
)
def test_what_is_no_interpreter_for_nodes_is_refused(
    tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        interpreter.inspect(archive(tmp_path / "own.tar.gz", files), "sum")
    assert said in "\n".join([caught.value.message, *caught.value.details])
    assert caught.value.hint


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"x" * 2000, mtime=0)[:40]])
def test_a_damaged_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.tar.gz"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"own\.tar\.gz"):
        interpreter.inspect(path, "sum")


def test_an_own_archive_enters_the_store_once_under_a_name_that_tells_what_it_needs(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / "own.tar.gz", {"python/bin/python3.12": elf(62, "2.34")})
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    found = interpreter.adopt(store, path)
    assert found == interpreter.Interpreter("3.12", ("x86_64",), "2.34", sha256)
    assert path.is_file()
    target = Target("3.12", "x86_64", ("cpu",), Sources("managed", sha256))
    file = interpreter.stored(store, target)
    assert file is not None
    assert (file.name, file.sha256) == ("cpython-3.12-x86_64-glibc2.34.tar.gz", sha256)
    monkeypatch.setattr(interpreter, "inspect", lambda *_: pytest.fail("looked at again"))
    assert interpreter.adopt(store, path) == found


def test_an_own_archive_that_is_gone_is_named(tmp_path: Path, store: Store) -> None:
    with pytest.raises(UsageError, match="no archive of an interpreter at"):
        interpreter.adopt(store, tmp_path / "none.tar.gz")
    with pytest.raises(BundleError, match="a" * 64):
        interpreter.job(store, Target("3.12", "x86_64", ("cpu",), Sources("managed", "a" * 64)))


def test_only_a_managed_bundle_has_one() -> None:
    assert interpreter.variants(Target("3.12", "x86_64", ("cpu",))) == ()
    assert interpreter.variants(MANAGED) == ("cpu",)


def test_upstream_and_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(interpreter.MIRROR, raising=False)
    name = "cpython-3.12.14+20260814-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz"
    quoted = name.replace("+", "%2B")
    assert interpreter.url(name) == (
        "https://github.com/astral-sh/python-build-standalone/releases/download/20260814/" + quoted
    )
    monkeypatch.setenv(interpreter.MIRROR, "file:///srv/mirror/")
    assert interpreter.url(name) == f"file:///srv/mirror/20260814/{quoted}"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the pinned archive's place in a mirror in a folder; its sum is that of b'good'."""
    managed: dict[str, Any] = {"default": "3.12.9+20990101", "glibc": "2.17"}
    managed["sha256"] = {"3.12.9+20990101": {"x86_64": hashlib.sha256(b"good").hexdigest()}}
    monkeypatch.setattr(versions, "load", lambda: {"python": {"managed": managed}})
    monkeypatch.setenv(interpreter.MIRROR, f"file://{tmp_path}/mirror")
    folder = tmp_path / "mirror" / "20990101"
    folder.mkdir(parents=True)
    name = "cpython-3.12.9+20990101-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz"
    return folder / name


def fetch(store: Store) -> None:
    with store.writing() as scratch:
        interpreter.job(store, MANAGED).work(scratch, Runner())


def test_the_pinned_one_from_a_mirror_in_a_folder(mirror: Path, store: Store) -> None:
    mirror.write_bytes(b"good")
    fetch(store)
    file = interpreter.stored(store, MANAGED)
    assert file is not None
    assert file.path.read_bytes() == b"good"


def test_a_changed_file_of_the_mirror_is_not_taken(mirror: Path, store: Store) -> None:
    mirror.write_bytes(b"bad")
    with pytest.raises(BundleError, match="pinned checksum"):
        fetch(store)
    assert interpreter.stored(store, MANAGED) is None


def test_what_cannot_be_fetched_says_what_to_choose_instead(mirror: Path, store: Store) -> None:
    with pytest.raises(BundleError, match="cannot be fetched") as caught:
        fetch(store)
    assert interpreter.MIRROR in caught.value.hint
    assert "python_archive" in caught.value.hint


def test_what_is_pinned() -> None:
    managed = versions.load()["python"]["managed"]
    assert interpreter.pinned().python in versions.python_minors()
    assert set(interpreter.pinned().arch) == {"x86_64", "aarch64"}
    for sums in managed["sha256"].values():
        assert all(len(value) == 64 for value in sums.values())
