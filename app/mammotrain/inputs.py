"""What is to be judged: the images of a data set, or of a folder of files such as a DICOM tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mammotrain.dataset import LABELS, Image, Row, read_rows
from mammotrain.errors import UnusableInput
from mammotrain.storage import Storage

NEEDED = ("image_id", "sha256", "content")  # of a data set; no label, no patient
MAX_BYTES = 512 * 1024**2  # a file travels as one value of one row
DICOM_NAMES = r"(?i)\.(dcm|dicom|ima)$"


@dataclass(frozen=True)
class Item:
    """One image to be judged.

    Attributes:
        image_id: its pseudonym; for a file, the first half of its checksum.
        sha256: checksum of its content; empty where there is none.
        label: as in the data set, 0 or 1, if it is known.
        patient_id: pseudonym of the patient, or empty; never written.
        about: view, laterality and the like, where known.
        file: its path below the folder; for files only.
        reject: why it cannot be judged, if that is known without opening it.
    """

    image_id: str
    sha256: str
    label: int | None = None
    patient_id: str = ""
    about: Mapping[str, str] = field(default_factory=dict, hash=False)
    file: str | None = None
    reject: str | None = None

    def labelled(self) -> Image | None:
        """Return the image as one whose prediction can be judged, if its label is known."""
        if self.label is None:
            return None
        who = self.patient_id or self.image_id
        return Image(self.image_id, who, self.label, self.sha256, self.about)


@dataclass(frozen=True)
class Inputs:
    """What is to be judged.

    Attributes:
        frame: `image_id`, `sha256`, `format`, `content` of all images.
        items: what is known of each, sorted by id and file.
        info: contents of `dataset.json`, or empty.
    """

    frame: Any
    items: list[Item]
    info: dict[str, Any] = field(default_factory=dict)


def read_data(spark: Any, uri: str, storage: Storage) -> Inputs:
    """Return the images of a packed data set; labels and patients may be missing.

    Raises:
        UnusableInput: as for a training, but for the columns `label` and `patient_id`.
    """
    frame, rows, info = read_rows(spark, uri, storage, NEEDED)
    return Inputs(frame, items_of(rows), info)


def items_of(rows: Sequence[Row]) -> list[Item]:
    """Return an item for each row of a data set; a second row of one id is rejected."""
    items: list[Item] = []
    seen: set[str] = set()
    ordered = sorted(rows, key=lambda row: (row.image_id or "", row.sha256 or ""))
    for number, row in enumerate(ordered):
        name = (row.image_id or "").strip()
        reject = row.reject
        if not name:
            name, reject = f"row-{number}", "no image id"
        elif name in seen:
            reject = "image id appears twice"
        elif not reject and not row.sha256:
            reject = "no checksum"
        seen.add(name)
        label = LABELS.get((row.label or "").strip().lower())
        who = (row.patient_id or "").strip()
        items.append(Item(name, row.sha256 or "", label, who, row.about, reject=reject))
    return items


def file_columns(frame: Any) -> Any:
    """Turn rows of `binaryFile` into those of a data set, and keep the path.

    A file is called by its content: its name may be that of a person.
    """
    from pyspark.sql import functions as f

    checksum = f.sha2(f.col("content"), 256)
    dicom = f.col("path").rlike(DICOM_NAMES)
    return frame.select(
        "path",
        f.substring(checksum, 1, 32).alias("image_id"),
        checksum.alias("sha256"),
        f.when(dicom, f.lit("dicom")).alias("format"),
        "content",
    )


def read_folder(spark: Any, uri: str, storage: Storage) -> Inputs:
    """Return the files of a folder and all folders below it; hidden ones are left out.

    Names that begin with a dot or an underscore are hidden; empty files do not count. The files
    are read twice: for their checksums, and to judge those that have not been judged yet.

    Raises:
        UnusableInput: no such folder, or no file in it.
    """
    from pyspark.errors import PySparkException
    from pyspark.sql import functions as f

    try:
        frame = (
            spark.read.format("binaryFile")
            .option("recursiveFileLookup", "true")
            .option("ignoreCorruptFiles", "true")
            .option("ignoreMissingFiles", "true")
            .load(uri)
        )
        listed = frame.select("path", "length").toArrow().to_pydict()
    except PySparkException as error:
        if "PATH_NOT_FOUND" in str(error):
            raise UnusableInput("there is nothing at the --folder address") from error
        raise
    if not listed["path"]:
        raise UnusableInput("the folder at the --folder address has no files")
    frame = file_columns(frame.where(f.col("length") <= MAX_BYTES))
    table = frame.select("path", "image_id", "sha256").toArrow().to_pydict()
    read = {
        path: (name, checksum)
        for path, name, checksum in zip(*table.values(), strict=True)
        if name is not None
    }
    root = storage.qualified(uri)
    items = []
    for path, length in sorted(zip(listed["path"], listed["length"], strict=True)):
        file = path.removeprefix(root).lstrip("/") or path.rsplit("/", 1)[-1]
        if path in read:
            items.append(Item(*read[path], file=file))
            continue
        large = length > MAX_BYTES
        reason = f"larger than {MAX_BYTES >> 20} MiB" if large else "cannot be read"
        items.append(Item(f"file-{len(items)}", "", file=file, reject=reason))
    return Inputs(frame, sorted(items, key=lambda item: (item.image_id, item.file or "")))
