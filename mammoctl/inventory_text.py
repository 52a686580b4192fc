"""Whether an inventory lies and is written as its readers want: what they do not say themselves.

Ansible passes over a file that is no text, and SSH takes a path for several at a blank.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mammoctl.errors import InventoryError

_SUFFIXES = ("", ".yml", ".yaml", ".json", ".ini")


def require_place(folder: Path) -> None:
    """Check where an inventory lies, or will lie.

    Raises:
        InventoryError: there is a blank in the path: in arguments of SSH the path of known_hosts,
            which an inventory gives as ``{{ inventory_dir }}/known_hosts``, would end there.
    """
    if re.search(r"\s", str(folder)):
        raise InventoryError(
            f"an inventory cannot lie in {folder}: SSH would take the path of its host keys for "
            "several, at the blank",
            hint="move it to, or work in, a folder without blanks in its path",
        )


def require(source: Path) -> None:
    """Check the inventory's place, its file and the variables beside it.

    Ansible reads no hidden files.

    Raises:
        InventoryError: one is not UTF-8, its line is named; or as `require_place`.
    """
    require_place(source.parent)
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
