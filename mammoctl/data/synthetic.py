"""Make a small set of phantoms that look like mammograms only from afar.

Each image is a bright half-disc (the breast) on black with smoothed noise (the tissue); a
malignant one also has a bright mass with spicules. Names, patients and dates are invented.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mammoctl.data.model import LABELS
from mammoctl.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HEIGHT, WIDTH = 320, 256
"""Pixels of each phantom."""

MARKER = ".synthetic.json"
_COLUMNS = ("file", "label", "patient_id", "image_id", "laterality", "view", "age")
_VIEWS = (("L", "CC"), ("R", "CC"), ("L", "MLO"), ("R", "MLO"))


@dataclass(frozen=True, slots=True)
class Phantom:
    """One image to be made."""

    number: int
    patient: int
    label: str
    laterality: str
    view: str
    age: int
    dicom: bool

    @property
    def file(self) -> str:
        """Path relative to the folder."""
        suffix = "dcm" if self.dicom else "png"
        name = f"phantom{self.patient:03d}_{self.number:04d}_{self.laterality}_{self.view}"
        return f"{self.label}/{name}.{suffix}"


def synthesize(folder: Path, *, images: int = 60, patients: int = 20, seed: int = 0) -> int:
    """Write ``images`` phantoms of ``patients`` patients and a ``manifest.csv`` into ``folder``.

    Half of the images are DICOM (16 bit), half PNG (8 bit); about half of the patients are
    malignant, with all their images. The same arguments give the same bytes.

    Returns:
        The number of images; nothing is written again where the folder holds this very set.

    Raises:
        DataError: the numbers make no set with two classes, or the folder holds other files.
    """
    if patients < 2 or images < patients:
        raise DataError(
            f"cannot make {images} images of {patients} patients",
            hint="ask for at least 2 patients and at least one image for each",
        )
    parameters = {"version": 1, "images": images, "patients": patients, "seed": seed}
    try:
        if _is_ours(folder, parameters):
            return images
        folder.mkdir(parents=True, exist_ok=True)
        # First: what an interruption leaves is known as ours, and made anew.
        (folder / MARKER).write_text(json.dumps(parameters | {"complete": False}) + "\n")
        for label in LABELS:
            (folder / label).mkdir(exist_ok=True)
        _write(folder, _plan(images, patients, seed), seed)
        (folder / MARKER).write_text(json.dumps(parameters) + "\n")
    except OSError as exc:
        raise DataError(f"cannot write to {folder}: {exc.strerror or exc}") from exc
    return images


def _is_ours(folder: Path, parameters: dict[str, int]) -> bool:
    """Tell whether the folder holds this very set, complete.

    Raises:
        DataError: it holds something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        found = json.loads((folder / MARKER).read_text())
    except (OSError, ValueError):
        found = None
    if found == parameters:
        return True
    if found == parameters | {"complete": False}:
        return False
    raise DataError(
        f"{folder} holds other files", hint="name a new folder, or remove this one yourself"
    )


def _plan(images: int, patients: int, seed: int) -> list[Phantom]:
    import numpy as np

    rng = np.random.default_rng(seed)
    # exactly half, in random order: small sets keep both classes on both sides of a split
    labels = rng.permutation([LABELS[i % 2] for i in range(patients)])
    ages = rng.integers(40, 80, size=patients)
    plan = []
    for number in range(images):
        patient = number % patients
        laterality, view = _VIEWS[number // patients % len(_VIEWS)]
        dicom = (number // patients + patient) % 2 == 0
        label, age = str(labels[patient]), int(ages[patient])
        plan.append(Phantom(number, patient + 1, label, laterality, view, age, dicom))
    return plan


def _write(folder: Path, plan: list[Phantom], seed: int) -> None:
    import numpy as np
    from PIL import Image

    rows: list[tuple[object, ...]] = []
    for item in plan:
        pixels = draw(np.random.default_rng((seed, item.number)), item)
        path = folder / item.file
        if item.dicom:
            _write_dicom(path, pixels, item, seed)
        else:
            Image.fromarray((pixels * 255).astype(np.uint8)).save(path)
        patient = f"phantom{item.patient:03d}"
        rows.append(
            (item.file, item.label, patient, item.number, item.laterality, item.view, item.age)
        )
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(sorted(rows, key=str))


def draw(rng: np.random.Generator, item: Phantom) -> NDArray[np.float64]:
    """Draw one phantom: brightness from 0 to 1, shape (HEIGHT, WIDTH)."""
    import numpy as np

    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    height = HEIGHT * rng.uniform(0.38, 0.46)
    width = WIDTH * rng.uniform(0.6, 0.8)
    middle = HEIGHT * rng.uniform(0.46, 0.54)
    distance = np.hypot((y - middle) / height, x / width)
    breast = np.clip((1 - distance) * 6, 0, 1)
    tissue = 0.28 + 0.10 * _noise(rng, 24) + 0.05 * _noise(rng, 6)
    image = breast * tissue
    centre = (middle + height * rng.uniform(-0.4, 0.4), width * rng.uniform(0.25, 0.55))
    if item.label == "malignant":
        image += breast * _mass(rng, y - centre[0], x - centre[1])
    else:  # a benign shadow: round, faint, without spicules
        radius = rng.uniform(8, 16)
        image += breast * 0.12 * np.exp(-(np.hypot(y - centre[0], x - centre[1]) ** 2) / radius**2)
    image = np.clip(image + breast * rng.normal(0, 0.01, image.shape), 0, 1)
    return np.asarray(image[:, ::-1] if item.laterality == "R" else image)


def _noise(rng: np.random.Generator, cell: int) -> NDArray[np.float64]:
    """Smooth noise, about -1 to 1: random values on a coarse grid, interpolated."""
    import numpy as np
    from PIL import Image

    grid = rng.uniform(-1, 1, (HEIGHT // cell + 2, WIDTH // cell + 2)).astype(np.float32)
    smooth = Image.fromarray(grid).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=float)


def _mass(
    rng: np.random.Generator, dy: NDArray[np.float64], dx: NDArray[np.float64]
) -> NDArray[np.float64]:
    import numpy as np

    radius = rng.uniform(20, 30)
    distance = np.hypot(dy, dx)
    angle = np.arctan2(dy, dx)
    spicules = np.zeros_like(distance)
    for direction in rng.uniform(-np.pi, np.pi, size=int(rng.integers(9, 14))):
        away = np.abs(np.angle(np.exp(1j * (angle - direction))))
        ray = np.exp(-((away * np.maximum(distance, 1) / 3) ** 2))
        spicules = np.maximum(spicules, ray * np.exp(-distance / (radius * 1.6)))
    core = np.exp(-((distance / radius) ** 4))
    return np.asarray(rng.uniform(0.45, 0.6) * np.maximum(core, 0.8 * spicules))


def _write_dicom(path: Path, pixels: NDArray[np.float64], item: Phantom, seed: int) -> None:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import (
        UID,
        DigitalMammographyXRayImageStorageForPresentation,
        ExplicitVRLittleEndian,
        generate_uid,
    )

    def uid(*parts: object) -> UID:
        return generate_uid(entropy_srcs=["mammoctl", str(seed), *map(str, parts)])

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = uid("image", item.number)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid("implementation")
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = meta.MediaStorageSOPClassUID
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID = uid("study", item.patient)
    data.SeriesInstanceUID = uid("series", item.patient, item.laterality)
    data.PatientID = f"phantom{item.patient:03d}"
    data.PatientName = "Phantom^Synthetic"
    data.PatientIdentityRemoved = "YES"
    data.PatientAge = f"{item.age:03d}Y"
    data.StudyDate = "20000101"
    data.Modality = "MG"
    data.ImageLaterality = item.laterality
    data.ViewPosition = item.view
    data.PresentationIntentType = "FOR PRESENTATION"
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PixelRepresentation = 0
    data.WindowCenter, data.WindowWidth = 2048, 4096
    data.PixelData = (pixels * 4095).astype("<u2").tobytes()
    data["PixelData"].VR = "OW"
    data.save_as(path, enforce_file_format=True)
