from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from mammoctl.data import synthetic
from mammoctl.data.scan import scan_folder
from mammoctl.data.synthetic import synthesize
from mammoctl.errors import DataError


def digest(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "set"
    assert synthesize(path, images=24, patients=8, seed=3) == 24
    return path


def test_set_is_complete_and_labelled(folder: Path) -> None:
    scan = scan_folder(folder)
    assert scan.labels == {"benign": 12, "malignant": 12}
    assert scan.patient_source == "manifest"
    assert len({image.patient for image in scan.images}) == 8
    assert {image.path.suffix for image in scan.images} == {".dcm", ".png"}
    labels: dict[str, set[str]] = {}
    for image in scan.images:
        labels.setdefault(image.patient, set()).add(image.label)
    assert all(len(found) == 1 for found in labels.values())


def test_same_seed_gives_the_same_bytes_and_another_seed_others(
    folder: Path, tmp_path: Path
) -> None:
    synthesize(tmp_path / "again", images=24, patients=8, seed=3)
    assert digest(tmp_path / "again") == digest(folder)
    synthesize(tmp_path / "other", images=24, patients=8, seed=4)
    assert digest(tmp_path / "other") != digest(folder)


def test_a_second_run_leaves_the_set_alone(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    synthesize(folder, images=24, patients=8, seed=3)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_an_interrupted_set_is_made_anew_by_the_same_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path, *_rest: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(synthetic, "_write_dicom", interrupted)
        with pytest.raises(KeyboardInterrupt):
            synthesize(tmp_path / "set", images=24, patients=8, seed=3)
    with pytest.raises(DataError, match="other files"):  # of another set nothing is known
        synthesize(tmp_path / "set", images=24, patients=8, seed=4)
    synthesize(tmp_path / "set", images=24, patients=8, seed=3)
    assert digest(tmp_path / "set") == digest(folder)


def test_malignant_phantoms_are_brighter(folder: Path) -> None:
    peak: dict[str, list[float]] = {"benign": [], "malignant": []}
    with (folder / "manifest.csv").open() as stream:
        for row in csv.DictReader(stream):
            path = folder / row["file"]
            if path.suffix == ".dcm":
                pixels = pydicom.dcmread(path).pixel_array / 4095
            else:
                pixels = np.asarray(Image.open(path)) / 255
            assert pixels.shape == (320, 256)
            peak[row["label"]].append(float(np.quantile(pixels, 0.99)))
    assert min(peak["malignant"]) > max(peak["benign"])


def test_folders_of_others_are_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match="other files"):
        synthesize(tmp_path)
    with pytest.raises(DataError, match="other files"):
        synthesize(folder, images=20, patients=8)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(("images", "patients"), [(10, 1), (3, 4), (0, 0)])
def test_impossible_numbers_are_refused(tmp_path: Path, images: int, patients: int) -> None:
    with pytest.raises(DataError, match="cannot make"):
        synthesize(tmp_path / "set", images=images, patients=patients)
    assert not (tmp_path / "set").exists()
