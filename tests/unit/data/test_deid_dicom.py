from __future__ import annotations

import io
import logging
import warnings
from typing import Any

import numpy as np
import pydicom
import pytest
from pictures import PLANTED, jpeg, pixels
from pydicom import uid
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from mammoctl.data.deid import Cleaned, clean
from mammoctl.data.deid.dicom import _quiet, patient_of

KEY = b"k" * 32
WIDE = pixels(1, np.uint16, 4096)
TEXT = {
    *("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT"),
    *("PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"),
}
PIXEL_MODULE = {
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "PixelData"),
}


def dataset(array: np.ndarray = WIDE, **tags: Any) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    made.SOPClassUID = uid.DigitalMammographyXRayImageStorageForPresentation
    made.SOPInstanceUID, made.StudyInstanceUID = "1.2.3.4", "1.2.3"
    made.PatientName, made.PatientID = "Planted^Name", "4711"
    made.Rows, made.Columns = array.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = array.dtype.itemsize * 8
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, int(array.dtype.kind == "i")
    made.PixelData = array.tobytes()
    for name, value in tags.items():
        setattr(made, name, value)
    return made


def written(made: Dataset) -> bytes:
    buffer = io.BytesIO()
    with pydicom.config.disable_value_validation():
        pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()


def cleaned(made: Dataset | bytes, patient: str = "p1") -> Cleaned:
    content = made if isinstance(made, bytes) else written(made)
    result = clean(content, key=KEY, patient=patient)
    assert result.reject == ""
    return result


def read(result: Cleaned) -> Dataset:
    return pydicom.dcmread(io.BytesIO(result.content))


def planted() -> tuple[bytes, int]:
    """A file with the name in every tag of the dictionary; a name of each kind in each sequence."""
    made, inner = dataset(), Dataset()
    kinds_seen = set()
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        kind = vr.split(" or ")[0]
        if tag >> 16 <= 2 or keyword in PIXEL_MODULE or not keyword:
            continue
        if kind in TEXT:
            element = DataElement(tag, "LO", PLANTED)  # whatever it should have been
        elif "OW" in vr or kind in ("OB", "UN"):
            element = DataElement(tag, "OB", PLANTED.encode())
        else:
            continue
        made.add(element)
        if kind not in kinds_seen:
            inner.add(element)
        kinds_seen.add(kind)
    assert kinds_seen >= TEXT | {"OB", "OW", "UN"}
    deep = Dataset()
    deep.add(DataElement("PatientName", "PN", PLANTED))
    deep.add(DataElement("ReferencedImageSequence", "SQ", Sequence([inner])))
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if vr == "SQ" and keyword:
            made.add(DataElement(tag, "SQ", Sequence([deep])))
    for group in (0x0019, 0x6000, 0x6002, 0x5000):
        made.add(DataElement((group, 0x0010), "LO", PLANTED))
        made.add(DataElement((group, 0x1001), "LO", PLANTED))
    made.add(DataElement((0x6000, 0x3000), "OW", PLANTED.encode()))
    made.file_meta.SourceApplicationEntityTitle = PLANTED
    made.file_meta.PrivateInformationCreatorUID = "1.2.3"
    made.file_meta.PrivateInformation = PLANTED.encode()
    made.PixelData += PLANTED.encode()
    content = written(made)
    return PLANTED.encode().ljust(128, b" ") + content[128:], len(made)


@pytest.fixture(scope="module")
def everywhere() -> tuple[bytes, int, Cleaned]:
    content, tags = planted()
    return content, tags, cleaned(content)


def test_a_name_in_every_tag_and_sequence_is_gone(
    everywhere: tuple[bytes, int, Cleaned],
) -> None:
    content, tags, result = everywhere
    assert tags > 3500
    assert content.count(PLANTED.encode()) > 10_000
    assert PLANTED.encode() not in result.content
    assert PLANTED not in str(result.about.view + result.about.laterality + result.about.age)
    assert np.array_equal(read(result).pixel_array, WIDE)


# pydicom refuses to write a name as a number; the test above hides it in another type
@pytest.mark.parametrize("vr", sorted(TEXT - {"DS", "IS", "PN"}))
def test_a_name_in_an_allowed_attribute_is_gone_too(vr: str) -> None:
    from mammoctl.data.deid.attributes import RULES

    made = dataset()
    for keyword in RULES:
        if keyword not in PIXEL_MODULE:
            made.add(DataElement(pydicom.tag.Tag(keyword), vr, PLANTED))
    assert PLANTED.encode() not in cleaned(made).content


def test_only_attributes_of_the_list_are_left(everywhere: tuple[bytes, int, Cleaned]) -> None:
    from mammoctl.data.deid.attributes import RULES

    added = {
        *("PatientID", "PatientName", "PatientIdentityRemoved", "DeidentificationMethod"),
        *("LongitudinalTemporalInformationModified", "PixelData"),
    }
    left = {keyword_for_tag(element.tag) for element in read(everywhere[2])}
    assert left <= set(RULES) | added


def test_what_the_picture_needs_is_kept() -> None:
    item = Dataset()
    table = np.array([0, 100, 200, 65535], "<u2").tobytes()
    item.LUTDescriptor = [4, 0, 16]
    item.add(DataElement("LUTData", "OW", table + PLANTED.encode()))
    item.LUTExplanation = PLANTED
    made = dataset(
        **{"WindowCenter": ["2048", "100"], "WindowWidth": ["1024", "10"]},
        **{"VOILUTFunction": "SIGMOID", "RescaleSlope": "1.5", "RescaleIntercept": "-1000"},
        **{"PixelPaddingValue": 65535, "ImagerPixelSpacing": ["0.07", "0.07"]},
        **{"ViewPosition": "MLO", "ImageLaterality": "L", "PatientAge": "057Y"},
        VOILUTSequence=[item],
    )
    left = read(cleaned(made))
    assert (list(left.WindowCenter), list(left.WindowWidth)) == ([2048, 100], [1024, 10])
    assert (left.VOILUTFunction, left.RescaleSlope, left.RescaleIntercept) == (
        "SIGMOID",
        1.5,
        -1000,
    )
    assert left.PixelPaddingValue == 65535
    assert list(left.ImagerPixelSpacing) == [0.07, 0.07]
    assert left.VOILUTSequence[0].LUTData == table
    assert "LUTExplanation" not in left.VOILUTSequence[0]
    assert (left.ViewPosition, left.ImageLaterality, left.PatientAge) == ("MLO", "L", "057Y")
    assert left.PatientIdentityRemoved == "YES"
    assert left.PatientID == "p1"


def test_identifiers_are_replaced_consistently() -> None:
    one = read(cleaned(dataset()))
    two = read(cleaned(dataset(SOPInstanceUID="1.2.3.5")))
    assert one.SOPInstanceUID == one.file_meta.MediaStorageSOPInstanceUID
    assert one.SOPInstanceUID.startswith("2.25.")
    assert one.SOPInstanceUID.is_valid
    assert one.StudyInstanceUID == two.StudyInstanceUID != "1.2.3"
    assert one.SOPInstanceUID != two.SOPInstanceUID
    assert one.SOPClassUID == uid.DigitalMammographyXRayImageStorageForPresentation
    other = clean(written(dataset()), key=b"l" * 32, patient="p1")
    assert read(other).SOPInstanceUID != one.SOPInstanceUID


def test_dates_of_a_patient_keep_their_distance() -> None:
    from mammoctl.data.deid.dicom import _date

    dates = {"StudyDate": "20200301", "SeriesDate": "20200229", "PatientBirthDate": "19500601"}

    def moved(patient: str, **more: str) -> Dataset:
        return read(cleaned(dataset(**{**dates, **more}), patient))

    one = moved("p1")
    first, second = _date(one.StudyDate), _date(one.SeriesDate)
    assert first is not None
    assert second is not None
    assert (first - second).days == 1
    assert one.StudyDate != "20200301"
    assert moved("p1").StudyDate == one.StudyDate != moved("p2").StudyDate
    assert "PatientBirthDate" not in one
    assert one.PatientAge == "069Y"
    assert moved("p1", PatientBirthDate="19200101").PatientAge == "090Y"


def test_overlays_in_unused_bits_are_cleared_and_signs_kept() -> None:
    hidden = (WIDE & 0x0FFF) | 0x8000
    made = dataset(hidden, BitsStored=12, HighBit=11)
    left = read(cleaned(made))
    assert not (np.frombuffer(left.PixelData, "<u2") & 0xF000).any()
    assert np.array_equal(left.pixel_array, WIDE & 0x0FFF)
    signed = (WIDE.astype(np.int16) - 2048).astype(np.int16)
    left = read(cleaned(dataset(signed, BitsStored=12, HighBit=11)))
    assert np.array_equal(left.pixel_array, signed)


def test_names_inside_coded_frames_are_gone() -> None:
    frame = jpeg()
    made = dataset(pixels())
    made.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    made.PixelData = encapsulate([frame])
    made["PixelData"].VR = "OB"
    result = cleaned(made)
    assert PLANTED.encode() not in result.content
    assert np.array_equal(
        read(result).pixel_array, pydicom.dcmread(io.BytesIO(written(made))).pixel_array
    )


def test_comments_in_jpeg_2000_are_blanked() -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels()).save(buffer, "JPEG2000", no_jp2=True, comment=PLANTED)
    made = dataset(pixels())
    made.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
    made.PixelData = encapsulate([buffer.getvalue() + PLANTED.encode()])
    made["PixelData"].VR = "OB"
    assert PLANTED.encode() in buffer.getvalue()
    result = cleaned(made)
    assert PLANTED.encode() not in result.content
    assert np.array_equal(read(result).pixel_array, pixels())


def test_burned_in_text_is_flagged() -> None:
    assert cleaned(dataset()).warnings == ()
    assert cleaned(dataset(BurnedInAnnotation="YES")).warnings == ("burned-in annotation declared",)
    captured = dataset(SOPClassUID=uid.SecondaryCaptureImageStorage)
    assert "possible" in cleaned(captured).warnings[0]
    captured.BurnedInAnnotation = "NO"
    assert cleaned(captured).warnings == ()


def test_what_the_header_tells_in_words_from_lists() -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "399162004", "SCT", PLANTED
    made = dataset(ViewCodeSequence=[code], Laterality="R", PatientAge="093Y", Manufacturer="ACME")
    about = cleaned(made).about
    assert (about.view, about.laterality, about.age) == ("CC", "R", "90")
    assert about.machine == "ACME|"
    assert cleaned(dataset(ViewPosition=PLANTED)).about.view == ""


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (b"\0" * 128 + b"DICM" + PLANTED.encode() * 20, "."),
        (written(dataset())[:400], "DICOM without pixel data"),
        (written(dataset(PixelData=b"")), ""),
    ],
)
def test_damaged_files_travel_without_content_or_without_names(made: bytes, reason: str) -> None:
    result = clean(made, key=KEY, patient="p1")
    assert PLANTED.encode() not in result.content
    assert PLANTED not in result.reject
    if reason:
        assert result.content == b""
        assert reason in (".", result.reject)


def test_several_frames_do_not_travel() -> None:
    made = dataset()
    made.NumberOfFrames, made.PixelData = 3, WIDE.tobytes() * 3
    result = clean(written(made), key=KEY, patient="p")
    assert (result.content, result.reject) == (b"", "several frames")


def test_the_header_tells_the_patient() -> None:
    assert patient_of(written(dataset())) == "4711"
    assert patient_of(written(dataset(PatientID=" 4711 "))) == "4711"
    assert patient_of(written(dataset(PatientID=""))) == ""
    assert patient_of(b"\0" * 128 + b"DICM" + PLANTED.encode() * 20) == ""
    assert patient_of(b"no DICOM at all") == ""


def test_video_is_refused() -> None:
    made = dataset()
    made.file_meta.TransferSyntaxUID = uid.MPEG2MPML
    made.PixelData = encapsulate([b"\0" * 100])
    made["PixelData"].VR = "OB"
    assert "cannot be de-identified" in clean(written(made), key=KEY, patient="p").reject


def test_a_file_without_preamble_is_cleaned_where_its_name_allows() -> None:
    made = dataset()
    buffer = io.BytesIO()
    bare = Dataset(dict(made.items()))
    pydicom.dcmwrite(buffer, bare, implicit_vr=True, little_endian=True)
    content = buffer.getvalue()
    result = clean(content, key=KEY, patient="p1", dicom_name=True)
    assert result.content[128:132] == b"DICM"
    assert np.array_equal(read(result).pixel_array, WIDE)
    assert clean(content, key=KEY, patient="p1").reject == "not an image of a known format"


def test_no_thread_that_ends_lets_the_others_quote_values() -> None:
    logger, settings = logging.getLogger("pydicom"), pydicom.config.settings
    before = (logger.level, settings.reading_validation_mode, settings.writing_validation_mode)
    first, second = _quiet(), _quiet()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        warnings.warn(PLANTED, stacklevel=1)
        assert told == []
        assert logger.level == logging.CRITICAL
        assert settings.reading_validation_mode == pydicom.config.IGNORE
        second.__exit__(None, None, None)
    after = (logger.level, settings.reading_validation_mode, settings.writing_validation_mode)
    assert after == before
