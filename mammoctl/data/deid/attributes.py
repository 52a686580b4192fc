"""The attributes of a DICOM file that may travel, each with what its value may be.

PS3.15 annex E lists what has to go; this lists what may stay. What is not named here is dropped,
free text and names of persons are not named here at all, and a value that breaks its rule is
dropped as well. Words come from short lists, because a code string can hold a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mammoctl.data.about import VIEWS


@dataclass(frozen=True, slots=True)
class Words:
    """A value, or several, from a list; in capitals."""

    allowed: frozenset[str]


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers in whatever representation; written back from their values. At most `count`."""

    count: int = 64


@dataclass(frozen=True, slots=True)
class Table:
    """A look-up table: words of 16 bits, as many as its descriptor says.

    Attributes:
        descriptor: keyword of the attribute whose first number is the length.
    """

    descriptor: str


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence whose items have rules of their own."""

    rules: Mapping[str, Rule] = field(default_factory=dict)


class Uid:
    """A unique identifier: replaced, unless it is one that the standard defines."""


class Date:
    """A date: moved by the patient's shift."""


class Age:
    """An age in years: 90 for all that are older."""


Rule = Words | Numbers | Table | Items | type[Uid] | type[Date] | type[Age]


def _words(*allowed: str) -> Words:
    return Words(frozenset(allowed))


NUMBERS = Numbers()
YES_NO = _words("YES", "NO")
LUT: dict[str, Rule] = {"LUTDescriptor": Numbers(3), "LUTData": Table("LUTDescriptor")}

RULES: dict[str, Rule] = {
    "SOPClassUID": Uid,
    "SOPInstanceUID": Uid,
    "StudyInstanceUID": Uid,
    "SeriesInstanceUID": Uid,
    "FrameOfReferenceUID": Uid,
    "StudyDate": Date,
    "SeriesDate": Date,
    "AcquisitionDate": Date,
    "ContentDate": Date,
    "PatientAge": Age,
    "PatientSex": _words("F", "M", "O"),
    "Modality": _words("MG", "CR", "DX", "DR", "CT", "MR", "US", "OT", "SC"),
    "PresentationIntentType": _words("FOR PRESENTATION", "FOR PROCESSING"),
    "ImageLaterality": _words("L", "R", "B"),
    "Laterality": _words("L", "R", "B"),
    "ViewPosition": Words(VIEWS),
    "BodyPartExamined": _words("BREAST"),
    "BreastImplantPresent": YES_NO,
    "BurnedInAnnotation": YES_NO,
    "LossyImageCompression": _words("00", "01"),
    "PixelIntensityRelationship": _words("LIN", "LOG", "DISP"),
    "PixelIntensityRelationshipSign": NUMBERS,
    "SamplesPerPixel": NUMBERS,
    "PhotometricInterpretation": _words(
        *("MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR"),
        *("YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"),
    ),
    "PlanarConfiguration": NUMBERS,
    "NumberOfFrames": NUMBERS,
    "Rows": NUMBERS,
    "Columns": NUMBERS,
    "BitsAllocated": NUMBERS,
    "BitsStored": NUMBERS,
    "HighBit": NUMBERS,
    "PixelRepresentation": NUMBERS,
    "PixelPaddingValue": NUMBERS,
    "PixelPaddingRangeLimit": NUMBERS,
    "PixelAspectRatio": NUMBERS,
    "PixelSpacing": NUMBERS,
    "ImagerPixelSpacing": NUMBERS,
    "EstimatedRadiographicMagnificationFactor": NUMBERS,
    "BodyPartThickness": NUMBERS,
    "CompressionForce": NUMBERS,
    "KVP": NUMBERS,
    "RescaleSlope": NUMBERS,
    "RescaleIntercept": NUMBERS,
    "RescaleType": _words("US", "OD", "HU", "OD_REL", "PVAL"),
    "WindowCenter": NUMBERS,
    "WindowWidth": NUMBERS,
    "VOILUTFunction": _words("LINEAR", "LINEAR_EXACT", "SIGMOID"),
    "PresentationLUTShape": _words("IDENTITY", "INVERSE"),
    "VOILUTSequence": Items(LUT),
    "ModalityLUTSequence": Items(
        {**LUT, "ModalityLUTType": _words("US", "OD", "HU", "OD_REL", "PVAL")}
    ),
    "RedPaletteColorLookupTableDescriptor": Numbers(3),
    "GreenPaletteColorLookupTableDescriptor": Numbers(3),
    "BluePaletteColorLookupTableDescriptor": Numbers(3),
    "RedPaletteColorLookupTableData": Table("RedPaletteColorLookupTableDescriptor"),
    "GreenPaletteColorLookupTableData": Table("GreenPaletteColorLookupTableDescriptor"),
    "BluePaletteColorLookupTableData": Table("BluePaletteColorLookupTableDescriptor"),
}

VIEW_CODES = {
    # SNOMED CT and its older codes (PS3.16 CID 4014)
    **dict.fromkeys(("399162004", "R-10242"), "CC"),
    **dict.fromkeys(("399368009", "R-10226"), "MLO"),
    **dict.fromkeys(("399260004", "R-10224"), "ML"),
    **dict.fromkeys(("399352003", "R-10228"), "LM"),
}
