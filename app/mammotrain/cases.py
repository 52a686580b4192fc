"""Single cases for the report: which images were judged best and worst, and what was seen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mammotrain.cache import FeatureKey
from mammotrain.dataset import Image
from mammotrain.decode import check_checksum, decode
from mammotrain.pixels import Reject

CANDIDATES = 256  # images whose pixels the driver keeps to choose from: 38 MB
KINDS = (
    ("malignant, called so", True, True),
    ("malignant, missed", True, False),
    ("benign, called malignant", False, True),
    ("benign, called so", False, False),
)
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """One image of the report: of which kind, its score, the picture and the same with heat."""

    kind: str
    image_id: str
    score: float
    picture: Bytes
    overlay: Bytes


def candidates(images: Sequence[Image], seed: int) -> list[Image]:
    """Return the images to choose from: all, or those that a hash of seed and id puts first."""
    if len(images) <= CANDIDATES:
        return list(images)

    def place(image: Image) -> str:
        return hashlib.sha256(f"{seed}:{image.image_id}".encode()).hexdigest()

    return sorted(images, key=place)[:CANDIDATES]


def pixels_of(spark: Any, frame: Any, key: FeatureKey, images: Sequence[Image]) -> dict[str, Bytes]:
    """Return the pixels of some images as the network sees them, by id: uint8 (size, size, 3).

    They are decoded on the executors; one that cannot be decoded is left out.

    Args:
        spark: the session.
        frame: the data set.
        key: says how pixels are made.
        images: which.
    """
    from pyspark.sql import functions as f

    def decoded(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = zip(*(batch.column(c).to_pylist() for c in batch.schema.names), strict=True)
            for image_id, sha256, kind, content in rows:
                try:
                    check_checksum(content, sha256)
                    grey = decode(content, kind, key.size, key.fit).pixels[:, :, 0].tobytes()
                except Reject:
                    continue
                yield pa.record_batch({"image_id": pa.array([image_id]), "grey": pa.array([grey])})

    wanted = spark.createDataFrame([(image.image_id,) for image in images], "image_id string")
    rows = frame.select("image_id", "sha256", "format", "content")
    rows = rows.join(f.broadcast(wanted), "image_id", "left_semi")
    table = rows.mapInArrow(decoded, "image_id string, grey binary").toArrow().to_pydict()
    result = {}
    for image_id, grey in zip(table["image_id"], table["grey"], strict=True):
        one = np.frombuffer(grey, np.uint8).reshape(key.size, key.size, 1)
        result[image_id] = np.repeat(one, 3, axis=2)
    return result


def choose(
    images: Sequence[Image], scores: npt.NDArray[Any], threshold: float, count: int
) -> list[tuple[str, Image, float]]:
    """Return kind, image and score of the `count` most decided images of each of KINDS.

    Args:
        images: of the part that is judged.
        scores: of each.
        threshold: at or above it an image is called malignant.
        count: of each kind, or fewer where there are not as many.
    """
    chosen = []
    for kind, ill, called in KINDS:
        fitting = [
            (float(score), image)
            for image, score in zip(images, scores, strict=True)
            if bool(image.label) == ill and (score >= threshold) == called
        ]
        fitting.sort(key=lambda pair: (-pair[0] if called else pair[0], pair[1].image_id))
        chosen += [(kind, image, score) for score, image in fitting[:count]]
    return chosen


def cases_of(
    model: Path, chosen: Sequence[tuple[str, Image, float]], pixels: Mapping[str, Bytes]
) -> list[Case]:
    """Return the chosen images with Grad-CAM overlays by the saved model."""
    import keras

    from mammotrain.gradcam import heat_maps, overlay

    if not chosen:
        return []
    pictures = np.array([pixels[image.image_id] for _, image, _ in chosen])
    heat = heat_maps(keras.models.load_model(model, compile=False), pictures)
    return [
        Case(kind, image.image_id, score, pictures[i], overlay(pictures[i], heat[i]))
        for i, (kind, image, score) in enumerate(chosen)
    ]
