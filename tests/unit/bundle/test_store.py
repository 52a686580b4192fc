"""The store: complete and verified, or not there."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from mammoctl.bundle import store as module
from mammoctl.bundle.store import Store, human
from mammoctl.errors import BundleError


def _file(path: Path, text: str = "content") -> tuple[Path, str]:
    path.write_text(text)
    return path, hashlib.sha256(text.encode()).hexdigest()


def test_a_file_enters_under_its_sum(store: Store, tmp_path: Path) -> None:
    path, total = _file(tmp_path / "a.whl")
    stored = store.add(path, total)
    assert stored.path == store.root / total / "a.whl"
    assert stored.relative == f"{total}/a.whl"
    assert stored.size == 7
    assert not path.exists()
    assert store.get(total) == stored


def test_another_sum_is_refused_and_the_file_removed(store: Store, tmp_path: Path) -> None:
    path, total = _file(tmp_path / "a.whl")
    with pytest.raises(BundleError, match=r"a\.whl does not have its pinned checksum") as caught:
        store.add(path, "0" * 64)
    assert caught.value.details == [f"expected sha256 {'0' * 64}", f"actual   sha256 {total}"]
    assert not path.exists()
    assert store.get(total) is None
    assert store.get("0" * 64) is None


def test_an_unchanged_file_is_not_read_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, total = _file(tmp_path / "a.whl")
    store.add(path, total)

    def fail(path: Path) -> str:
        raise AssertionError(f"read {path}")

    monkeypatch.setattr(module, "sha256_of", fail)
    assert store.get(total) is not None


def test_a_changed_file_is_removed_when_asked_for(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, total = _file(tmp_path / "a.whl")
    stored = store.add(path, total)
    stored.path.write_text("CONTENT, longer")
    assert store.get(total) is None
    assert not stored.path.exists()


def test_a_touched_file_is_read_once_and_kept(store: Store, tmp_path: Path) -> None:
    path, total = _file(tmp_path / "a.whl")
    stored = store.add(path, total)
    os.utime(stored.path, ns=(1, 1))
    assert store.get(total) == stored


def test_a_change_that_keeps_size_and_time_is_found_by_verify(store: Store, tmp_path: Path) -> None:
    path, total = _file(tmp_path / "a.whl")
    stored = store.add(path, total)
    status = stored.path.stat()
    stored.path.write_text("CONTENT")
    os.utime(stored.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert store.get(total) is not None
    problem = store.verify(total)
    assert problem is not None
    assert "removed" in problem
    assert store.get(total) is None
    assert store.verify(total) == "missing"


def test_derived_files_are_found_by_their_recipe(store: Store, tmp_path: Path) -> None:
    path, total = _file(tmp_path / "built.whl")
    assert store.derived("recipe") is None
    stored = store.add_derived("recipe", path)
    assert stored.sha256 == total
    assert store.derived("recipe") == stored


def test_text_is_stored_once(store: Store) -> None:
    first = store.add_text("numpy\n", "requirements-cpu.txt")
    before = first.path.stat().st_ino
    again = store.add_text("numpy\n", "requirements-cpu.txt")
    assert again == first
    assert first.path.stat().st_ino == before


def test_the_scratch_folder_is_empty_and_goes_away(store: Store) -> None:
    left = store.root / ".tmp" / "left-by-a-killed-run"
    left.mkdir(parents=True)
    with store.writing() as scratch:
        assert list(scratch.iterdir()) == []
        assert not left.exists()
        (scratch / "part").write_text("half")
    assert not scratch.exists()


def test_a_second_writer_waits_for_the_first(store: Store) -> None:
    order = []

    def second() -> None:
        with Store(store.root).writing():
            order.append("second")

    with store.writing():
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join(timeout=5)
    assert order == ["first", "second"]


def test_too_little_space_is_said_with_both_figures(store: Store) -> None:
    with pytest.raises(BundleError, match="not enough space") as caught:
        store.require_space(1 << 60)
    assert "MAMMOCTL_CACHE_DIR" in caught.value.hint
    store.require_space(1)


def test_an_unwritable_store_is_explained(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(BundleError, match="cannot write"), Store(blocked / "store").writing():
        pass


@pytest.mark.parametrize(
    ("size", "text"), [(5, "5 B"), (1500, "1.5 kB"), (56_006_450, "56 MB"), (1.03e9, "1.0 GB")]
)
def test_sizes_are_readable(size: float, text: str) -> None:
    assert human(size) == text
