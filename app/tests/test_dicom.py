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


def lut(data, descriptor, vr="OW"):
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

    item = Dataset()
    item.LUTDescriptor = descriptor
    item.add(DataElement("LUTData", vr, data))
    return item


RAMP = np.repeat(np.arange(8, 24, dtype=np.uint16), 16).reshape(16, 16)  # values 8 to 23


def looked_up(item, values=(0, 10, 11, 12, 13, 40), **how):
    from mammotrain.luts import lookup

    found = lookup(item, **{"signed": False, "big": False, **how})
    return None if found is None else found(np.array(values)).tolist()


def test_tables_by_hand():
    """Four entries for the values 10 to 13; those outside give the first and the last."""
    expected = [5, 5, 250, 130, 40, 40]
    packed = bytes([5, 250, 130, 40])
    words = np.array([5, 250, 130, 40], "<u2").tobytes()
    assert looked_up(lut(packed, [4, 10, 8])) == expected
    assert looked_up(lut(words, [4, 10, 8])) == expected
    assert looked_up(lut([5, 250, 130, 40], [4, 10, 8], "US")) == expected
    assert looked_up(lut([5 + 256 * 250, 130 + 256 * 40], [4, 10, 8], "US")) == expected
    assert looked_up(lut(packed[:3] + b"\0", [3, 10, 8])) == [5, 5, 250, 130, 130, 130]
    swapped = np.array([5, 250, 130, 40], ">u2").tobytes()
    assert looked_up(lut(swapped, [4, 10, 16]), big=True) == expected
    wide = np.array([0, 1000, 60000, 65535], "<u2").tobytes()
    assert looked_up(lut(wide, [4, 10, 16])) == [0, 0, 1000, 60000, 65535, 65535]
    below = lut(wide, [4, 65536 - 2, 16])  # first mapped: -2, written unsigned
    assert looked_up(below, (-5, -2, -1, 0, 1, 9), signed=True) == [0, 0, 1000, 60000, 65535, 65535]
    whole = np.arange(65536, dtype="<u2").tobytes()
    assert looked_up(lut(whole, [0, 0, 16]), (0, 7, 65535)) == [0, 7, 65535]
    for broken in (lut(packed, [9, 10, 8]), lut(packed, [4, 10, 16]), lut(packed, [4, 10])):
        assert looked_up(broken) is None


@pytest.mark.parametrize("packed", [True, False])
def test_a_voi_lut_of_8_bits_does_not_wrap(packed):
    """300 entries: what is looked up with 8 bits starts again at 256."""
    values = (np.arange(64 * 64) % 300).reshape(64, 64).astype(np.uint16)
    table = (np.arange(300) * 255 // 299).astype(np.uint8)
    data = table.tobytes() if packed else table.astype("<u2").tobytes()
    shown = grey(dicom(values, VOILUTSequence=[lut(data, [300, 0, 8])]))
    assert np.array_equal(shown, table[values])


def test_a_broken_voi_lut_gives_way_to_the_window():
    window = {"WindowCenter": "2048", "WindowWidth": "1024"}
    broken = lut(b"\1\2", [4096, 0, 16])
    assert np.array_equal(
        grey(dicom(WIDE, VOILUTSequence=[broken], **window)), grey(dicom(WIDE, **window))
    )


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("how", ["window", "lut", "stretch"])
def test_padding_is_black_however_the_picture_is_shown(photometric, how):
    padded = WIDE.copy()
    padded[:10], padded[10:12] = 65535, 65000
    table = np.arange(65536, dtype="<u2").tobytes()
    tags = {
        "window": {"WindowCenter": "2048", "WindowWidth": "4000"},
        "lut": {"VOILUTSequence": [lut(table, [0, 0, 16])]},
        "stretch": {},
    }[how]
    tags["PhotometricInterpretation"] = photometric
    shown = decoded(
        dicom(padded, PixelPaddingValue=65535, PixelPaddingRangeLimit=65000, **tags), 64
    )
    assert shown[:12].max() == 0
    assert np.allclose(shown[12:], decoded(dicom(WIDE[12:], **tags), 64), atol=1e-6)


def decoded(content, size):
    from mammotrain.dicom import decode_dicom

    return decode_dicom(content, size)


def test_padding_of_signed_pixels_may_be_written_unsigned():
    signed = WIDE.astype(np.int16)
    signed[:10] = -2000
    import io

    import pydicom

    file = pydicom.dcmread(io.BytesIO(dicom(signed.view(np.uint16), PixelRepresentation=1)))
    file.add_new("PixelPaddingValue", "US", 65536 - 2000)
    buffer = io.BytesIO()
    file.save_as(buffer)
    shown = decoded(buffer.getvalue(), 64)
    assert shown[:10].max() == 0
    assert shown[10:].max() == 1


def test_a_window_beside_the_data_is_ignored_beside_padding_too():
    padded = WIDE.copy()
    padded[:10] = 65535
    tags = {"PixelPaddingValue": 65535}
    beside = dicom(padded, WindowCenter="10", WindowWidth="5", **tags)
    assert np.array_equal(decoded(beside, 64), decoded(dicom(padded, **tags), 64))


def test_a_modality_lut_comes_first():
    table = np.array([0, 40, 90, 100], "<u2").tobytes()
    item = lut(table, [4, 8, 16])
    item.ModalityLUTType = "US"
    shown = decoded(dicom(RAMP, ModalityLUTSequence=[item], RescaleSlope="9"), 64)
    assert shown[:5, 0].tolist() == pytest.approx([0, 0.4, 0.9, 1, 1])


def test_a_large_picture_is_made_smaller_by_averages_after_the_window():
    values = np.kron(WIDE, np.ones((8, 8), np.uint16))
    values[::2] += 4
    window = {"WindowCenter": "2048", "WindowWidth": "1024"}
    small, large = decoded(dicom(values, **window), 32), decoded(dicom(values, **window), 512)
    assert large.shape == (512, 512)
    assert small.shape == (128, 128)
    assert np.allclose(small, large.reshape(128, 4, 128, 4).mean(axis=(1, 3)), atol=1e-6)
