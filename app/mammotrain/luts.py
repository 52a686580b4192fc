"""DICOM's look-up tables for grey values (PS3.3 C.11.1.1 and C.11.2.1.1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from mammotrain.pixels import Convert, Floats, Pixels


def lookup(item: Any, *, signed: bool, big: bool) -> Convert | None:
    """Return the table of an item of a LUT sequence; None if it is not one.

    Values before the first that is mapped give the first entry, those behind the last the last.

    Args:
        item: with `LUTDescriptor` and `LUTData`.
        signed: the values that are looked up can be below 0.
        big: the file stores the high byte of a word first.
    """
    try:
        count, first, bits = (int(number) for number in item.LUTDescriptor)
        words = _words(item.LUTData, big)
    except (AttributeError, TypeError, ValueError):
        return None
    count = count & 0xFFFF or 65536  # which does not fit into its 16 bits
    if signed and first > 0x7FFF:
        first -= 0x10000
    if bits <= 8 and len(words) < count:
        words = words.view(np.uint8)  # two to a word, the first in its low byte
    if len(words) < count:
        return None
    table = words[:count].astype(np.float32)

    def convert(values: Pixels) -> Floats:
        place = np.clip(np.rint(values.astype(np.float32) - first), 0, count - 1)
        found: Floats = table[place.astype(np.intp)]
        return found

    return convert


def _words(data: Any, big: bool) -> Any:
    """Return the 16-bit words of a table, low byte first."""
    if isinstance(data, bytes):
        data += bytes(len(data) % 2)
        return np.frombuffer(data, ">u2" if big else "<u2").astype("<u2")
    return np.array([int(word) & 0xFFFF for word in data], "<u2")
