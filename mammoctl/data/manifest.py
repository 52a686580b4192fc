"""Read a manifest: a CSV file that names images, their labels and, optionally, their patients."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mammoctl.data.about import NOTHING, About, from_columns
from mammoctl.errors import DataError

REQUIRED = ("file", "label")
_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a manifest; `line` counts from 1 and includes the header."""

    line: int
    file: str
    label: str
    patient: str
    about: About = NOTHING


@dataclass(frozen=True, slots=True)
class Manifest:
    """The rows of a manifest, whether it has a column for patients, and whether labels count."""

    path: Path
    rows: list[Row]
    has_patients: bool
    labels: bool = True


def read_manifest(path: Path, *, labels: bool = True) -> Manifest:
    """Read the columns ``file``, ``label`` and, if there, ``patient_id`` and those of `About`.

    Without ``labels``, the column ``label`` is neither needed nor read. Comma, semicolon or tab
    separate columns, as the header shows; the text is UTF-8.

    Raises:
        DataError: the file cannot be read or decoded, or a required column is missing.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            header = stream.readline()
            delimiter = max(_DELIMITERS, key=header.count)
            stream.seek(0)
            reader = csv.DictReader(stream, delimiter=delimiter)
            columns = {name.strip().lower(): name for name in reader.fieldnames or [] if name}
            needed = REQUIRED if labels else ("file",)
            if missing := [name for name in needed if name not in columns]:
                raise DataError(
                    f"{path}: the manifest has no column {' and no column '.join(missing)}",
                    hint="the first line must name the columns: file,label (and patient_id)",
                    details=[f"columns found: {', '.join(columns) or 'none'}"],
                )
            rows = list(_rows(reader, columns, labels))
    except OSError as exc:
        raise DataError(
            f"cannot read the manifest {path}: {exc.strerror or exc}",
            hint="check the path and its permissions",
        ) from exc
    except UnicodeDecodeError as exc:
        raise DataError(
            f"the manifest {path} is not UTF-8 text: {exc.reason} at byte {exc.start}",
            hint="save it as CSV with the encoding UTF-8",
        ) from exc
    except csv.Error as exc:
        raise DataError(f"the manifest {path} is not a CSV file: {exc}") from exc
    return Manifest(path, rows, "patient_id" in columns, labels)


def _rows(reader: csv.DictReader[str], columns: dict[str, str], labels: bool) -> Iterator[Row]:
    for record in reader:
        values = {name: (record.get(column) or "").strip() for name, column in columns.items()}
        if any(values.values()):
            yield Row(
                reader.line_num,
                values["file"],
                values["label"] if labels else "",
                values.get("patient_id", ""),
                from_columns(values),
            )
