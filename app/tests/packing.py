"""Tiny images and a data set of them, as the tests need it."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("patient_id", pa.string()),
        ("label", pa.string()),
        ("format", pa.string()),
        ("sha256", pa.string()),
        ("content", pa.binary()),
        ("size", pa.int64()),
    ]
)


def phantom(seed: int, malignant: bool, side: int = 64) -> np.ndarray:
    """A grey disc, uint8 (side, side); with a bright spot in it if malignant."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    image = rng.normal(20, 4, (side, side))
    image += 90.0 * ((x - side / 3) ** 2 + (y - side / 2) ** 2 < (side / 2.5) ** 2)
    if malignant:
        cx, cy = rng.integers(side // 4, side // 2, 2)
        image += 120.0 * ((x - cx) ** 2 + (y - cy) ** 2 < (side / 10) ** 2)
    return np.clip(image, 0, 255).astype(np.uint8)


def encode(pixels: np.ndarray, name: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=name, **options)
    return buffer.getvalue()


def dicom(
    pixels: np.ndarray, *, preamble: bool = True, drop: tuple[str, ...] = (), **tags: Any
) -> bytes:
    """A DICOM file of uint8 or uint16 pixels (rows, columns)."""
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import (
        DigitalMammographyXRayImageStorageForPresentation,
        ExplicitVRLittleEndian,
    )

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = "1.2.3"
    dataset.PatientName = "Secret^Person"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    for name in drop:
        delattr(dataset, name)
    buffer = io.BytesIO()
    if preamble:
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    else:
        pydicom.dcmwrite(
            buffer, Dataset(dict(dataset.items())), implicit_vr=True, little_endian=True
        )
    return buffer.getvalue()


def row(
    name: str, patient: str | None, label: str | None, content: bytes, kind: str
) -> dict[str, Any]:
    return {
        "image_id": name,
        "patient_id": patient,
        "label": label,
        "format": kind,
        "sha256": hashlib.sha256(content).hexdigest(),
        "content": content,
        "size": len(content),
    }


def rows(patients: int = 12, first: int = 0) -> list[dict[str, Any]]:
    """Two images for each patient, in three formats; every third patient is ill."""
    result = []
    for number in range(first, first + patients):
        ill = number % 3 == 0
        for side in range(2):
            pixels = phantom(10 * number + side, ill)
            kind = ("png", "jpeg", "dicom")[(number + side) % 3]
            content = dicom(pixels) if kind == "dicom" else encode(pixels, kind.upper())
            label = "malignant" if ill else "benign"
            result.append(row(f"img{number:03}-{side}", f"pat{number:03}", label, content, kind))
    return result


def pack(folder: Path, data: list[dict[str, Any]], source: str = "manifest") -> Path:
    """Write a data set of row groups of 8 images."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(data, schema=SCHEMA)
    pq.write_table(table, folder / "part-00000.parquet", row_group_size=8)
    info = {"schema": 1, "name": "phantoms", "images": len(data), "patient_source": source}
    (folder / "dataset.json").write_text(json.dumps(info))
    return folder
