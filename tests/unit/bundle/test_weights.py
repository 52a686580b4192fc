"""Weights: every way of giving them, and every way they can be wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from mammoctl.bundle import ensure_weights, versions
from mammoctl.bundle import weights as module
from mammoctl.bundle.store import Store
from mammoctl.errors import BundleError


def _hdf5(size: int = 96, tail: bytes = b"") -> bytes:
    """Return the least that looks like a complete HDF5 file of version 2 superblock."""
    head = b"\x89HDF\r\n\x1a\n" + bytes([2, 8, 8, 0])
    head += (0).to_bytes(8, "little") * 2 + size.to_bytes(8, "little")
    return (head + tail).ljust(size, b"\0")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    table: dict[str, Any] = {"imagenet": {}, "known": {}}
    monkeypatch.setattr(versions, "load", lambda: {"weights": table})
    return table


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.h5"
    path.write_bytes(_hdf5())
    return path


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_none_means_none() -> None:
    assert ensure_weights("none", "vgg16") is None


def test_an_unknown_file_is_taken_and_its_sum_noted(
    file: Path, known: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(module.console, "note", notes.append)
    weights = ensure_weights(str(file), "vgg16")
    assert weights is not None
    assert (weights.path, weights.sha256, weights.name) == (file, _sum(file), "mine.h5")
    assert len(notes) == 1
    assert _sum(file) in notes[0]


def test_a_given_sum_is_compared(file: Path, known: dict[str, Any]) -> None:
    assert ensure_weights(file, "vgg16", _sum(file).upper()) is not None
    with pytest.raises(BundleError, match="wrong checksum") as caught:
        ensure_weights(file, "vgg16", "0" * 64)
    assert "0" * 64 in caught.value.details[0]
    assert _sum(file) in caught.value.details[1]
    with pytest.raises(BundleError, match="not a sha256"):
        ensure_weights(file, "vgg16", "0123")


def test_sums_beside_the_file_are_compared(file: Path, known: dict[str, Any]) -> None:
    sums = file.with_name("SHA256SUMS")
    sums.write_text(f"{'0' * 64}  other.h5\n{_sum(file)}  {file.name}\n")
    assert ensure_weights(file, "vgg16") is not None
    sums.write_text(f"{'0' * 64} *{file.name}\n")
    with pytest.raises(BundleError, match="wrong checksum") as caught:
        ensure_weights(file, "vgg16")
    assert str(sums) in caught.value.details[0]


def test_a_published_name_with_another_content_is_refused(
    file: Path, known: dict[str, Any]
) -> None:
    known["known"]["1" * 64] = {"backbone": "vgg16", "name": file.name}
    with pytest.raises(BundleError, match="wrong checksum"):
        ensure_weights(file, "vgg16")


def test_weights_of_another_backbone_are_refused(file: Path, known: dict[str, Any]) -> None:
    known["known"][_sum(file)] = {"backbone": "mobilenet_v2_035", "name": "published.h5"}
    with pytest.raises(BundleError, match="weights of mobilenet_v2_035, not of vgg16") as caught:
        ensure_weights(file, "vgg16")
    assert "--backbone mobilenet_v2_035" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 a zip", "is not an HDF5 file"),
        (_hdf5(96)[:80], "is cut off: 80 of 96 bytes"),
    ],
)
def test_a_file_that_is_no_complete_hdf5_is_refused(
    content: bytes, problem: str, file: Path, known: dict[str, Any]
) -> None:
    file.write_bytes(content)
    with pytest.raises(BundleError, match=problem):
        ensure_weights(file, "vgg16")


def test_old_superblocks_are_read_too() -> None:
    from mammoctl.bundle.hdf5 import _end_address

    addresses = b"".join(n.to_bytes(8, "little") for n in (0, 2**64 - 1, 2800, 2**64 - 1))
    zero = b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + bytes(8)
    assert _end_address(zero + addresses) == 2800
    one = b"\x89HDF\r\n\x1a\n" + bytes([1, 0, 0, 0, 0, 8, 8, 0]) + bytes(12)
    assert _end_address(one + addresses) == 2800


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        ensure_weights(tmp_path / "no.h5", "vgg16")
    with pytest.raises(BundleError, match="is a folder"):
        ensure_weights(tmp_path, "vgg16")


def _publish(known: dict[str, Any], url: str, content: bytes) -> None:
    known["imagenet"]["vgg16"] = {
        "url": url,
        "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        "size": len(content),
    }


def test_published_weights_are_fetched_once(
    known: dict[str, Any], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, calls = _hdf5(), []

    def fetch(url: str, path: Path, *, size: int, progress: bool) -> None:
        calls.append((url, size))
        path.write_bytes(content)

    monkeypatch.setattr("mammoctl.bundle.download.download", fetch)
    _publish(known, "http://localhost/vgg16.h5", content)
    first = ensure_weights("imagenet", "vgg16", store=store)
    assert first == ensure_weights("imagenet", "vgg16", store=store)
    assert first is not None
    assert first.name == "vgg16.h5"
    assert first.sha256 == hashlib.sha256(content).hexdigest()
    assert calls == [("http://localhost/vgg16.h5", 96)]
    with pytest.raises(BundleError, match="wrong checksum"):
        ensure_weights("imagenet", "vgg16", "0" * 64, store=store)


def test_published_weights_with_another_sum_are_not_kept(
    known: dict[str, Any], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mammoctl.bundle.download.download",
        lambda url, path, **_: path.write_bytes(_hdf5(tail=b"x")),
    )
    _publish(known, "http://localhost/vgg16.h5", _hdf5())
    with pytest.raises(BundleError, match="checksum that Keras pins") as caught:
        ensure_weights("imagenet", "vgg16", store=store)
    assert "--weights PATH" in caught.value.hint
    assert not list(store.root.glob("[!.]*"))


@pytest.mark.parametrize("backbone", ["vgg16", "unheard-of"])
def test_weights_that_cannot_be_fetched_name_the_other_choices(
    backbone: str, known: dict[str, Any], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str, path: Path, **_: object) -> None:
        raise BundleError("cannot download it")

    monkeypatch.setattr("mammoctl.bundle.download.download", refuse)
    _publish(known, "http://localhost/vgg16.h5", b"")
    with pytest.raises(BundleError) as caught:
        ensure_weights("imagenet", backbone, store=store)
    assert "--weights PATH" in caught.value.hint
    assert "--weights none" in caught.value.hint
    assert "predictions then mean nothing" in caught.value.hint


def test_the_projects_table_is_complete() -> None:
    table = versions.load()["weights"]
    assert set(table["imagenet"]["vgg16"]) == {"url", "md5", "size"}
    for total, entry in table["known"].items():
        assert len(total) == 64
        assert set(entry) == {"backbone", "name"}
