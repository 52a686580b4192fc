"""JPEG 2000 codestreams without their comments."""

from __future__ import annotations

from mammoctl.data.deid import Unusable

_SOC, _SOT, _SOD, _EOC, _COM = 0xFF4F, 0xFF90, 0xFF93, 0xFFD9, 0xFF64


def blank_comments(data: bytes) -> bytes:
    """Return a codestream (T.800 annex A) whose comments are zeros, cut off after its end.

    The comments keep their length, so that no pointer has to change.

    Raises:
        Unusable: not a raw codestream, or damaged.
    """
    code = bytearray(data)
    if _word(code, 0) != _SOC:
        raise Unusable("truncated or damaged")
    at = _blank(code, 2, _SOT)
    while _word(code, at) == _SOT:
        tile = int.from_bytes(code[at + 6 : at + 10])
        _blank(code, at, _SOD)
        if tile == 0:  # the last one, up to the end
            at = code.rfind(b"\xff\xd9", at)
            if at < 0:
                raise Unusable("truncated or damaged")
        else:
            at += tile
    if _word(code, at) != _EOC:
        raise Unusable("truncated or damaged")
    return bytes(code[: at + 2])


def _word(code: bytearray, at: int) -> int:
    return int.from_bytes(code[at : at + 2])


def _blank(code: bytearray, at: int, until: int) -> int:
    """Blank the comments among the segments from `at` to the marker `until`; return its place."""
    while (marker := _word(code, at)) != until:
        length = _word(code, at + 2)
        if marker < 0xFF00 or length < 2 or at + 2 + length > len(code):
            raise Unusable("truncated or damaged")
        if marker == _COM:
            code[at + 4 : at + 2 + length] = bytes(length - 2)
        at += 2 + length
    return at
