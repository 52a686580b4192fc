"""Small pictures with identifiers in every place that a format has for them."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

PLANTED = "PLANTED NAME"
SHAPE = (48, 40)


def pixels(seed: int = 0, dtype: Any = np.uint8, top: int = 255) -> np.ndarray[Any, Any]:
    """Random pixels of which no two seeds agree, shape (48, 40)."""
    return np.random.default_rng(seed).integers(0, top, SHAPE).astype(dtype)


def jpeg(seed: int = 0, *, orientation: int = 1, **options: Any) -> bytes:
    """A JPEG file with a comment, Exif, XMP, a second comment before the scan, and a tail."""
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = PLANTED
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels(seed)).save(
        buffer, format="JPEG", comment=PLANTED, exif=exif, xmp=PLANTED.encode(), **options
    )
    data = buffer.getvalue()
    scan = data.index(b"\xff\xda")
    comment = b"\xff\xfe" + struct.pack(">H", len(PLANTED) + 2) + PLANTED.encode()
    return data[:scan] + comment + data[scan:] + PLANTED.encode()


def png(array: np.ndarray[Any, Any], *, orientation: int = 1) -> bytes:
    """A PNG file with text of all three kinds, Exif, text behind the pixels, and a tail."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", PLANTED)
    info.add_text("Comment", PLANTED, zip=True)
    info.add_itxt("Title", PLANTED)
    exif = Image.Exif()
    exif[0x013B] = PLANTED
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG", pnginfo=info, exif=exif)
    data = buffer.getvalue()
    at = data.index(b"IDAT")
    length = int.from_bytes(data[at - 4 : at])
    body = data[at + 4 : at + 4 + length] + PLANTED.encode()
    chunk = struct.pack(">I", len(body)) + b"IDAT" + body
    chunk += struct.pack(">I", zlib.crc32(b"IDAT" + body))
    return data[: at - 4] + chunk + data[at + 8 + length :] + PLANTED.encode()


def tiff(array: np.ndarray[Any, Any]) -> bytes:
    """A TIFF file with names in its tags, a private one too."""
    buffer = io.BytesIO()
    tags = {270: PLANTED, 315: PLANTED, 65000: PLANTED}
    Image.fromarray(array).save(buffer, format="TIFF", tiffinfo=tags)
    return buffer.getvalue()


def pgm(array: np.ndarray[Any, Any]) -> bytes:
    """A PGM file with a comment; 16 bits are stored high byte first."""
    top = 255 if array.dtype == np.uint8 else 65535
    head = f"P5\n# {PLANTED}\n{array.shape[1]} {array.shape[0]}\n{top}\n".encode()
    return head + (array if top == 255 else array.astype(">u2")).tobytes()
