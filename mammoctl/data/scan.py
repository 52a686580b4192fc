"""Find the labelled images of a folder: by a manifest, or by folders named after the classes."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mammoctl.data.about import NOTHING, About
from mammoctl.data.collections import find_collection
from mammoctl.data.formats import HEAD_BYTES, has_dicom_name, has_image_suffix, sniff
from mammoctl.data.manifest import Manifest, Row, read_manifest
from mammoctl.data.model import LABELS, Image, Scan
from mammoctl.errors import DataError

MAX_IMAGE_BYTES = 512 * 1024**2
"""Larger files are refused: an image travels as one value of one row."""

_SHOWN = 5
_SKIP = "or leave them out with --skip-bad"


def scan_folder(
    folder: Path,
    *,
    manifest: Path | None = None,
    patient_pattern: str | None = None,
    skip_bad: bool = False,
    unlabelled: bool = False,
) -> Scan:
    """List the images of ``folder`` with their labels and patients, without decoding them.

    Args:
        folder: holds the images; labels come from the manifest, else from the description of a
            known data set (`collections`), else from the innermost folder called ``benign`` or
            ``malignant`` (in any case) on an image's path.
        manifest: a CSV file; by default ``manifest.csv`` in the folder when there is one.
        patient_pattern: a regular expression that finds the patient in a file's path (relative
            to the folder); its group ``patient``, or else its first group, is the patient.
        skip_bad: leave out rows and files that cannot be used, instead of refusing all.
        unlabelled: images to be judged, not trained on: no label is looked for, and all images
            are taken. A manifest need only name the files.

    Raises:
        DataError: the folder, the manifest or the pattern cannot be used; nothing to read; one
            class only; without ``skip_bad``, any row or file that cannot be used.
    """
    pattern = _compile(patient_pattern)
    _check_folder(folder)
    if manifest is None and (folder / "manifest.csv").is_file():
        manifest = folder / "manifest.csv"
    scan = Scan()
    table = None
    if manifest is not None:
        table = read_manifest(manifest, labels=not unlabelled)
    elif unlabelled:
        pass
    elif known := find_collection(folder):
        table, scan.warnings = known.manifest, known.warnings
    if table is not None:
        if table.has_patients and pattern:
            raise DataError(
                f"both the manifest {table.path} and --patient-pattern say who the patients are",
                hint="leave out --patient-pattern, or remove the column patient_id",
            )
        scan.patient_source = _source(table.has_patients, pattern)
        _from_manifest(scan, folder, table, pattern)
    else:
        scan.patient_source = _source(False, pattern)
        _from_folders(scan, folder, pattern, unlabelled)
    scan.images.sort(key=lambda image: image.name)
    _judge(scan, folder, skip_bad, unlabelled)
    return scan


def _source(has_column: bool, pattern: re.Pattern[str] | None) -> str:
    if has_column:
        return "manifest"
    return "pattern" if pattern else "none"


def _compile(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    hint = r"for 105_1232990271.jpg, for example: --patient-pattern '([0-9]+)_[^/]*$'"
    try:
        compiled = re.compile(pattern)
    except re.error as exc:
        raise DataError(f"--patient-pattern is no regular expression: {exc}", hint=hint) from exc
    if not compiled.groups:
        raise DataError("--patient-pattern has no group in parentheses", hint=hint)
    return compiled


def _check_folder(folder: Path) -> None:
    try:
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise DataError(
                f"{folder} {what}", hint="name a folder with the images (and a manifest.csv)"
            )
        os.scandir(folder).close()
    except OSError as exc:
        raise DataError(
            f"cannot read the folder {folder}: {exc.strerror}", hint="check its permissions"
        ) from exc


def _walk(scan: Scan, folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield every regular file with its relative name; hidden files and folders are left out."""
    seen: set[tuple[int, int]] = set()

    def unreadable(exc: OSError) -> None:
        scan.problem(
            "folder", "folders that cannot be read", "check their permissions", str(exc.filename)
        )

    for top, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        status = Path(top).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name != "__MACOSX"
        )
        for name in sorted(name for name in files if not name.startswith(".")):
            path = Path(top) / name
            yield path, path.relative_to(folder).as_posix()


def _from_folders(
    scan: Scan, folder: Path, pattern: re.Pattern[str] | None, unlabelled: bool
) -> None:
    for path, name in _walk(scan, folder):
        parts = () if unlabelled else PurePosixPath(name).parts[:-1]
        label = next((part.lower() for part in reversed(parts) if part.lower() in LABELS), "")
        if not _looks_like_image(scan, path, name):
            continue
        if not label and not unlabelled:
            scan.problem(
                "label",
                "images that lie in no folder called benign or malignant",
                f"move them, write a manifest.csv (file,label), push images that are only to be "
                f"judged with --unlabelled, {_SKIP}",
                name,
            )
            continue
        _add(scan, path, name, label, pattern=pattern)


def _looks_like_image(scan: Scan, path: Path, name: str) -> bool:
    if has_image_suffix(path):
        return True
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            scan.ignored += 1
            return False
        with path.open("rb") as stream:
            if sniff(stream.read(HEAD_BYTES)) != "unknown":
                return True
    except OSError as exc:
        _unreadable(scan, name, exc)
        return False
    scan.ignored += 1
    return False


def _from_manifest(
    scan: Scan, folder: Path, manifest: Manifest, pattern: re.Pattern[str] | None
) -> None:
    first: dict[str, Row] = {}
    repeated = 0
    for row in manifest.rows:
        where = f"line {row.line}: {row.file or '(no file)'}"
        label = row.label.lower()
        if label not in LABELS and manifest.labels:
            scan.problem(
                "label",
                "labels other than benign and malignant",
                f"mend the column label, {_SKIP}",
                f"{where}: label {row.label!r}",
            )
            continue
        name = _normal_name(folder, row.file)
        if name is None:
            scan.problem(
                "outside",
                "files outside the folder",
                f"the column file is a path below {folder}; mend it, {_SKIP}",
                where,
            )
            continue
        if other := first.get(name):
            if (other.label.lower(), other.patient) == (label, row.patient):
                repeated += 1
            else:
                scan.problem(
                    "contradiction",
                    "files named twice with another label or patient",
                    f"keep the right one of the rows, {_SKIP}",
                    f"{where}: also in line {other.line}",
                )
            continue
        first[name] = row
        if not (folder / name).exists():
            scan.problem(
                "missing",
                "labels without a file",
                f"add the files, remove the rows, {_SKIP}",
                where,
            )
            continue
        _add(
            scan,
            folder / name,
            name,
            label,
            patient=row.patient,
            about=row.about,
            pattern=pattern,
        )
    _count_unnamed(scan, folder, set(first))
    if repeated:
        scan.warnings.append(f"{repeated} rows of the manifest only repeat another row")


def _normal_name(folder: Path, file: str) -> str | None:
    """Return the name relative to the folder, or None where it would lead out of it."""
    if not file or "\0" in file:
        return None
    if "\\" in file and not (folder / file).exists():
        file = file.replace("\\", "/")
    path = Path(file)
    if path.is_absolute():
        if not path.is_relative_to(folder.absolute()):
            return None
        path = path.relative_to(folder.absolute())
    name = os.path.normpath(path)
    return None if name == "." or name.split("/", 1)[0] == ".." else name


def _count_unnamed(scan: Scan, folder: Path, named: set[str]) -> None:
    unnamed = 0
    for path, name in _walk(scan, folder):
        if name in named or name == "manifest.csv":
            continue
        if has_image_suffix(path):
            unnamed += 1
        else:
            scan.ignored += 1
    if unnamed:
        scan.warnings.append(
            f"{unnamed} image files are not in the manifest and stay behind: they have no label"
        )


def _add(
    scan: Scan,
    path: Path,
    name: str,
    label: str,
    *,
    patient: str = "",
    about: About = NOTHING,
    pattern: re.Pattern[str] | None,
) -> None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a regular file")
        if not os.access(path, os.R_OK):
            raise PermissionError(0, "permission denied")
    except OSError as exc:
        _unreadable(scan, name, exc)
        return
    if status.st_size > MAX_IMAGE_BYTES:
        scan.problem(
            "size",
            f"files larger than {MAX_IMAGE_BYTES // 1024**2} MiB",
            f"convert them, {_SKIP}",
            f"{name}: {status.st_size // 1024**2} MiB",
        )
        return
    if pattern:
        match = pattern.search(name)
        found = match and (match["patient"] if "patient" in pattern.groupindex else match.group(1))
        if not found:
            scan.problem(
                "pattern",
                "files in whose names --patient-pattern finds no patient",
                f"mend the pattern (it sees the path below the folder), {_SKIP}",
                name,
            )
            return
        patient = found
    scan.images.append(Image(path, name, label, patient, status.st_size, status.st_mtime_ns, about))


def _unreadable(scan: Scan, name: str, exc: OSError) -> None:
    scan.problem(
        "unreadable",
        "files that cannot be read",
        f"check their permissions, {_SKIP}",
        f"{name}: {exc.strerror or exc}",
    )


def _judge(scan: Scan, folder: Path, skip_bad: bool, unlabelled: bool) -> None:
    """Refuse what cannot be used; turn the rest of the findings into warnings."""
    problems = list(scan.problems.values())
    if problems and not skip_bad:
        raise DataError(
            f"{folder} cannot be used as it is: "
            + "; ".join(f"{len(item.where)} {item.title}" for item in problems),
            hint="; ".join(dict.fromkeys(item.hint for item in problems)),
            details=[line for item in problems for line in first_few(item.where)],
        )
    for item in problems:
        scan.warnings.append(f"left out {len(item.where)}: {item.title}")
    if not scan.images:
        raise DataError(
            f"there are no images in {folder}"
            + (f" ({scan.ignored} other files)" if scan.ignored else ""),
            hint="check the folder; files that begin with a dot are left out"
            if unlabelled
            else "put images into the folders benign/ and malignant/, or write a manifest.csv "
            "with the columns file,label,patient_id",
        )
    missing = [label for label, count in scan.labels.items() if not count]
    if missing and not unlabelled:
        raise DataError(
            f"{folder} has one class only: {len(scan.images)} images, none of them {missing[0]}",
            hint="a classifier needs both classes; check the labels",
        )
    if scan.ignored:
        scan.warnings.append(f"{scan.ignored} files are no images and stay behind")
    unnamed = [image for image in scan.images if not image.patient]
    if len(unnamed) == len(scan.images):
        scan.patient_source = "none"
    nameless = sum(not has_dicom_name(image.path) for image in unnamed)
    if nameless and not unlabelled:
        scan.warnings.append(
            f"nobody says who the patients of {nameless} images are: each counts as a patient of "
            "its own, so a split by patient is impossible for them and the metrics may be too "
            "good (use a manifest with patient_id, or --patient-pattern)"
        )


def first_few(lines: list[str]) -> list[str]:
    """Shorten a list for a message: the first lines and how many more there are."""
    if len(lines) <= _SHOWN:
        return lines
    return [*lines[:_SHOWN], f"... and {len(lines) - _SHOWN} more"]
