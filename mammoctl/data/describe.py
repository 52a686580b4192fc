"""What ``dataset.json`` says of a data set, and how the folder that it came from is recognised."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mammoctl import __version__
from mammoctl.data import deid
from mammoctl.data.about import NAMES

if TYPE_CHECKING:
    from mammoctl.data.model import Scan
    from mammoctl.data.pack import Packed


def fingerprint(scan: Scan, key: bytes, keep_identifiers: bool = False) -> str:
    """Return a keyed hash of names, sizes, times and what the manifest says: cheap to compare."""
    how = "as they are" if keep_identifiers else f"de-identified {deid.VERSION}"
    digest = hmac.new(key, f"source\0{how}\0".encode(), hashlib.sha256)
    for image in scan.images:
        row = (
            *(image.name, image.size, image.mtime_ns, image.label, image.patient),
            *(getattr(image.about, name) for name in NAMES),
        )
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()


def patient_source(scan: Scan, packed: Packed) -> str:
    """Return who says whose the images are; ``none`` where it is known of no image."""
    told = [scan.patient_source] if scan.patient_source != "none" else []
    if packed.from_header:
        told.append("dicom")
    return ", ".join(told) or "none"


def describe(
    name: str, scan: Scan, packed: Packed, mark: str, keep_identifiers: bool
) -> dict[str, Any]:
    """Return the contents of ``dataset.json``; ``mark`` is the `fingerprint` of the scan."""
    return {
        "schema": 1,
        "name": name,
        "images": packed.images,
        "patients": packed.patients,
        "labels": packed.labels,
        "formats": packed.formats,
        "patient_source": patient_source(scan, packed),
        "without_patient": packed.without_patient,
        "deidentified": None if keep_identifiers else deid.VERSION,
        "duplicates": packed.duplicates,
        "warnings": packed.warnings,
        "rejects": packed.rejects,
        "bytes": packed.size,
        "parts": [asdict(part) for part in packed.parts],
        "content": packed.content,
        "source": mark,
        "created_at": int(time.time()),
        "mammoctl": __version__,
    }
