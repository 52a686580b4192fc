"""DICOM pixels as a radiologist's screen would show them: PS3.3 C.11.1 and C.11.2, in brief."""

from __future__ import annotations

import io
import logging
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from mammotrain.pixels import Floats, Reject, check_shape, grey_of, stretch

# pydicom's warnings quote values, which may be names.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="pydicom")

KNOWN = (
    *("MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR"),
    *("YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"),
)


def decode_dicom(content: bytes) -> Floats:
    """Decode a single-frame DICOM image.

    Applied in this order: rescale or modality LUT; VOI LUT if there is one, else the first window
    (LINEAR, LINEAR_EXACT or SIGMOID), else a stretch over the values outside the padding; then
    MONOCHROME1 is inverted, so that dense tissue is bright in every result.

    Returns:
        float32, shape (rows, columns), 0 to 1.

    Raises:
        Reject: no pixels, several frames, or pixels that no installed codec reads.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError
    from pydicom.pixels.processing import apply_modality_lut

    try:
        dataset = pydicom.dcmread(io.BytesIO(content), force=content[128:132] != b"DICM")
    except InvalidDicomError as error:
        raise Reject("not DICOM") from error
    if "PixelData" not in dataset or "Rows" not in dataset or "Columns" not in dataset:
        raise Reject("DICOM without pixel data")
    if int(dataset.get("NumberOfFrames", 1) or 1) > 1:
        raise Reject("several frames")
    check_shape(int(dataset.Rows), int(dataset.Columns))
    if "TransferSyntaxUID" not in dataset.file_meta:
        # Without a file header the standard's default transfer syntax applies.
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    photometric = str(dataset.get("PhotometricInterpretation", "")).upper()
    if photometric not in KNOWN:
        raise Reject("DICOM with an unknown photometric interpretation")
    try:
        stored = dataset.pixel_array
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        raise Reject("DICOM pixels that no installed codec reads") from error
    except (ValueError, EOFError, OSError) as error:
        raise Reject("truncated or damaged") from error

    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return _colour(stored, dataset, photometric)
    values = np.asarray(apply_modality_lut(stored, dataset))
    shown = _window(values, stored, dataset)
    return 1.0 - shown if photometric == "MONOCHROME1" else shown


def _window(values: npt.NDArray[Any], stored: npt.NDArray[Any], dataset: Any) -> Floats:
    if dataset.get("VOILUTSequence"):
        from pydicom.pixels.processing import apply_voi

        return stretch(np.asarray(apply_voi(values, dataset, index=0)))
    centre, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if centre is None or width is None or width < 1:
        return _stretch_inside_padding(values, stored, dataset)
    x = values.astype(np.float32)
    function = str(dataset.get("VOILUTFunction", "LINEAR") or "LINEAR").upper()
    if function == "SIGMOID":
        y = 1.0 / (1.0 + np.exp(-4.0 * (x - centre) / width))
    elif function == "LINEAR_EXACT":
        y = (x - centre) / width + 0.5
    else:
        y = (x - (centre - 0.5)) / max(width - 1.0, 1e-6) + 0.5
    shown: Floats = np.clip(y, 0.0, 1.0).astype(np.float32)
    if float(shown.max()) <= float(shown.min()):
        # A window beside the data shows nothing; the data may still be good.
        return _stretch_inside_padding(values, stored, dataset)
    return shown


def _stretch_inside_padding(
    values: npt.NDArray[Any], stored: npt.NDArray[Any], dataset: Any
) -> Floats:
    padding = dataset.get("PixelPaddingValue")
    if padding is None:
        return stretch(values)
    outside = stored == int(padding)
    if not outside.any() or outside.all():
        return stretch(values)
    inside = values[~outside]
    clipped = np.clip(values, inside.min(), inside.max())
    # The padding is background: black once MONOCHROME1 has been inverted.
    inverted = str(dataset.PhotometricInterpretation).upper() == "MONOCHROME1"
    clipped[outside] = inside.max() if inverted else inside.min()
    return stretch(clipped)


def _colour(stored: npt.NDArray[Any], dataset: Any, photometric: str) -> Floats:
    """Return the luminance of a picture that is stored in colours, as screen captures are."""
    if photometric == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        stored = np.asarray(apply_color_lut(stored, dataset))
    if stored.ndim != 3 or stored.shape[2] < 3:
        raise Reject("DICOM with an unknown photometric interpretation")
    return stretch(grey_of(stored[:, :, :3]))


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
