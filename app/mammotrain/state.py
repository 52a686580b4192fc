"""What one stage of a run hands to the next."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mammotrain.backbones import dimension
from mammotrain.cache import FeatureKey, FeatureRows
from mammotrain.dataset import Dataset, Image, Reject
from mammotrain.events import Progress
from mammotrain.tune import Tuner


@dataclass
class State:
    """Everything that is known about a run.

    Attributes:
        options: the command line.
        progress: where to report.
        key: what the features depend on.
        weights: local copy of the backbone's weights, or None for a random backbone.
        dataset: the data set; its DataFrame is dead once the session has been stopped.
        images: usable images; fewer after the features stage.
        rejects: the others.
        executors: executors per node when the work began.
        vectors: features by checksum.
        variants: features of the mirrored or cropped images by variant and checksum.
        untuned: `vectors` before fine-tuning has replaced them; empty without it.
        activations: what goes into the last block, flattened, by checksum; with --fine-tune.
        warnings: what had to be mended on an image, by checksum.
        computed: what this run computed itself.
        compute_seconds: how long that took, start of the workers included.
        samples: pixels of a few images, uint8 (n, size, size, 3), with their ids.
        sample_ids: see `samples`.
        pixels: of images that the report may show, by id; empty unless asked for.
        tuner: the last block as it was trained, with --fine-tune.
        epoch: the epoch, from 1, that the head is of.
        tune_epoch: the epoch of fine-tuning, from 1, that block and head are of; 0 without it.
        out_of_fold: of cross-validation: image id, fold from 1, label, score.
        skipped_partitions: of strategy `averaging`.
    """

    options: argparse.Namespace
    progress: Progress
    key: FeatureKey
    weights: Path | None
    dataset: Dataset
    images: list[Image]
    rejects: list[Reject]
    executors: dict[str, int] = field(default_factory=dict)
    vectors: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    variants: dict[str, dict[str, npt.NDArray[np.float32]]] = field(default_factory=dict)
    untuned: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    activations: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)
    computed: FeatureRows = field(default_factory=lambda: FeatureRows({}, {}, {}))
    compute_seconds: float = 0.0
    samples: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    sample_ids: list[str] = field(default_factory=list)
    pixels: dict[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    tuner: Tuner | None = None
    epoch: int = 0
    tune_epoch: int = 0
    out_of_fold: list[tuple[str, int, int, float]] = field(default_factory=list)
    skipped_partitions: int = 0

    @property
    def root(self) -> str:
        """URI of this key's folder in the cache."""
        return self.root_of(self.key)

    def root_of(self, key: FeatureKey) -> str:
        """Return the URI of a key's folder in the cache."""
        return f"{self.options.features.rstrip('/')}/{key.digest()}"

    @property
    def dimension(self) -> int:
        """Length of a feature vector."""
        return dimension(self.key.backbone, self.key.pooling)

    @property
    def parts(self) -> int:
        """How many parts the patients are split into."""
        shares: tuple[float, float] = (self.options.validation, self.options.test)
        return 1 + sum(share > 0 for share in shares)

    def arrays(self, images: list[Image]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return features (n, dimension) and labels (n,) of some images."""
        matrix = np.stack([self.vectors[image.sha256] for image in images])
        return matrix, np.array([image.label for image in images], dtype=np.int64)

    def training_arrays(
        self, images: list[Image]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return `arrays` with a row more for each variant of each image."""
        matrix, labels = self.arrays(images)
        more = [
            np.stack([vectors[image.sha256] for image in images])
            for vectors in self.variants.values()
        ]
        return np.concatenate([matrix, *more]), np.tile(labels, 1 + len(more))
