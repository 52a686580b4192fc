"""PNG without text, times and metadata; the coded pixels stay as they are."""

from __future__ import annotations

import struct
import zlib

from mammoctl.data.deid import Unusable
from mammoctl.data.deid.jpeg import exif

MAGIC = b"\x89PNG\r\n\x1a\n"
_PICTURE = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


def strip(data: bytes, orientation: int = 1) -> bytes:
    """Return the chunks of a PNG file that make the picture and nothing else.

    Args:
        data: the file.
        orientation: written back as the only Exif tag, unless it is 1.

    Raises:
        Unusable: a chunk is cut off, or there is no end.
    """
    kept = [MAGIC]
    unpack = zlib.decompressobj()
    at = len(MAGIC)
    while at + 12 <= len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if at + 12 + length > len(data):
            break
        if name == b"IDAT":
            body = _within(unpack, body)
        if name in _PICTURE and (body or name != b"IDAT"):
            same = len(body) == length
            kept.append(data[at : at + 12 + length] if same else _chunk(name, body))
        if name == b"IHDR" and orientation != 1:
            kept.append(_chunk(b"eXIf", exif(orientation)[6:]))
        if name == b"IEND":
            return b"".join(kept)
        at += 12 + length
    raise Unusable("truncated or damaged")


def _within(unpack: zlib._Decompress, body: bytes) -> bytes:
    """Return the part of `body` that belongs to the compressed stream: text may stand behind it."""
    if unpack.eof:
        return b""
    try:
        rest = body
        while rest and not unpack.eof:
            unpack.decompress(rest, 1 << 20)
            rest = unpack.unconsumed_tail
    except zlib.error as error:
        raise Unusable("truncated or damaged") from error
    return body[: len(body) - len(unpack.unused_data)]


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
