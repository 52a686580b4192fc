"""Grey values of a picture, whatever file they come from, and why a picture cannot be used.

A picture is turned into grey values a strip at a time, and made smaller on the way where the
network needs far less: several of them are decoded at once in a worker that has little memory.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_PIXELS = 40_000_000  # a mammogram has up to 35 million; beyond this a file is a bomb
LARGE_PIXELS = 16_000_000  # of these only one is unpacked at a time
STRIP_PIXELS = 1 << 18
MIN_SIDE = 16
SPARE = 4  # a picture is kept this many times as large as the network wants it
COLOUR_APART = 0.08  # channels that far apart are a colour, not what JPEG makes of grey
COLOUR_SHARE = 0.01

NO_MEMORY = "too large for the memory there is"
EMPTY = "empty file"
DAMAGED = "content does not match its checksum"

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[Any]
Convert = Callable[[Pixels], Floats]

_one_large = threading.Lock()


class Reject(Exception):
    """An image that cannot be used. The message is the reason and quotes nothing from the file."""


def lasts(reason: str) -> bool:
    """Tell whether an image that was rejected for this reason would be again.

    Memory may be there the next time, and what a checksum names may be stored whole by then.
    """
    return reason not in (NO_MEMORY, EMPTY, DAMAGED)


def check_shape(rows: int, columns: int) -> None:
    """Raise Reject for images too small to show anything or too large to be one."""
    if min(rows, columns) < MIN_SIDE:
        raise Reject(f"smaller than {MIN_SIDE} pixels")
    if rows * columns > MAX_PIXELS:
        raise Reject(f"more than {MAX_PIXELS // 1_000_000} million pixels")


def slot(rows: int, columns: int) -> contextlib.AbstractContextManager[Any]:
    """Return what to hold while a picture of this size is being unpacked."""
    return _one_large if rows * columns > LARGE_PIXELS else contextlib.nullcontext()


def shrink_step(rows: int, columns: int, size: int) -> int:
    """Return how many pixels a side become one, for a network that takes `size` pixels a side."""
    return max(1, math.isqrt(rows * columns) // (SPARE * size))


def strips(picture: Pixels, step: int = 1) -> Iterator[Pixels]:
    """Yield a picture (rows, columns, ...) in strips of whole rows, each a multiple of `step`."""
    height = step * max(1, STRIP_PIXELS // (step * picture.shape[1]))
    for top in range(0, picture.shape[0], height):
        yield picture[top : top + height]


def shrink(picture: Pixels, step: int, convert: Convert) -> Floats:
    """Convert a picture, and average squares of `step` pixels a side after that.

    Rows and columns at the far ends that make no whole square are left out.

    Args:
        picture: shape (rows, columns, ...).
        step: at least 1.
        convert: turns a strip into grey values (rows, columns).
    """
    rows, columns = picture.shape[0] // step, picture.shape[1] // step
    picture = picture[: rows * step, : columns * step]
    result = np.empty((rows, columns), np.float32)
    top = 0
    for strip in strips(picture, step):
        grey = convert(strip)
        count = len(strip) // step
        if step > 1:
            grey = grey.reshape(count, step, columns, step).mean(axis=(1, 3), dtype=np.float32)
        result[top : top + count] = grey
        top += count
    return result


def stretched(low: float, high: float) -> Convert:
    """Return the conversion that makes `low` 0 and `high` 1.

    Raises:
        Reject: there is only one value, or one that is not finite.
    """
    if not np.isfinite(low) or not np.isfinite(high):
        raise Reject("pixel values that are not numbers")
    if high <= low:
        raise Reject("one grey value only")

    def convert(values: Pixels) -> Floats:
        scaled = values.astype(np.float32)
        scaled -= low
        scaled /= high - low
        return scaled

    return convert


def grey_of(rgb: Pixels, step: int) -> Floats:
    """Return the luminance of an RGB picture (rows, columns, 3) of any integer type, 0 to 1.

    Raises:
        Reject: the picture has colours; mammograms have none, whatever mode they are stored in.
    """
    scale = np.float32(np.iinfo(rgb.dtype).max)
    limit = COLOUR_APART * float(scale)
    coloured = 0
    for strip in strips(rgb):
        # Plane by plane: a reduction over three neighbours takes numpy fifteen times as long.
        red, green, blue = (strip[:, :, channel] for channel in range(3))
        apart = np.maximum(np.maximum(red, green), blue)
        apart -= np.minimum(np.minimum(red, green), blue)
        coloured += int(np.count_nonzero(apart > limit))
    if coloured > COLOUR_SHARE * rgb.shape[0] * rgb.shape[1]:
        raise Reject("a colour picture")
    share = np.array([0.299, 0.587, 0.114], np.float32)

    def luminance(strip: Pixels) -> Floats:
        values = strip.astype(np.float32)
        values /= scale
        grey: Floats = values @ share
        return grey

    return shrink(rgb, step, luminance)
