"""Images for the benchmarks of the training: made up, never the same content twice."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

COLUMNS = ("image_id", "patient_id", "label", "format", "sha256")
SCHEMA = pa.schema([*((name, pa.string()) for name in COLUMNS), ("content", pa.binary())])


def breast(rows: int, columns: int, seed: int) -> np.ndarray:
    """Return a half-disc of noise on black, float32 (rows, columns), 0 to 1."""
    generator = np.random.default_rng(seed)
    y, x = np.ogrid[:rows, :columns]
    inside = ((y / rows - 0.5) / 0.45) ** 2 + (x / columns / 0.7) ** 2 < 1
    cell = generator.random((rows // 10, columns // 10), dtype=np.float32)
    tissue = np.kron(cell, np.ones((10, 10), np.float32))
    return np.where(inside[: tissue.shape[0]], 0.3 + 0.5 * tissue, 0.0).astype(np.float32)


def phantoms(count: int, *, side: int = 640, distinct: int = 40) -> list[dict[str, Any]]:
    """Return rows of a data set: PNGs of `side` pixels, two for a patient, every third one ill.

    After `distinct` pictures they repeat, with other bytes behind their end.
    """
    pictures = []
    for seed in range(min(count, distinct)):
        stream = io.BytesIO()
        Image.fromarray((breast(side, side, seed) * 255).astype(np.uint8)).save(stream, "PNG")
        pictures.append(stream.getvalue())
    rows = []
    for number in range(count):
        content = pictures[number % len(pictures)] + number.to_bytes(4, "big")
        patient = number // 2
        rows.append(
            {
                "image_id": f"i{number:06}",
                "patient_id": f"p{patient:06}",
                "label": "malignant" if patient % 3 == 0 else "benign",
                "format": "png",
                "sha256": hashlib.sha256(content).hexdigest(),
                "content": content,
            }
        )
    return rows


def pack(rows: Iterable[dict[str, Any]], folder: Path) -> Path:
    """Write rows as a data set with row groups of 16 images."""
    folder.mkdir(parents=True)
    waiting: list[dict[str, Any]] = []
    with pq.ParquetWriter(folder / "part-00000.parquet", SCHEMA) as writer:
        for row in rows:
            waiting.append(row)
            if len(waiting) == 16:
                writer.write_table(pa.Table.from_pylist(waiting, schema=SCHEMA))
                waiting = []
        if waiting:
            writer.write_table(pa.Table.from_pylist(waiting, schema=SCHEMA))
    (folder / "dataset.json").write_text(json.dumps({"name": "phantoms", "patient_source": "made"}))
    return folder


def dicom_files(count: int) -> list[bytes]:
    """Return DICOM files of 4000 rows and 3000 columns, 16 bit, not compressed."""
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import (
        DigitalMammographyXRayImageStorageForPresentation,
        ExplicitVRLittleEndian,
        generate_uid,
    )

    files = []
    for seed in range(count):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        kind = DigitalMammographyXRayImageStorageForPresentation
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = kind
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        pixels = (breast(4000, 3000, seed) * 4095).astype(np.uint16)
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
        dataset.PixelData = pixels.tobytes()
        stream = io.BytesIO()
        pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
        files.append(stream.getvalue())
    return files
