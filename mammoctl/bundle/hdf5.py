"""Tell a complete HDF5 file from anything else by its first bytes, without an HDF5 library."""

from __future__ import annotations

from pathlib import Path

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def problem(path: Path) -> str | None:
    """Return what is wrong with a file that should be HDF5, or None.

    The superblock names the address at which the file ends (HDF5 File Format Specification,
    section II.A): a shorter file was cut off.
    """
    with path.open("rb") as stream:
        head = stream.read(64)
    if not head:
        return "is empty"
    if not head.startswith(_SIGNATURE):
        return "is not an HDF5 file"
    end = _end_address(head)
    if end is not None and end > path.stat().st_size:
        return f"is cut off: {path.stat().st_size} of {end} bytes"
    return None


def _end_address(head: bytes) -> int | None:
    version = head[8]
    if version in (0, 1):
        width, start = head[13], 24 + 4 * version
    elif version in (2, 3):
        width, start = head[9], 12
    else:
        return None
    # Base address, one other address, end of file.
    field = head[start + 2 * width : start + 3 * width]
    return int.from_bytes(field, "little") if len(field) == width else None
