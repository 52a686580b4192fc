"""What a network makes of images, for all but training: from the cache, or computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from mammotrain import session
from mammotrain.cache import FeatureRows, missing_of, read_features
from mammotrain.extractor import ExtractSettings
from mammotrain.features import compute_features
from mammotrain.results import node_figures


@dataclass
class Looked:
    """What came of the images.

    Attributes:
        root: URI of the key's folder in the cache.
        rows: vectors, rejects and warnings by checksum.
        computed: those of this run.
        seconds: that it took to compute them, start of the workers included.
        executors: per node.
    """

    root: str
    rows: FeatureRows
    computed: FeatureRows = field(default_factory=lambda: FeatureRows({}, {}, {}))
    seconds: float = 0.0
    executors: dict[str, int] = field(default_factory=dict)

    def timings(self) -> dict[str, Any]:
        """Return `executors`, `tasks_per_node` and `features` of `timings.json`."""
        nodes = node_figures(self.computed.tasks)
        done = sum(int(node["images"]) for node in nodes.values())
        return {
            "executors": self.executors,
            "tasks_per_node": {name: node["tasks"] for name, node in nodes.items()},
            "features": {
                "computed": len(self.computed.vectors),
                "cached": len(self.rows.vectors) - len(self.computed.vectors),
                "seconds": round(self.seconds, 3),
                "images_per_second": round(done / self.seconds, 2) if done else None,
                "nodes": nodes,
            },
        }


def look_up(
    spark: Any,
    frame: Any,
    *,
    wanted: Mapping[str, str],
    settings: ExtractSettings,
    cache: str,
    advance: Callable[[int, int, int], None],
) -> Looked:
    """Return the features, or scores, of some images; what is not in the cache is computed.

    Args:
        spark: the session.
        frame: `image_id`, `sha256`, `format`, `content` of at least these images.
        wanted: ids by checksum.
        settings: network and batch size.
        cache: URI of the cache.
        advance: told how many are finished, how many had to be computed, and by how many
            executors.
    """
    looked = Looked(f"{cache.rstrip('/')}/{settings.key.digest()}", FeatureRows({}, {}, {}))
    looked.rows = read_features(spark, looked.root, _ids(spark, wanted), settings.dimension)
    looked.executors = session.executors(spark)
    missing = {sha256: wanted[sha256] for sha256 in missing_of(looked.rows, wanted)}
    workers, known = sum(looked.executors.values()), len(wanted) - len(missing)
    advance(known, len(missing), workers)
    if missing:
        begin = time.monotonic()
        looked.computed = compute_features(
            spark,
            frame,
            _ids(spark, missing),
            count=len(missing),
            executors=workers,
            settings=settings,
            root=looked.root,
            watch=lambda now: advance(known + now, len(missing), workers),
        )
        looked.seconds = time.monotonic() - begin
        looked.rows.vectors.update(looked.computed.vectors)
        looked.rows.rejects.update(looked.computed.rejects)
        for sha256 in looked.computed.vectors:
            looked.rows.rejects.pop(sha256, None)  # of a run that had too little memory
        looked.rows.warnings.update(looked.computed.warnings)
    return looked


def _ids(spark: Any, wanted: Mapping[str, str]) -> Any:
    return spark.createDataFrame(
        pa.table(
            {
                "image_id": pa.array(wanted.values(), pa.string()),
                "sha256": pa.array(wanted.keys(), pa.string()),
            }
        )
    )
