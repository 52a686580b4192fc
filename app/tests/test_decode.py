import io
import time

import numpy as np
import pytest
from mammotrain.decode import AUGMENTATIONS, Reject, check_checksum, decode
from packing import dicom, encode, phantom
from PIL import Image

PIXELS = phantom(1, malignant=True)


def reference(size=32):
    """Resized in floating point: rounded once, at the end."""
    image = Image.fromarray(PIXELS.astype(np.float32))
    return np.rint(np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)))


@pytest.mark.parametrize("name", ["PNG", "PPM", "TIFF", "BMP"])
def test_lossless_formats_give_the_same_pixels(name):
    result = decode(encode(PIXELS, name), None, 32).pixels
    assert result.shape == (32, 32, 3)
    assert result.dtype == np.uint8
    assert np.array_equal(result, np.repeat(reference()[:, :, None], 3, axis=2))


def test_jpeg_is_close():
    result = decode(encode(PIXELS, "JPEG", quality=95), "jpeg", 32).pixels
    assert np.abs(result[:, :, 0].astype(int) - reference()).mean() < 2


def test_the_declared_format_is_not_believed():
    assert np.array_equal(decode(encode(PIXELS), "jpeg", 32).pixels[:, :, 0], reference())


@pytest.mark.parametrize("name", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_stretched_to_the_full_range(name):
    # 12 bits of data in a 16-bit file: without a stretch nearly everything would be black.
    wide = PIXELS.astype(np.uint16) * 16 + 100
    result = decode(encode(wide, name), None, 64).pixels
    expected = (wide - wide.min()) / (wide.max() - wide.min()) * 255
    assert result.max() == 255
    assert result.min() == 0
    assert np.abs(result[:, :, 1] - expected).max() <= 0.51


def test_grey_in_colour_mode_is_grey_and_transparency_is_dropped():
    grey = np.dstack([PIXELS, PIXELS, PIXELS, np.full_like(PIXELS, 255)])
    for content in (encode(grey), encode(grey[:, :, :3], "JPEG", quality=95)):
        result = decode(content, None, 64).pixels
        assert np.abs(result[:, :, 1].astype(int) - PIXELS).mean() < 2


def test_pictures_of_something_else_are_rejected():
    sunset = np.dstack([PIXELS, PIXELS // 2, PIXELS // 4])
    with pytest.raises(Reject, match="a colour picture"):
        decode(encode(sunset), None, 64)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"Smith, Jane: not an image", "not an image of a known format"),
        (encode(PIXELS)[:600], "truncated or damaged"),
        (encode(PIXELS, "JPEG")[:500], "truncated or damaged"),
        (encode(PIXELS[:1, :1]), "smaller than 16 pixels"),
        (encode(np.full((64, 64), 7, np.uint8)), "one grey value only"),
        (encode(np.full((64, 64), 700, np.uint16)), "one grey value only"),
        (encode(np.full((64, 64, 3), 9, np.uint8)), "one grey value only"),
    ],
)
def test_rejects(content, reason):
    with pytest.raises(Reject, match=f"^{reason}$"):
        decode(content, "png", 32)


def test_several_frames_are_rejected():
    buffer = io.BytesIO()
    frames = [Image.fromarray(phantom(i, malignant=False)) for i in range(2)]
    frames[0].save(buffer, format="TIFF", save_all=True, append_images=frames[1:])
    with pytest.raises(Reject, match="several frames"):
        decode(buffer.getvalue(), "tiff", 32)


def test_a_bomb_is_rejected_before_it_is_unpacked(monkeypatch):
    monkeypatch.setattr("mammotrain.pixels.MAX_PIXELS", 1000)
    with pytest.raises(Reject, match="million pixels"):
        decode(encode(PIXELS), "png", 32)


def test_checksums():
    check_checksum(b"abc", "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD")
    with pytest.raises(Reject, match="checksum"):
        check_checksum(b"abd", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    with pytest.raises(Reject, match="empty"):
        check_checksum(None, None)


def test_variants_are_the_same_picture_seen_otherwise():
    content = encode(PIXELS)
    plain = decode(content, None, 32, "squash").pixels
    assert np.array_equal(decode(content, None, 32, "squash", "flip").pixels, plain[:, ::-1])
    for variant, rows, columns in (
        ("tl", slice(0, 56), slice(0, 56)),
        ("br", slice(8, 64), slice(8, 64)),
    ):
        part = decode(encode(PIXELS[rows, columns]), None, 32, "squash").pixels
        assert np.array_equal(decode(content, None, 32, "squash", variant).pixels, part)


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_every_variant_differs_from_every_other(fit):
    names = ("plain", *AUGMENTATIONS["both"])
    found = {decode(encode(PIXELS), None, 32, fit, name).pixels.tobytes() for name in names}
    assert len(found) == len(names) == 6


def peak_of(content):
    """Bytes that decoding needs at most, beside the file itself."""
    import tracemalloc

    decode(content, None, 224)  # what is imported for it does not count
    tracemalloc.start()
    try:
        decode(content, None, 224)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["dicom", "png"])
def test_a_picture_of_12_million_pixels_takes_little_memory(kind):
    grey = np.kron(phantom(3, malignant=True), np.ones((54, 54), np.uint8))
    if kind == "dicom":
        content = dicom(grey.astype(np.uint16) * 16, RescaleSlope="2", RescaleIntercept="-5")
    else:
        content = encode(np.repeat(grey[:, :, None], 3, axis=2))
    assert peak_of(content) < 120e6


def test_large_pictures_are_unpacked_one_at_a_time(monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    from mammotrain import decode as module

    inside, most = [], []

    def grey(image, step):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.05)
        inside.pop()
        return PIXELS.astype(np.float32) / 255

    monkeypatch.setattr(module, "_grey", grey)

    def together():
        most.clear()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: decode(encode(PIXELS), "png", 32), range(4)))
        return max(most)

    assert together() > 1
    monkeypatch.setattr("mammotrain.pixels.LARGE_PIXELS", 1000)
    assert together() == 1
