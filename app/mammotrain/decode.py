"""From the bytes of an image file to RGB pixels of one size. Trusts nothing it is given."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mammotrain.breast import Box, tidy

# Part of the feature cache's key: raise it with every change that alters a pixel.
PREPROCESSING_VERSION = 2

# The whole picture squashed into the square; the breast cut out and squashed; the breast cut out
# and padded, so that its proportions stay.
FITS = ("squash", "crop", "pad")

MAX_PIXELS = 120_000_000  # a mammogram has up to 30 million; beyond this a file is a bomb
MIN_SIDE = 16
COLOUR_APART = 0.08  # channels that far apart are a colour, not what JPEG makes of grey
COLOUR_SHARE = 0.01

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


class Reject(Exception):
    """An image that cannot be used. The message is the reason and quotes nothing from the file."""


def check_checksum(content: bytes, sha256: str | None) -> None:
    """Raise Reject when `content` is missing, empty or not what its checksum says."""
    if content is None or len(content) == 0:
        raise Reject("empty file")
    if sha256 and hashlib.sha256(content).hexdigest() != sha256.lower():
        raise Reject("content does not match its checksum")


@dataclass(frozen=True)
class Picture:
    """A decoded image, RGB, shape (size, size, 3), uint8, and what had to be done to it."""

    pixels: Bytes
    warnings: tuple[str, ...] = ()


def decode(content: bytes, declared: str | None, size: int, fit: str = "squash") -> Picture:
    """Decode one image file and bring the breast on it to the network's size.

    Args:
        content: the file as it was: DICOM, or anything Pillow reads.
        declared: the format somebody believes it has; only used for DICOM without a preamble.
        size: side of the result in pixels.
        fit: one of `FITS`.

    Returns:
        Greyscale repeated in three channels: dense tissue bright, markers taken off.

    Raises:
        Reject: with the reason, for everything that cannot be used.
    """
    if not content:
        raise Reject("empty file")
    try:
        if content[128:132] == b"DICM" or declared == "dicom":
            from mammotrain.dicom import decode_dicom

            grey = decode_dicom(content)
        else:
            grey = _decode_plain(content)
        picture, box, warnings = tidy(grey)
        return Picture(_to_size(picture, box, size, fit), tuple(warnings))
    except Reject:
        raise
    except MemoryError as error:
        raise Reject("too large for the memory there is") from error
    except Exception as error:  # decoders raise nearly anything; their text may quote the file
        raise Reject(f"unreadable ({type(error).__name__})") from error


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


def _decode_plain(content: bytes) -> Floats:
    """Decode with Pillow; returns grey values from 0 to 1."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # our own limit, below, is a reject instead of a warning
    try:
        image: Image.Image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError as error:
        raise Reject("not an image of a known format") from error
    check_shape(image.height, image.width)
    if getattr(image, "n_frames", 1) > 1:
        raise Reject("several frames")
    try:
        image.load()
    except (OSError, SyntaxError, EOFError) as error:
        raise Reject("truncated or damaged") from error
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return stretch(np.asarray(image))
    if image.mode in ("LA", "La"):
        image = image.getchannel(0)
    if image.mode in ("1", "L"):
        grey = np.asarray(image.convert("L")).astype(np.float32) / np.float32(255)
    else:
        grey = grey_of(np.asarray(image.convert("RGB")))
    if float(grey.min()) == float(grey.max()):
        raise Reject("one grey value only")
    return grey


def _to_size(picture: Floats, box: Box, size: int, fit: str) -> Bytes:
    """Fit grey values (0 to 1) into a square of RGB uint8."""
    from PIL import Image

    if fit != "squash":
        picture = picture[box.top : box.bottom, box.left : box.right]
    rows, columns = picture.shape
    height = width = size
    if fit == "pad":
        height = max(1, round(size * rows / max(rows, columns)))
        width = max(1, round(size * columns / max(rows, columns)))
    image = Image.fromarray(np.ascontiguousarray(picture))
    small = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
    grey = np.clip(np.rint(np.asarray(small) * 255.0), 0, 255).astype(np.uint8)
    if fit == "pad":
        canvas = np.zeros((size, size), np.uint8)
        top = (size - height) // 2
        # the chest wall stays at the edge where it is
        left = 0 if box.left == 0 else size - width
        canvas[top : top + height, left : left + width] = grey
        grey = canvas
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
