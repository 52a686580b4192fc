"""The feature cache: one Parquet row an image, under a key of everything that decides its value.

`<root>/<key>/<run>/part-*.parquet`. Every row stands on its own (image checksum, vector) and
every file appears by one rename, so a run that was cut short leaves either nothing or rows that
the next run may use; a folder per run keeps two runs from sweeping each other's unfinished files.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from mammotrain.pixels import NO_MEMORY, lasts
from mammotrain.storage import Storage

COLUMNS = (
    "sha256 string, features array<float>, reason string, warnings array<string>, "
    "node string, task long, seconds double, rss_mb double"
)


# Fields of the key that came later than the first caches.
LATE = ("precision", "variant")


LARGE = 16_384  # numbers a row; beyond this rows are fetched in pieces
PIECE_BYTES = 128 * 1024**2


@dataclass(frozen=True)
class FeatureKey:
    """What the features of an image depend on, beside the image."""

    backbone: str
    pooling: str
    size: int
    weights: str  # sha256 of the file, or `random:<seed>`
    preprocessing: int
    fit: str = "squash"
    precision: str = "float32"
    variant: str = "plain"

    def digest(self) -> str:
        """Return the key as 20 hexadecimal digits.

        Fields with a default do not count while they have it: one that is new does not make all
        caches worthless.
        """
        late = {field.name: field.default for field in fields(self) if field.name in LATE}
        known = {
            name: value
            for name, value in asdict(self).items()
            if name not in late or value != late[name]
        }
        text = json.dumps(known, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass
class FeatureRows:
    """Rows read from the cache. Order means nothing; no checksum comes twice.

    Attributes:
        vectors: checksum of the image to float32 (dimension,).
        rejects: checksum of the image to the reason.
        warnings: checksum of the image to what had to be mended.
        tasks: per node, what its tasks did.
    """

    vectors: dict[str, npt.NDArray[np.float32]]
    rejects: dict[str, str]
    tasks: dict[str, dict[str, float]]
    warnings: dict[str, list[str]] = field(default_factory=dict)


def missing_of(known: FeatureRows, wanted: Iterable[str]) -> list[str]:
    """Return the checksums that have to be computed: no vector, and no reason that lasts."""
    return [
        one
        for one in wanted
        if one not in known.vectors and not lasts(known.rejects.get(one, NO_MEMORY))
    ]


def table_of(spark: Any, folder: str) -> Any:
    """Return a folder of the cache, which exists, as a DataFrame of `COLUMNS`."""
    return (
        spark.read.schema(COLUMNS)
        .option("recursiveFileLookup", "true")
        .option("pathGlobFilter", "*.parquet")
        .option("ignoreCorruptFiles", "true")
        .option("ignoreMissingFiles", "true")
        .parquet(folder)
    )


def read_features(spark: Any, folder: str, wanted: Any, dimension: int) -> FeatureRows:
    """Read the features of the wanted images from a folder of the cache.

    Rows of another length or with values that are not finite are left out, and so are files that
    cannot be read: their images are computed again.

    Args:
        spark: the session.
        folder: URI of a key's folder or of one run in it; need not exist.
        wanted: DataFrame with a column `sha256`, small enough to broadcast.
        dimension: length of a feature vector.
    """
    from pyspark.sql import functions as f

    rows = FeatureRows({}, {}, {})
    if not Storage(spark).exists(folder):
        return rows
    found = table_of(spark, folder).join(f.broadcast(wanted), "sha256", "left_semi")
    pieces = 1
    if dimension > LARGE:
        pieces = max(1, math.ceil(wanted.count() * dimension * 4 / PIECE_BYTES))
    # The driver's JVM holds a piece at a time.
    place = f.pmod(f.hash(f.col("sha256")), f.lit(pieces))
    tables = (found.filter(place == number).toArrow() for number in range(pieces))
    seen_tasks: dict[str, set[int]] = {}
    for batch in (batch for table in tables for batch in table.to_batches()):
        columns = {name: batch.column(name) for name in batch.schema.names}
        checksums = columns["sha256"].to_pylist()
        reasons = columns["reason"].to_pylist()
        nodes, tasks = columns["node"].to_pylist(), columns["task"].to_pylist()
        seconds, memory = columns["seconds"].to_pylist(), columns["rss_mb"].to_pylist()
        vectors, warnings = columns["features"], columns["warnings"].to_pylist()
        for i, checksum in enumerate(checksums):
            if checksum in rows.vectors:
                continue  # a task that was done twice
            value = vectors[i].values
            if value is not None:
                vector = np.asarray(value.to_numpy(zero_copy_only=False), dtype=np.float32)
                if vector.shape != (dimension,) or not np.isfinite(vector).all():
                    continue
                rows.vectors[checksum] = vector
                rows.rejects.pop(checksum, None)  # of a run that had too little memory
                if warnings[i]:
                    rows.warnings[checksum] = warnings[i]
            elif reasons[i] and not lasts(rows.rejects.get(checksum, NO_MEMORY)):
                rows.rejects[checksum] = reasons[i]
            else:
                continue
            seen_tasks.setdefault(nodes[i], set()).add(tasks[i])
            node = rows.tasks.setdefault(nodes[i], {"images": 0, "seconds": 0.0, "rss_mb": 0.0})
            node["images"] += 1
            node["seconds"] += seconds[i] or 0.0
            node["rss_mb"] = max(node["rss_mb"], memory[i] or 0.0)
    for name, node in rows.tasks.items():
        node["tasks"] = len(seen_tasks[name])
    return rows
