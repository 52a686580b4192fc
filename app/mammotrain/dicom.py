"""DICOM pixels as a radiologist's screen would show them: PS3.3 C.11.1 and C.11.2, in brief."""

from __future__ import annotations

import io
import logging
import warnings
from typing import Any

import numpy as np

from mammotrain.luts import lookup
from mammotrain.pixels import (
    Convert,
    Floats,
    Pixels,
    Reject,
    check_shape,
    grey_of,
    shrink,
    shrink_step,
    slot,
    stretched,
    strips,
)

# pydicom's warnings quote values, which may be names.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="pydicom")

KNOWN = (
    *("MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR"),
    *("YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"),
)


def decode_dicom(content: bytes, size: int) -> Floats:
    """Decode a single-frame DICOM image.

    Applied in this order: rescale or modality LUT; VOI LUT if there is one, else the first window
    (LINEAR, LINEAR_EXACT or SIGMOID), else a stretch over the values outside the padding; then
    MONOCHROME1 is inverted, so that dense tissue is bright in every result; then padding is black.

    Args:
        content: the file.
        size: side that the network takes; a picture that is much larger is made smaller here.

    Returns:
        float32, shape (rows, columns), 0 to 1.

    Raises:
        Reject: no pixels, several frames, or pixels that no installed codec reads.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        dataset = pydicom.dcmread(io.BytesIO(content), force=content[128:132] != b"DICM")
    except InvalidDicomError as error:
        raise Reject("not DICOM") from error
    if "PixelData" not in dataset or "Rows" not in dataset or "Columns" not in dataset:
        raise Reject("DICOM without pixel data")
    if int(dataset.get("NumberOfFrames", 1) or 1) > 1:
        raise Reject("several frames")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    check_shape(rows, columns)
    if "TransferSyntaxUID" not in dataset.file_meta:
        # Without a file header the standard's default transfer syntax applies.
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    photometric = str(dataset.get("PhotometricInterpretation", "")).upper()
    if photometric not in KNOWN:
        raise Reject("DICOM with an unknown photometric interpretation")
    with slot(rows, columns):
        try:
            stored = dataset.pixel_array
        except (RuntimeError, NotImplementedError, AttributeError) as error:
            raise Reject("DICOM pixels that no installed codec reads") from error
        except (ValueError, EOFError, OSError) as error:
            raise Reject("truncated or damaged") from error
        step = shrink_step(rows, columns, size)
        if photometric in ("MONOCHROME1", "MONOCHROME2"):
            return _monochrome(stored, dataset, step, inverted=photometric == "MONOCHROME1")
        return _colour(stored, dataset, photometric, step)


def _monochrome(stored: Pixels, dataset: Any, step: int, *, inverted: bool) -> Floats:
    rescale = _rescale(dataset)
    first, last = _padding(stored, dataset)

    def outside(strip: Pixels) -> Any:
        return (strip >= first) & (strip <= last)

    def span(values: Convert) -> tuple[float, float]:
        found = (values(strip[~outside(strip)]) for strip in strips(stored))
        ends = [(float(part.min()), float(part.max())) for part in found if part.size]
        return min(low for low, _ in ends), max(high for _, high in ends)

    def shown(convert: Convert) -> Floats:
        def one(strip: Pixels) -> Floats:
            grey = convert(rescale(strip))
            if inverted:
                grey = 1.0 - grey
            grey[outside(strip)] = 0.0
            return grey

        return shrink(stored, step, one)

    if voi := _voi_lut(dataset):
        table = voi
        show = stretched(*span(lambda part: table(rescale(part))))
        return shown(lambda part: show(table(part)))
    low, high = span(rescale)
    if window := _window(dataset):
        # A window beside the data shows nothing; the data may still be good.
        dark, bright = window(np.array([low, high], np.float32))
        if bright > dark:
            return shown(window)
    return shown(stretched(low, high))


def _rescale(dataset: Any) -> Convert:
    """Return the modality LUT or the rescale."""
    big = not dataset.file_meta.TransferSyntaxUID.is_little_endian
    if items := dataset.get("ModalityLUTSequence"):
        signed = dataset.get("PixelRepresentation") == 1
        if table := lookup(items[0], signed=signed, big=big):
            return table
    slope, intercept = _first(dataset.get("RescaleSlope")), _first(dataset.get("RescaleIntercept"))
    if slope is None or intercept is None or (slope == 1 and intercept == 0):
        return lambda strip: strip
    return lambda strip: strip.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def _voi_lut(dataset: Any) -> Convert | None:
    items = dataset.get("VOILUTSequence")
    if not items:
        return None
    below = (_first(dataset.get("RescaleIntercept")) or 0) < 0
    signed = dataset.get("PixelRepresentation") == 1 or below
    big = not dataset.file_meta.TransferSyntaxUID.is_little_endian
    return lookup(items[0], signed=signed, big=big)


def _window(dataset: Any) -> Convert | None:
    """Return the first window, which gives 0 to 1."""
    centre, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if centre is None or width is None or width < 1:
        return None
    function = str(dataset.get("VOILUTFunction", "LINEAR") or "LINEAR").upper()

    def convert(values: Pixels) -> Floats:
        x = values.astype(np.float32)
        if function == "SIGMOID":
            y = 1.0 / (1.0 + np.exp(-4.0 * (x - centre) / width))
        elif function == "LINEAR_EXACT":
            y = (x - centre) / width + 0.5
        else:
            y = (x - (centre - 0.5)) / max(width - 1.0, 1e-6) + 0.5
        clipped: Floats = np.clip(y, 0.0, 1.0).astype(np.float32)
        return clipped

    return convert


def _padding(stored: Pixels, dataset: Any) -> tuple[int, int]:
    """Return the first and last stored value that is padding (PS3.3 C.7.5.1.1.2); 1, 0 for none."""
    none = (1, 0)
    value = _first(dataset.get("PixelPaddingValue"))
    if value is None:
        return none
    limit = _first(dataset.get("PixelPaddingRangeLimit"))
    kind = np.iinfo(stored.dtype)

    def stored_as(number: float) -> int:
        # Both are written unsigned by some, whatever the pixels are.
        whole = int(number) & ((1 << kind.bits) - 1)
        return whole - (1 << kind.bits) if whole > kind.max else whole

    ends = [stored_as(value), stored_as(value if limit is None else limit)]
    first, last = min(ends), max(ends)
    covered = all(((strip >= first) & (strip <= last)).all() for strip in strips(stored))
    return none if covered else (first, last)


def _colour(stored: Pixels, dataset: Any, photometric: str, step: int) -> Floats:
    """Return the luminance of a picture that is stored in colours, as screen captures are."""
    if photometric == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        stored = np.asarray(apply_color_lut(stored, dataset))
    if stored.ndim != 3 or stored.shape[2] < 3:
        raise Reject("DICOM with an unknown photometric interpretation")
    grey = grey_of(stored[:, :, :3], step)
    return stretched(float(grey.min()), float(grey.max()))(grey)


def _first(value: Any) -> float | None:
    """Return the first of one or several DICOM numbers."""
    if value is None or value == "":
        return None
    try:
        items = list(value)
    except TypeError:
        items = [value]
    try:
        number = float(items[0]) if items else None
    except (TypeError, ValueError):
        return None
    return number if number is None or np.isfinite(number) else None
