"""Other pictures, written anew from their pixels: nothing but the pixels can be left."""

from __future__ import annotations

import io
from typing import Any

from mammoctl.data.deid import Unusable

MAX_PIXELS = 120_000_000
"""A mammogram has up to 30 million pixels; a file that claims more than this is not unpacked."""

_AS_PNG = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


def _open(content: bytes) -> Any:
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # our own limit is a reject instead of a warning
    try:
        return Image.open(io.BytesIO(content))
    except UnidentifiedImageError as error:
        raise Unusable("not an image of a known format") from error


def within_limit(width: int, height: int) -> None:
    """Refuse a picture of more than `MAX_PIXELS`."""
    if width * height > MAX_PIXELS:
        raise Unusable(f"more than {MAX_PIXELS // 1_000_000} million pixels")


def orientation(content: bytes) -> int:
    """Return how the picture is to be turned (Exif, 1 to 8; 1 leaves it as it is)."""
    try:
        value = _open(content).getexif().get(0x0112, 1)
    except Exception:  # damaged metadata are no reason to refuse a picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def rewrite(content: bytes) -> bytes:
    """Decode a picture with Pillow and write its pixels as PNG, or as TIFF where PNG cannot.

    Raises:
        Unusable: not a picture, several in one, too large, or damaged.
    """
    from PIL import Image, ImageOps

    image = _open(content)
    within_limit(image.width, image.height)
    if getattr(image, "n_frames", 1) > 1:
        raise Unusable("several frames")
    try:
        image.load()
    except (OSError, SyntaxError, EOFError) as error:
        raise Unusable("truncated or damaged") from error
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = image.convert("I;16") if image.mode != "I;16" else image
    elif image.mode not in _AS_PNG and image.mode not in ("I", "F"):
        image = image.convert("RGB")
    bare = Image.frombytes(image.mode, image.size, image.tobytes())
    if image.mode == "P":
        bare.putpalette(image.getpalette("RGB") or b"", "RGB")
    buffer = io.BytesIO()
    if bare.mode in _AS_PNG:
        bare.save(buffer, format="PNG", compress_level=1)
    else:
        bare.save(buffer, format="TIFF", compression="tiff_deflate")
    return buffer.getvalue()
