"""Recognise image files by their first bytes or, where these say nothing, by their suffix."""

from __future__ import annotations

from pathlib import PurePath

HEAD_BYTES = 132
"""How many leading bytes `sniff` needs: DICOM's magic ends at byte 132."""

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".pgm", ".ppm", ".pnm", ".tif", ".tiff", ".dcm", ".dicom"}
    | {".ima", ".bmp", ".gif", ".webp", ".jp2", ".j2k"}
)


def sniff(head: bytes) -> str:
    """Name the format of a file from its first bytes.

    Args:
        head: at least `HEAD_BYTES` leading bytes, or the whole of a shorter file.

    Returns:
        ``jpeg``, ``png``, ``dicom``, ``pgm``, ``tiff`` or ``unknown``.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[128:132] == b"DICM":
        return "dicom"
    if head[:2] in (b"P2", b"P5") and head[2:3].isspace():
        return "pgm"
    if head[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return "tiff"
    return "unknown"


def has_dicom_name(path: PurePath | str) -> bool:
    """Tell whether a file's name does not speak against DICOM, which is often without a suffix."""
    return PurePath(path).suffix.lower() in {".dcm", ".dicom", ".ima", ""}


def has_image_suffix(path: PurePath | str) -> bool:
    """Tell whether a file's name claims to be an image."""
    return PurePath(path).suffix.lower() in IMAGE_SUFFIXES
