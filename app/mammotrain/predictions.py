"""What is said about one image, and the tables it is said in."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mammotrain.description import CALLED, Description
from mammotrain.inputs import Item

CSV = "predictions.csv"
PARQUET = "predictions.parquet"


@dataclass(frozen=True)
class Prediction:
    """One image judged, or rejected with a reason.

    Attributes:
        image_id: of the data set; for a file, the first half of its checksum.
        score: 0 to 1, as the model puts it out; None if rejected.
        probability: the score calibrated.
        called: `malignant` at or above the model's threshold, else `benign`.
        label: of the data set, where known.
        view: where known.
        laterality: where known.
        sha256: of the content; empty where there was none.
        reason: why it was rejected.
        warnings: what had to be mended.
        file: its path below the folder; for files.
    """

    image_id: str
    score: float | None
    probability: float | None
    called: str | None
    label: str | None
    view: str | None
    laterality: str | None
    sha256: str
    reason: str | None
    warnings: tuple[str, ...]
    file: str | None = None

    @classmethod
    def of(
        cls,
        item: Item,
        score: float | None,
        reason: str | None,
        warnings: Iterable[str],
        model: Description,
    ) -> Prediction:
        """Return the prediction of an item with this score, or this reason for having none."""
        probability, called = (None, None) if score is None else model.judge(score)
        return cls(
            item.image_id,
            score,
            probability,
            called,
            None if item.label is None else CALLED[item.label],
            item.about.get("view"),
            item.about.get("laterality"),
            item.sha256,
            reason,
            tuple(warnings),
            item.file,
        )


SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("score", pa.float32()),
        ("probability", pa.float32()),
        ("called", pa.string()),
        ("label", pa.string()),
        ("view", pa.string()),
        ("laterality", pa.string()),
        ("sha256", pa.string()),
        ("reason", pa.string()),
        ("warnings", pa.list_(pa.string())),
        ("file", pa.string()),
    ]
)


def columns(files: bool) -> list[str]:
    """Return the names of the columns; `file` only where file names are asked for."""
    return [name for name in SCHEMA.names if files or name != "file"]


def as_csv(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as CSV: nothing for what is unknown, six digits, `; ` between warnings."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(names)
        for row in rows:
            writer.writerow([_text(value) for value in row])


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return "; ".join(str(one) for one in value)
    return str(value)


def write_predictions(folder: Path, found: Sequence[Prediction], *, files: bool) -> None:
    """Write `predictions.csv` and `predictions.parquet`.

    Args:
        folder: where.
        found: a row each, in this order.
        files: with the names of files.
    """
    names = columns(files)
    as_csv(folder / CSV, names, ([getattr(one, name) for name in names] for one in found))
    table = pa.table(
        {
            name: pa.array([getattr(one, name) for one in found], SCHEMA.field(name).type)
            for name in names
        }
    )
    pq.write_table(table, folder / PARQUET)
