"""Whether an inventory's files are text: Ansible passes over one that is not, without a word."""

from __future__ import annotations

import os
from pathlib import Path

from mammoctl.errors import InventoryError

_SUFFIXES = ("", ".yml", ".yaml", ".json", ".ini")


def require(source: Path) -> None:
    """Check the inventory's file and the variables beside it; Ansible reads no hidden files.

    Raises:
        InventoryError: one is not UTF-8; its line is named.
    """
    beside = [
        path
        for name in ("group_vars", "host_vars")
        for path in sorted((source.parent / name).rglob("*"))
        if not any(part.startswith(".") for part in path.relative_to(source.parent).parts)
    ]
    for path in (source, *beside):
        is_program = path == source and os.access(path, os.X_OK)
        if path.suffix not in _SUFFIXES or is_program or not path.is_file():
            continue
        data = path.read_bytes()
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as exc:
            line = data.count(b"\n", 0, exc.start) + 1
            raise InventoryError(
                f"{path}:{line}: not UTF-8: {data[exc.start : exc.start + 4]!r}",
                hint="save the file as UTF-8 (an editor may call it Unicode), or write that line "
                "without the sign",
            ) from None
