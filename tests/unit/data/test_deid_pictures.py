from __future__ import annotations

import io

import numpy as np
import pytest
from pictures import PLANTED, jpeg, pgm, pixels, png, tiff
from PIL import Image, ImageOps

from mammoctl.data.deid import clean

WIDE = pixels(3, np.uint16, 60000)


def cleaned(content: bytes) -> bytes:
    result = clean(content, key=b"k" * 32, patient="abc")
    assert result.reject == ""
    return result.content


def shown(content: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(content))
    image.load()
    return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize(
    "content",
    [
        jpeg(),
        jpeg(progressive=True),
        jpeg(orientation=6),
        png(pixels()),
        png(WIDE),
        png(pixels(), orientation=3),
        png(np.dstack([pixels(n) for n in range(3)])),
        tiff(pixels()),
        tiff(WIDE),
        tiff(pixels().astype(np.float32) / 7),
        pgm(pixels()),
        pgm(WIDE),
    ],
)
def test_pixels_stay_and_names_go(content: bytes) -> None:
    assert PLANTED.encode() in content
    result = cleaned(content)
    assert PLANTED.encode() not in result
    image = Image.open(io.BytesIO(result))
    image.load()
    assert PLANTED not in str(image.info) + str(dict(image.getexif()))
    before, after = shown(content), shown(result)
    assert before.dtype.kind == after.dtype.kind
    assert np.array_equal(before, after)


def test_cleaning_again_changes_nothing() -> None:
    for content in (jpeg(orientation=6), png(WIDE, orientation=3), tiff(WIDE), pgm(WIDE)):
        assert cleaned(cleaned(content)) == cleaned(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (PLANTED.encode() * 50, "not an image of a known format"),
        (b"\xff\xd8\xff" + PLANTED.encode() * 50, "truncated or damaged"),
        (jpeg()[:120], "truncated or damaged"),
        (png(WIDE)[:2000], "truncated or damaged"),
        (tiff(WIDE)[:1000], "truncated or damaged|not an image"),
        (pgm(WIDE)[:2000], "truncated or damaged"),
        (b"P5 0 5 255\n", "truncated or damaged"),
        (b"P5 99999 99999 255\n", "more than 120 million pixels"),
    ],
)
def test_what_cannot_be_cleaned_does_not_travel(content: bytes, reason: str) -> None:
    result = clean(content, key=b"k" * 32, patient="abc")
    assert result.content == b""
    assert result.reject in reason.split("|") or any(
        result.reject.startswith(word) for word in reason.split("|")
    )


def test_a_pgm_of_digits_and_one_with_a_tail() -> None:
    digits = f"P2\n# {PLANTED}\n2 2\n255\n0 9 200 255\n".encode()
    assert shown(cleaned(digits)).tolist() == [[0, 9], [200, 255]]
    tail = b"P5 2#" + PLANTED.encode() + b"\n 2 100 abcd" + PLANTED.encode()
    assert cleaned(tail) == b"P5\n2 2\n100\nabcd"
    assert np.array_equal(shown(cleaned(tail)), shown(tail))


def test_several_frames_in_one_file_are_not_reduced_to_one() -> None:
    buffer = io.BytesIO()
    frames = [Image.fromarray(pixels(n)) for n in range(2)]
    frames[0].save(buffer, format="TIFF", save_all=True, append_images=frames[1:])
    assert clean(buffer.getvalue(), key=b"k", patient="p").reject == "several frames"


def test_a_cut_scan_stays_cut() -> None:
    """The cluster must find it truncated: nothing may make it look complete."""
    content = jpeg()
    scan = content.index(b"\xff\xda")
    result = cleaned(content[: scan + 200])
    with pytest.raises(OSError, match="truncated"):
        shown(result)
