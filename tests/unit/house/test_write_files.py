"""Files are written whole or not at all, and never more openly than asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mammoctl import files


@pytest.mark.parametrize("content", ["Größe\n", b"\x00\xff"])
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_content_and_mode(tmp_path: Path, content: str | bytes, mode: int) -> None:
    path = tmp_path / "folder" / "file"
    before = os.umask(0)
    try:
        files.write(path, content, mode=mode, durable=True)
    finally:
        os.umask(before)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert path.stat().st_mode & 0o777 == mode
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    files.write(path, "old")

    def refuse(_path: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        files.write(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
