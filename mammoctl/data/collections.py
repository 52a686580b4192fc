"""Public data sets in the form that they are handed out in: mini-MIAS and CBIS-DDSM."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from mammoctl.data.about import from_columns
from mammoctl.data.manifest import Manifest, Row
from mammoctl.errors import DataError

_MIAS_LINE = re.compile(r"(mdb(\d{3}))[ \t]+([FGD])[ \t]+(NORM|[A-Z]{4})(?:[ \t]+([BM])\b)?")
_MIAS_TISSUE = {"F": "fatty", "G": "glandular", "D": "dense"}
_CBIS_FILES = "*case_description*.csv"
_CBIS_SIDES = {"LEFT": "L", "RIGHT": "R"}


@dataclass(frozen=True, slots=True)
class Collection:
    """The images of a known data set that are in the folder, as a manifest would list them.

    Attributes:
        manifest: what was read.
        warnings: what the user should know about it.
    """

    manifest: Manifest
    warnings: list[str]


def find_collection(folder: Path) -> Collection | None:
    """Return the known data set that lies in `folder`, if one does.

    Raises:
        DataError: its description is there but cannot be read.
    """
    try:
        info = folder / "Info.txt"
        if info.is_file():
            rows = list(_mini_mias(folder, info))
            if rows:
                return _present(folder, info, rows, "mini-MIAS: normal images count as benign")
        tables = sorted(folder.rglob(_CBIS_FILES))
        if tables:
            rows = list(_cbis_ddsm(folder, tables))
            return _present(
                folder, tables[0], rows, "CBIS-DDSM: an image is malignant if one finding on it is"
            )
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        raise DataError(
            f"cannot read the description of the data set in {folder}: {exc}",
            hint="write a manifest.csv, or fetch the description again",
        ) from exc
    return None


def _present(folder: Path, path: Path, rows: list[Row], what: str) -> Collection:
    found = [row for row in rows if row.file and (folder / row.file).is_file()]
    warnings = [what]
    if len(found) < len(rows):
        warnings.append(
            f"{len(rows) - len(found)} of the {len(rows)} images that {path.name} lists "
            "are not in the folder"
        )
    return Collection(Manifest(path, found, True), warnings)


def _mini_mias(folder: Path, info: Path) -> Iterator[Row]:
    """Read mini-MIAS's `Info.txt`: a line for each finding, pairs of films of one patient."""
    findings: dict[str, Row] = {}
    text = info.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        match = _MIAS_LINE.match(line)
        if not match:
            continue
        name, film, tissue, _, severity = match.groups()
        label = "malignant" if severity == "M" else "benign"
        if name in findings and label == "benign":
            continue
        about = from_columns(
            {
                "view": "MLO",
                "laterality": "R" if int(film) % 2 else "L",
                "density": _MIAS_TISSUE[tissue],
            }
        )
        patient = f"mias{(int(film) + 1) // 2:03}"
        findings[name] = Row(number, _file(folder, name), label, patient, about)
    yield from findings.values()


def _file(folder: Path, name: str) -> str:
    """Return the file of a film, wherever below the folder it was unpacked."""
    direct = f"{name}.pgm"
    if (folder / direct).is_file():
        return direct
    found = sorted(folder.rglob(f"{name}.*"))
    return found[0].relative_to(folder).as_posix() if found else direct


def _cbis_ddsm(folder: Path, tables: list[Path]) -> Iterator[Row]:
    """Read CBIS-DDSM's case descriptions: a row for each finding, several on some images."""
    images: dict[str, Row] = {}
    folders = {path.name: path for path in folder.rglob("*_P_*") if path.is_dir()}
    for table in tables:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = {(name or "").strip().replace("_", " ") for name in reader.fieldnames or []}
            needed = {"patient id", "left or right breast", "image view", "pathology"}
            if missing := sorted((needed | {"image file path"}) - columns):
                raise DataError(
                    f"{table}: no column {', '.join(missing)}",
                    hint="this should be one of CBIS-DDSM's case description files, unchanged",
                )
            for record in reader:
                # the four files do not agree on spaces and underscores
                values = {
                    (key or "").strip().replace("_", " "): (value or "").strip()
                    for key, value in record.items()
                    if isinstance(value, str | None)
                }
                row = _cbis_row(folder, folders, reader.line_num, values)
                key = values["image file path"]
                other = images.get(key)
                if other is None:
                    images[key] = row
                elif row.label == "malignant":
                    images[key] = replace(other, label="malignant")
    yield from images.values()


def _cbis_row(folder: Path, folders: dict[str, Path], line: int, values: dict[str, str]) -> Row:
    listed = PurePosixPath(values["image file path"].replace("\\", "/"))
    file = listed.as_posix()
    if not (folder / file).is_file():
        # downloads name the folders in between after dates: only the first name is kept
        case = folders.get(listed.parts[0]) if listed.parts else None
        found = sorted(case.rglob("*.dcm")) if case else []
        file = found[0].relative_to(folder).as_posix() if found else file
    about = from_columns(
        {
            "view": values["image view"],
            "laterality": _CBIS_SIDES.get(values["left or right breast"].upper(), ""),
            "density": values.get("breast density", ""),
        }
    )
    label = "malignant" if values["pathology"].upper() == "MALIGNANT" else "benign"
    if not values["pathology"]:
        label = ""
    return Row(line, file, label, values["patient id"], about)
