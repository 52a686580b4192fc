"""From the bytes of an image file to RGB pixels of one size. Trusts nothing it is given."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import numpy.typing as npt

# Part of the feature cache's key: raise it with every change that alters a pixel.
PREPROCESSING_VERSION = 1

MAX_PIXELS = 120_000_000  # a mammogram has up to 30 million; beyond this a file is a bomb
MIN_SIDE = 16

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


def decode(content: bytes, declared: str | None, size: int) -> Bytes:
    """Decode one image file.

    Args:
        content: the file as it was: DICOM, or anything Pillow reads.
        declared: the format somebody believes it has; only used for DICOM without a preamble.
        size: side of the result in pixels. The aspect ratio is not kept.

    Returns:
        RGB, shape (size, size, 3), uint8. Greyscale is repeated in the three channels.

    Raises:
        Reject: with the reason, for everything that cannot be used.
    """
    if not content:
        raise Reject("empty file")
    try:
        if content[128:132] == b"DICM" or declared == "dicom":
            from mammotrain.dicom import decode_dicom

            pixels = decode_dicom(content)
        else:
            pixels = _decode_plain(content)
        return _to_size(pixels, size)
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


def _decode_plain(content: bytes) -> Any:
    """Decode with Pillow; returns a Pillow image of mode L, RGB or F (F: 0 to 1)."""
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
        return Image.fromarray(stretch(np.asarray(image)))
    if image.mode in ("1", "L"):
        grey = image.convert("L")
        _check_contrast(grey)
        return grey
    if image.mode in ("LA", "La"):
        return image.getchannel(0)
    rgb = image.convert("RGB")
    _check_contrast(rgb)
    return rgb


def _check_contrast(image: Any) -> None:
    extrema = image.getextrema()
    pairs = extrema if isinstance(extrema[0], tuple) else (extrema,)
    if all(low == high for low, high in pairs):
        raise Reject("one grey value only")


def _to_size(pixels: Any, size: int) -> Bytes:
    """Resize a Pillow image or a float array (0 to 1) to RGB uint8."""
    from PIL import Image

    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    resized = image.resize((size, size), Image.Resampling.BILINEAR)
    array = np.asarray(resized)
    if array.dtype == np.float32:
        array = np.clip(np.rint(array * 255.0), 0, 255).astype(np.uint8)
    if array.ndim == 2:
        array = np.repeat(array[:, :, np.newaxis], 3, axis=2)
    return np.ascontiguousarray(array)
