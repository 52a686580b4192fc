"""Grey values of a picture, whatever file they come from, and why a picture cannot be used."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

MAX_PIXELS = 120_000_000  # a mammogram has up to 30 million; beyond this a file is a bomb
MIN_SIDE = 16
COLOUR_APART = 0.08  # channels that far apart are a colour, not what JPEG makes of grey
COLOUR_SHARE = 0.01

Floats = npt.NDArray[np.float32]


class Reject(Exception):
    """An image that cannot be used. The message is the reason and quotes nothing from the file."""


def check_shape(rows: int, columns: int) -> None:
    """Raise Reject for images too small to show anything or too large to be one."""
    if min(rows, columns) < MIN_SIDE:
        raise Reject(f"smaller than {MIN_SIDE} pixels")
    if rows * columns > MAX_PIXELS:
        raise Reject(f"more than {MAX_PIXELS // 1_000_000} million pixels")


def stretch(values: npt.NDArray[Any]) -> Floats:
    """Scale grey values so that the smallest is 0 and the largest 1.

    Raises:
        Reject: if there is only one value, or one that is not finite.
    """
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise Reject("pixel values that are not numbers")
    if high <= low:
        raise Reject("one grey value only")
    scaled = values.astype(np.float32)
    scaled -= low
    scaled /= high - low
    return scaled


def grey_of(rgb: npt.NDArray[Any]) -> Floats:
    """Return the luminance of an RGB picture (rows, columns, 3) of any integer type, 0 to 1.

    Raises:
        Reject: the picture has colours; mammograms have none, whatever mode they are stored in.
    """
    values = rgb.astype(np.float32) / float(np.iinfo(rgb.dtype).max)
    apart = values.max(axis=2) - values.min(axis=2)
    if float(np.mean(apart > COLOUR_APART)) > COLOUR_SHARE:
        raise Reject("a colour picture")
    grey: Floats = values @ np.array([0.299, 0.587, 0.114], np.float32)
    return grey
