import numpy as np
import pytest
from mammotrain.decode import Reject, decode
from packing import dicom, phantom

WIDE = phantom(3, malignant=True).astype(np.uint16) * 16


def grey(content, declared="dicom"):
    result = decode(content, declared, 64).pixels
    assert result.shape == (64, 64, 3)
    return result[:, :, 0].astype(int)


def test_without_a_window_the_whole_range_is_shown():
    shown = grey(dicom(WIDE))
    expected = (WIDE - WIDE.min()) / (WIDE.max() - WIDE.min()) * 255
    assert np.abs(shown - expected).max() <= 0.51


def test_monochrome1_is_inverted():
    inverse = WIDE.max() - WIDE + WIDE.min()
    shown = grey(dicom(inverse, PhotometricInterpretation="MONOCHROME1"))
    assert np.abs(shown - grey(dicom(WIDE))).max() <= 1


def test_linear_window_follows_the_standard():
    shown = grey(dicom(WIDE, WindowCenter="2048", WindowWidth="1024"))
    expected = np.clip((WIDE - 2047.5) / 1023 + 0.5, 0, 1) * 255
    assert np.abs(shown - expected).max() <= 0.51


def test_the_first_of_several_windows_is_used():
    one = grey(dicom(WIDE, WindowCenter="2048", WindowWidth="1024"))
    two = grey(dicom(WIDE, WindowCenter=["2048", "100"], WindowWidth=["1024", "10"]))
    assert np.array_equal(one, two)


def test_sigmoid_window():
    tags = {"WindowCenter": "2048", "WindowWidth": "1024", "VOILUTFunction": "SIGMOID"}
    expected = 255 / (1 + np.exp(-4 * (WIDE.astype(float) - 2048) / 1024))
    assert np.abs(grey(dicom(WIDE, **tags)) - expected).max() <= 0.51


def test_rescale_comes_before_the_window():
    plain = grey(dicom(WIDE, WindowCenter="2048", WindowWidth="1024"))
    tags = {"RescaleSlope": "2", "RescaleIntercept": "-1000"}
    shown = grey(dicom(WIDE, WindowCenter="3096.5", WindowWidth="2047", **tags))
    assert np.abs(shown - plain).max() <= 1


def test_a_window_that_shows_nothing_is_ignored():
    shown = grey(dicom(WIDE, WindowCenter="60000", WindowWidth="10"))
    assert np.array_equal(shown, grey(dicom(WIDE)))


def test_padding_is_background_and_does_not_take_part_in_the_stretch():
    padded = WIDE.copy()
    padded[:10] = 65535
    shown = grey(dicom(padded, PixelPaddingValue=65535))
    assert shown[:10].max() == 0
    assert shown[10:].max() == 255


def test_a_file_without_preamble_is_read_where_dicom_was_declared():
    bare = dicom(WIDE, preamble=False)
    assert np.array_equal(grey(bare), grey(dicom(WIDE)))
    with pytest.raises(Reject, match="not an image of a known format"):
        decode(bare, "unknown", 64)


def test_a_voi_lut_comes_before_the_window():
    from pydicom.dataset import Dataset

    item = Dataset()
    table = (65535 * np.linspace(0, 1, 4096) ** 2).astype("<u2")
    item.LUTDescriptor, item.LUTData = [4096, 0, 16], table.tobytes()
    item["LUTData"].VR = "OW"
    shown = grey(
        dicom(WIDE, VOILUTSequence=[item], WindowCenter="60000", WindowWidth="10", BitsStored=16)
    )
    values = table[WIDE].astype(float)
    expected = (values - values.min()) / (values.max() - values.min()) * 255
    assert np.abs(shown - expected).max() <= 1


@pytest.mark.parametrize("syntax", ["JPEGBaseline8Bit", "JPEG2000Lossless", "RLELossless"])
def test_compressed_pixels(syntax):
    import io

    from PIL import Image
    from pydicom import uid
    from pydicom.encaps import encapsulate

    pixels = phantom(3, malignant=True)
    content = dicom(pixels)
    if syntax == "RLELossless":
        content = transcoded(content, None, uid.RLELossless)
    else:
        buffer = io.BytesIO()
        name = {"JPEGBaseline8Bit": "JPEG", "JPEG2000Lossless": "JPEG2000"}[syntax]
        options = {"quality": 95} if name == "JPEG" else {"no_jp2": True}
        Image.fromarray(pixels).save(buffer, name, **options)
        content = transcoded(content, encapsulate([buffer.getvalue()]), getattr(uid, syntax))
    expected = grey(dicom(pixels))
    assert np.abs(grey(content) - expected).mean() < 3


def transcoded(content, coded, syntax):
    """The same file with its pixels in another transfer syntax."""
    import io

    import pydicom

    dataset = pydicom.dcmread(io.BytesIO(content))
    if coded is None:
        dataset.compress(syntax)
    else:
        dataset.PixelData = coded
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_colours_in_dicom_are_rejected_and_grey_captures_are_not():
    pixels = phantom(3, malignant=True)
    tags = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}

    def capture(array):
        made = dicom(pixels, PixelData=array.tobytes(), **tags)
        return decode(made, "dicom", 64)

    shown = capture(np.dstack([pixels] * 3)).pixels[:, :, 0].astype(int)
    assert np.abs(shown - grey(dicom(pixels))).max() <= 2
    with pytest.raises(Reject, match="a colour picture"):
        capture(np.dstack([pixels, pixels // 2, pixels // 4]))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (dicom(WIDE, drop=("PixelData",)), "DICOM without pixel data"),
        (dicom(WIDE)[:2000], "DICOM without pixel data|truncated or damaged"),
        (dicom(np.full((64, 64), 9, np.uint16)), "one grey value only"),
        (dicom(WIDE[:4, :4]), "smaller than 16 pixels"),
        (dicom(WIDE, NumberOfFrames="3"), "several frames"),
        (dicom(WIDE, PhotometricInterpretation="NONSENSE"), "unknown photometric"),
        (b"\0" * 128 + b"DICM" + b"Secret^Person" * 9, "."),
    ],
)
def test_rejects_quote_nothing(content, reason):
    with pytest.raises(Reject, match=reason) as caught:
        decode(content, "dicom", 64)
    assert "Secret" not in str(caught.value)
