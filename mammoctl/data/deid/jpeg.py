"""JPEG and JPEG-LS without comments, thumbnails and metadata; the coded pixels stay as they are."""

from __future__ import annotations

import re
import struct

from mammoctl.data.deid import Unusable

# Frame, Huffman, quantisation, restart, arithmetic and JPEG-LS segments (T.81 B.1, T.87 C.1):
# the picture is in these and the scans.
_PICTURE = frozenset({*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD, 0xDE, 0xDF, 0xF7, 0xF8})
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_STANDALONE = frozenset({0x01, _SOI, *range(0xD0, 0xD8)})
_MARKER = re.compile(rb"\xff+[\x01-\xfe]")
# In coded data 0xFF is followed by less than 0x80 or by a restart marker; anything else ends it.
_AFTER_SCAN = re.compile(rb"\xff+[\x80-\xcf\xd8-\xfe]")


def strip(data: bytes, orientation: int = 1) -> bytes:
    """Return the picture of a JPEG or JPEG-LS file and nothing else.

    Args:
        data: the file, or a frame of a DICOM file.
        orientation: written back as the only Exif tag, unless it is 1.

    Raises:
        Unusable: not JPEG, or cut off before its first scan.
    """
    if data[:2] != b"\xff\xd8":
        raise Unusable("truncated or damaged")
    kept = [b"\xff\xd8"]
    if orientation != 1:
        kept.append(_segment(0xE1, exif(orientation)))
    at, end, scans = 2, len(data), 0
    while match := _MARKER.search(data, at):
        marker, at = match[0][-1], match.end()
        if marker == _EOI:
            kept.append(b"\xff\xd9")
            break
        if marker in _STANDALONE:
            continue
        length = int.from_bytes(data[at : at + 2])
        body = data[at + 2 : at + length]
        at += length
        if length < 2 or at > end:
            break
        kept.append(_picture(marker, body))
        if marker == _SOS:
            stop = _AFTER_SCAN.search(data, at)
            until = stop.start() if stop else end
            kept.append(data[at:until])
            at, scans = until, scans + 1
    if not scans:
        raise Unusable("truncated or damaged")
    return b"".join(kept)


def _picture(marker: int, body: bytes) -> bytes:
    """Return a segment as it is kept; nothing, if the picture does not need it."""
    if marker in _PICTURE or marker == _SOS:
        return _segment(marker, body)
    if marker == 0xE0 and body[:5] == b"JFIF\0" and len(body) >= 14:
        return _segment(marker, body[:12] + b"\0\0")  # says YCbCr; no thumbnail
    if marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
        return _segment(marker, body[:12])  # says how colours are transformed
    return b""


def exif(orientation: int) -> bytes:
    """Return the body of an Exif segment with one tag, the orientation (1 to 8)."""
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + b"\0\0\0\0"


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body
