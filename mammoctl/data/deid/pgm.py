"""Binary PGM without comments; the pixels stay as they are."""

from __future__ import annotations

import re

from mammoctl.data.deid import Unusable
from mammoctl.data.deid.plain import rewrite, within_limit

_BETWEEN = rb"(?:\s|#[^\r\n]*[\r\n])+"
_HEADER = re.compile(
    rb"P5" + _BETWEEN + rb"(\d{1,9})" + _BETWEEN + rb"(\d{1,9})" + _BETWEEN + rb"(\d{1,5})\s"
)


def strip(data: bytes) -> bytes:
    """Return the picture of a PGM file and nothing else; one written in digits becomes PNG.

    Raises:
        Unusable: too large, or cut off.
    """
    match = _HEADER.match(data)
    if not match:
        return rewrite(data)
    width, height, top = (int(value) for value in match.groups())
    if not (width and height and 0 < top < 1 << 16):
        raise Unusable("truncated or damaged")
    within_limit(width, height)
    end = match.end() + width * height * (1 if top < 256 else 2)
    if len(data) < end:
        raise Unusable("truncated or damaged")
    return b"P5\n%d %d\n%d\n" % (width, height, top) + data[match.end() : end]
