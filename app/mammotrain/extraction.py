"""The features stage of a run: what the cache has, what is computed, what cannot be used."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mammotrain.backbones import BOUNDARY, dimension
from mammotrain.cache import FeatureKey, FeatureRows, missing_of, read_features
from mammotrain.dataset import Image, Reject, check_usable
from mammotrain.decode import AUGMENTATIONS
from mammotrain.errors import TrainError
from mammotrain.extractor import ExtractSettings
from mammotrain.features import compute_features, sample_pixels
from mammotrain.state import State

# Features are trained on in the driver's memory; beyond this they must not be collected there.
MAX_FEATURE_BYTES = 2 * 1024**3
SAMPLES = 4


def features_of(spark: Any, state: State) -> None:
    """Fill in the features of all usable images, and of their variants where asked for.

    Raises:
        TrainError: they do not fit the driver, or the cache has lost some.
        UnusableInput: too few images are left.
    """
    options, total = state.options, len(state.images)
    variants = AUGMENTATIONS[options.augment]
    boundary = replace(state.key, pooling=BOUNDARY + state.key.pooling)
    length = state.dimension * (1 + len(variants))
    if options.fine_tune:
        length += dimension(boundary.backbone, boundary.pooling)
    if total * length * 4 > MAX_FEATURE_BYTES:
        raise TrainError(
            f"{total} images with {length} numbers each do not fit the driver "
            f"({MAX_FEATURE_BYTES >> 30} GiB at most): use --pooling avg, no --augment, no "
            "--fine-tune, or a smaller backbone"
        )
    known, state.computed = _rows(spark, state, state.key)
    state.vectors = {**known.vectors, **state.computed.vectors}
    state.warnings = {**known.warnings, **state.computed.warnings}
    _settle(state, {**known.rejects, **state.computed.rejects})
    check_usable(state.images, state.rejects, state.parts)
    for variant in variants:
        state.progress.message("info", f"features of the variant {variant}")
        state.variants[variant] = _all(spark, state, replace(state.key, variant=variant))
    if options.fine_tune:
        state.progress.message("info", "activations that go into the last block")
        state.activations = _all(spark, state, boundary)
    state.samples, state.sample_ids = sample_pixels(
        spark, state.dataset.frame, state.key, SAMPLES, {i.image_id for i in state.images}
    )


LOST = (
    "the features of {} images are not in the cache although all tasks ended well: "
    "check its storage"
)


def _all(spark: Any, state: State, key: FeatureKey) -> dict[str, npt.NDArray[np.float32]]:
    """Return further features of the images, all of which have been decoded before."""
    known, computed = _rows(spark, state, key)
    found = {**known.vectors, **computed.vectors}
    if lost := [image for image in state.images if image.sha256 not in found]:
        raise TrainError(LOST.format(len(lost)))
    return found


def _rows(spark: Any, state: State, key: FeatureKey) -> tuple[FeatureRows, FeatureRows]:
    """Return what the cache has, and what has been computed now."""
    progress, total = state.progress, len(state.images)
    root = state.root_of(key)
    length = dimension(key.backbone, key.pooling)
    known = read_features(spark, root, _ids(spark, state.images), length)
    lacking = set(missing_of(known, [image.sha256 for image in state.images]))
    missing = [image for image in state.images if image.sha256 in lacking]
    cached = total - len(missing)
    workers = sum(state.executors.values())
    progress.message(
        "info", f"features: {cached} in the cache, {len(missing)} to compute on {workers} executors"
    )
    progress.advance("features", cached, total)
    if not missing:
        return known, FeatureRows({}, {}, {})
    name = state.weights.name if state.weights else None
    options = state.options
    begin = time.monotonic()
    computed = compute_features(
        spark,
        state.dataset.frame,
        _ids(spark, missing),
        count=len(missing),
        executors=workers,
        settings=ExtractSettings(key, name, options.seed, options.batch_size),
        root=root,
        watch=lambda done: progress.advance("features", cached + done, total),
    )
    if key == state.key:  # the time that belongs to what `timings.json` counts
        state.compute_seconds = time.monotonic() - begin
    return known, computed


def _ids(spark: Any, images: list[Image]) -> Any:
    import pyarrow as pa

    return spark.createDataFrame(
        pa.table(
            {
                "image_id": pa.array([image.image_id for image in images], pa.string()),
                "sha256": pa.array([image.sha256 for image in images], pa.string()),
            }
        )
    )


def _settle(state: State, reasons: dict[str, str]) -> None:
    """Move the images that could not be decoded to the rejects; no image may just vanish."""
    missing = [image for image in state.images if image.sha256 not in state.vectors]
    if lost := [image for image in missing if image.sha256 not in reasons]:
        raise TrainError(LOST.format(len(lost)))
    if missing:
        state.rejects += [Reject(image.image_id, reasons[image.sha256]) for image in missing]
        state.images = [image for image in state.images if image.sha256 in state.vectors]
        state.progress.message("warning", f"{len(missing)} images could not be used: rejects.csv")
