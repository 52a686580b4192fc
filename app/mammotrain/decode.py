"""From the bytes of an image file to RGB pixels of one size. Trusts nothing it is given."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mammotrain.breast import Box, corner, tidy
from mammotrain.pixels import (
    DAMAGED,
    EMPTY,
    NO_MEMORY,
    Floats,
    Reject,
    check_shape,
    grey_of,
    shrink,
    shrink_step,
    slot,
    stretched,
)

__all__ = [
    "AUGMENTATIONS",
    "FITS",
    "PREPROCESSING_VERSION",
    "Picture",
    "Reject",
    "check_checksum",
    "decode",
]

# Part of the feature cache's key: raise it with every change here or below that alters a pixel.
PREPROCESSING_VERSION = 3

# The whole picture squashed into the square; the breast cut out and squashed; the breast cut out
# and padded, so that its proportions stay.
FITS = ("squash", "crop", "pad")

# Other views of the same picture, to train on beside the plain one: mirrored; without an eighth of
# its height and width, at each of the corners.
PLAIN = "plain"
CORNERS = ("tl", "tr", "bl", "br")
AUGMENTATIONS: dict[str, tuple[str, ...]] = {
    "none": (),
    "flips": ("flip",),
    "crops": CORNERS,
    "both": ("flip", *CORNERS),
}

Bytes = npt.NDArray[np.uint8]


def check_checksum(content: bytes, sha256: str | None) -> None:
    """Raise Reject when `content` is missing, empty or not what its checksum says."""
    if content is None or len(content) == 0:
        raise Reject(EMPTY)
    if sha256 and hashlib.sha256(content).hexdigest() != sha256.lower():
        raise Reject(DAMAGED)


@dataclass(frozen=True)
class Picture:
    """A decoded image, RGB, shape (size, size, 3), uint8, and what had to be done to it."""

    pixels: Bytes
    warnings: tuple[str, ...] = ()


def decode(
    content: bytes, declared: str | None, size: int, fit: str = "squash", variant: str = PLAIN
) -> Picture:
    """Decode one image file and bring the breast on it to the network's size.

    Args:
        content: the file as it was: DICOM, or anything Pillow reads.
        declared: the format somebody believes it has; only used for DICOM without a preamble.
        size: side of the result in pixels.
        fit: one of `FITS`.
        variant: `PLAIN`, or a name in `AUGMENTATIONS`.

    Returns:
        Greyscale repeated in three channels: dense tissue bright, markers taken off.

    Raises:
        Reject: with the reason, for everything that cannot be used.
    """
    if not content:
        raise Reject(EMPTY)
    try:
        if content[128:132] == b"DICM" or declared == "dicom":
            from mammotrain.dicom import decode_dicom

            grey = decode_dicom(content, size)
        else:
            grey = _decode_plain(content, size)
        picture, box, warnings = tidy(grey)
        return Picture(_to_size(picture, box, size, fit, variant), tuple(warnings))
    except Reject:
        raise
    except MemoryError as error:
        raise Reject(NO_MEMORY) from error
    except Exception as error:  # decoders raise nearly anything; their text may quote the file
        raise Reject(f"unreadable ({type(error).__name__})") from error


def _decode_plain(content: bytes, size: int) -> Floats:
    """Decode with Pillow; returns grey values from 0 to 1."""
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # our own limit, below, is a reject instead of a warning
    try:
        image: Image.Image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError as error:
        raise Reject("not an image of a known format") from error
    check_shape(image.height, image.width)
    if getattr(image, "n_frames", 1) > 1:
        raise Reject("several frames")
    with slot(image.height, image.width):
        try:
            image.load()
        except (OSError, SyntaxError, EOFError) as error:
            raise Reject("truncated or damaged") from error
        grey = _grey(image, shrink_step(image.height, image.width, size))
    if float(grey.min()) == float(grey.max()):
        raise Reject("one grey value only")
    return grey


def _grey(image: Any, step: int) -> Floats:
    from PIL import ImageOps

    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        values = np.asarray(image)
        return shrink(values, step, stretched(float(values.min()), float(values.max())))
    if image.mode in ("LA", "La"):
        image = image.getchannel(0)
    if image.mode in ("1", "L"):
        return shrink(np.asarray(image.convert("L")), step, stretched(0.0, 255.0))
    return grey_of(np.asarray(image if image.mode == "RGB" else image.convert("RGB")), step)


def _to_size(picture: Floats, box: Box, size: int, fit: str, variant: str) -> Bytes:
    """Fit grey values (0 to 1) into a square of RGB uint8."""
    from PIL import Image

    if fit == "squash":
        box = Box(0, picture.shape[0], 0, picture.shape[1])
    if variant in CORNERS:
        box = corner(box, variant)
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
    if variant == "flip":
        grey = grey[:, ::-1]
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
