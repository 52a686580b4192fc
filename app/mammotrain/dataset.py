"""The packed data set: what is in it, and which of its rows can be used."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mammotrain.errors import UnusableInput
from mammotrain.storage import Storage

LABELS = {"benign": 0, "malignant": 1}
NEEDED = ("image_id", "patient_id", "label", "sha256", "content")
ABOUT = ("view", "laterality", "age", "density", "machine", "site")


@dataclass(frozen=True)
class Image:
    """One usable image.

    Attributes:
        image_id: pseudonym of the image.
        patient_id: pseudonym of the patient.
        label: 1 for malignant, else 0.
        sha256: checksum of its file.
        about: what is known beside, by the names in `ABOUT`; unknown values are left out.
        warnings: what the data set says about it.
    """

    image_id: str
    patient_id: str
    label: int
    sha256: str
    about: Mapping[str, str] = field(default_factory=dict, hash=False)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reject:
    """One image that is left out, and why."""

    image_id: str
    reason: str


@dataclass
class Dataset:
    """What the data set holds, before any image has been opened.

    Attributes:
        frame: DataFrame of all rows, `content` included.
        images: the usable rows, sorted by image id.
        rejects: the others.
        info: the contents of `dataset.json`, or empty.
    """

    frame: Any
    images: list[Image]
    rejects: list[Reject]
    info: dict[str, Any]

    @property
    def by_patient(self) -> bool:
        """Whether the patients of the images are known."""
        told = bool(self.info.get("patient_source") != "none")
        return told and without_patient(self.images) < len(self.images)


def owners(images: Sequence[Image]) -> list[str]:
    """Return the patient of each image, under a name that puts patients in the same order anywhere.

    It begins with the smallest checksum of the patient's files: the pseudonyms of the same patient
    differ from cluster to cluster.
    """
    mark: dict[str, str] = {}
    for image in images:
        mark[image.patient_id] = min(mark.get(image.patient_id, image.sha256), image.sha256)
    return [f"{mark[image.patient_id]} {image.patient_id}" for image in images]


def without_patient(images: Iterable[Image]) -> int:
    """Return of how many images nobody knows the patient: they are called by their own id."""
    return sum(image.patient_id == image.image_id for image in images)


def read_dataset(spark: Any, uri: str, storage: Storage) -> Dataset:
    """Read everything but the pixels of a data set.

    Raises:
        UnusableInput: not there, not Parquet, without a needed column, or empty.
    """
    frame, rows, info = read_rows(spark, uri, storage)
    images, rejects = sort_out(rows, by_patient=bool(info.get("patient_source") != "none"))
    return Dataset(frame, images, rejects, info)


def read_rows(
    spark: Any, uri: str, storage: Storage, needed: Iterable[str] = NEEDED
) -> tuple[Any, list[Row], dict[str, Any]]:
    """Return the frame of a data set, its rows without the pixels, and its `dataset.json`.

    Raises:
        UnusableInput: not there, not Parquet, without a needed column, or empty.
    """
    from pyspark.errors import PySparkException
    from pyspark.sql import functions as f

    info = _info(storage, uri)
    try:
        frame = spark.read.option("pathGlobFilter", "*.parquet").parquet(uri)
    except PySparkException as error:
        text = str(error)
        if "PATH_NOT_FOUND" in text:
            raise UnusableInput("no data set at the --data address: push one first") from error
        if "UNABLE_TO_INFER_SCHEMA" in text:
            raise UnusableInput("the data set is empty: it has no Parquet file") from error
        if re.search("FOOTER|is not a Parquet file|FAILED_READ_FILE", text):
            raise UnusableInput("a file of the data set is damaged: push it again") from error
        raise
    absent = [name for name in needed if name not in frame.columns]
    if absent:
        raise UnusableInput(f"the data set lacks the column(s) {', '.join(absent)}: push it again")
    if dict(frame.dtypes)["content"] != "binary":
        raise UnusableInput("the column content of the data set is not binary: push it again")
    if "format" not in frame.columns:
        frame = frame.withColumn("format", f.lit(None).cast("string"))
    rows = _rows(frame)
    if not rows:
        raise UnusableInput("the data set is empty: it has no rows")
    return frame, rows, info


@dataclass(frozen=True)
class Row:
    """One row of the data set without its pixels; nothing in it has been checked."""

    image_id: str | None
    patient_id: str | None
    label: str | None
    sha256: str | None
    reject: str | None = None
    about: Mapping[str, str] = field(default_factory=dict, hash=False)
    warnings: tuple[str, ...] = ()


def _rows(frame: Any) -> list[Row]:
    from pyspark.sql import functions as f

    wanted = (*NEEDED[:-1], *ABOUT, "reject")
    columns = [
        (f.col(name) if name in frame.columns else f.lit(None)).cast("string").alias(name)
        for name in wanted
    ]
    warnings = f.col("warnings") if "warnings" in frame.columns else f.array()
    columns.append(warnings.cast("array<string>").alias("warnings"))
    return [
        Row(
            row["image_id"],
            row["patient_id"],
            row["label"],
            row["sha256"],
            row["reject"],
            {name: row[name].strip() for name in ABOUT if (row[name] or "").strip()},
            tuple(row["warnings"] or ()),
        )
        for batch in frame.select(*columns).toArrow().to_batches()
        for row in batch.to_pylist()
    ]


def _info(storage: Storage, uri: str) -> dict[str, Any]:
    text = storage.read_text(f"{uri.rstrip('/')}/dataset.json")
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        value = {}
    return value if isinstance(value, dict) else {}


def sort_out(rows: Iterable[Row], by_patient: bool) -> tuple[list[Image], list[Reject]]:
    """Separate usable rows from the others by their metadata alone.

    Args:
        rows: of the data set, in any order.
        by_patient: if False, an image without a patient is its own patient.

    Returns:
        Usable images sorted by id, and rejects. Of several rows with one id, or with one content,
        the first in order of id is used: the same picture in two parts would be a leak.
    """
    images: list[Image] = []
    rejects: list[Reject] = []
    ids: set[str] = set()
    contents: set[str] = set()
    for number, row in enumerate(sorted(rows, key=_order)):
        name = (row.image_id or "").strip() or f"row-{number}"
        who = (row.patient_id or "").strip() or ("" if by_patient else name)
        value = LABELS.get((row.label or "").strip().lower())
        sha256 = row.sha256 or ""
        if not (row.image_id or "").strip():
            reason = "no image id"
        elif name in ids:
            reason = "image id appears twice"
        elif not (row.label or "").strip():
            reason = "no label"
        elif value is None:
            reason = "label is neither benign nor malignant"
        elif not who:
            reason = "no patient"
        elif row.reject:
            reason = row.reject
        elif not sha256:
            reason = "no checksum"
        elif sha256 in contents:
            reason = "same content as another image"
        else:
            ids.add(name)
            contents.add(sha256)
            images.append(Image(name, who, value, sha256, row.about, row.warnings))
            continue
        ids.add(name)
        rejects.append(Reject(name, reason))
    return images, rejects


def _order(row: Row) -> tuple[str, ...]:
    return tuple(v or "" for v in (row.image_id, row.patient_id, row.label, row.sha256))


def check_usable(images: list[Image], rejects: list[Reject], parts: int) -> None:
    """Raise UnusableInput when no training would mean anything.

    Args:
        images: what is left.
        rejects: what is not; their commonest reason is named.
        parts: how many parts the patients are to be split into.
    """
    why = ""
    if rejects:
        reason, count = Counter(reject.reason for reject in rejects).most_common(1)[0]
        why = f" ({len(rejects)} rejected, most often: {reason}, {count} times)"
    if not images:
        raise UnusableInput(f"no usable image in the data set{why}")
    found = {image.label for image in images}
    if len(found) == 1:
        only = next(name for name, value in LABELS.items() if value in found)
        raise UnusableInput(f"all usable images are {only}: both classes are needed{why}")
    patients = len({image.patient_id for image in images})
    if patients < parts:
        raise UnusableInput(
            f"{patients} patient(s) cannot be split into {parts} parts: add patients, "
            f"or leave a part out{why}"
        )
