"""What a saved model says about itself: how its pixels are made, and how its scores are read.

It lies inside the model's file, which is a zip archive to Keras: the two cannot be separated.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from mammotrain import __version__
from mammotrain.cache import FeatureKey
from mammotrain.calibration import calibrated
from mammotrain.decode import FITS, PREPROCESSING_VERSION
from mammotrain.errors import TrainError

NAME = "mammotrain.json"
SCHEMA = 1
SEEN_DIGITS = 12  # chance hits are one in millions even with a million images on both sides
CALLED = ("benign", "malignant")


@dataclass(frozen=True)
class Description:
    """See the module.

    Attributes:
        size: side of the pictures that go in, in pixels.
        fit: how a picture is brought to that size, one of `decode.FITS`.
        preprocessing: version of `decode`.
        threshold: at or above this score an image is called malignant.
        temperature: with `shift`, makes a score a probability (`calibration.calibrated`).
        shift: see there.
        chosen_on: the part of the split that threshold and temperature were chosen on.
        meaningful: False for random backbone weights.
        backbone: the network below the head.
        pooling: of its features.
        data: name of the training's data set, and checksum of its content where known.
        seen: the first `SEEN_DIGITS` digits of the checksums of the images that it was trained or
            its threshold chosen on, sorted, one after the other.
        application: that trained it.
    """

    size: int
    fit: str
    preprocessing: int
    threshold: float
    temperature: float
    shift: float
    chosen_on: str
    meaningful: bool
    backbone: str
    pooling: str
    data: dict[str, str]
    seen: str = ""
    application: str = f"mammotrain {__version__}"

    @cached_property
    def _seen(self) -> frozenset[str]:
        starts = range(0, len(self.seen), SEEN_DIGITS)
        return frozenset(self.seen[start : start + SEEN_DIGITS] for start in starts)

    def has_seen(self, sha256: str) -> bool:
        """Tell whether an image was among those of the training, by its file's checksum."""
        return sha256[:SEEN_DIGITS] in self._seen

    def judge(self, score: float) -> tuple[float, str]:
        """Return the probability of malignant that a score stands for, and what it is called."""
        probability = float(calibrated(score, self.temperature, self.shift))
        return probability, CALLED[score >= self.threshold]

    def key(self, sha256: str) -> FeatureKey:
        """Return what the scores of a model depend on, for the cache; `sha256` is its file's."""
        return FeatureKey("model", "score", self.size, sha256, self.preprocessing, self.fit)


def describe(
    metrics: dict[str, Any], key: FeatureKey, data: dict[str, Any], seen: Iterable[str]
) -> Description:
    """Return the description of a model that has just been trained.

    Args:
        metrics: contents of `metrics.json`.
        key: of its features.
        data: contents of the data set's `dataset.json`.
        seen: checksums of the images that it was trained or its threshold chosen on.
    """
    chosen = metrics["chosen"]
    return Description(
        size=key.size,
        fit=key.fit,
        preprocessing=key.preprocessing,
        threshold=float(chosen["threshold"]),
        temperature=float(chosen["temperature"]),
        shift=float(chosen["shift"]),
        chosen_on=str(chosen["part"]),
        meaningful=bool(metrics["meaningful"]),
        backbone=key.backbone,
        pooling=key.pooling,
        data={name: str(data[name]) for name in ("name", "content") if data.get(name)},
        seen="".join(sorted({sha256[:SEEN_DIGITS] for sha256 in seen})),
    )


def write_description(path: Path, description: Description) -> None:
    """Put the description into a `.keras` file, or replace the one that is there."""
    document = {"schema": SCHEMA, **asdict(description)}
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(NAME, json.dumps(document, indent=1, allow_nan=False) + "\n")


def read_description(path: Path) -> Description:
    """Return the description in a `.keras` file.

    Raises:
        TrainError: no model of this application, damaged, or one that this version would feed
            with other pixels than it was trained on.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = json.loads(archive.read(NAME))
    except (zipfile.BadZipFile, OSError) as error:
        raise TrainError("the model is no .keras file, or it is damaged") from error
    except (KeyError, ValueError) as error:
        raise TrainError(
            f"the model has no {NAME}: it is not one of this application, or of a version before "
            "predictions; train it again"
        ) from error
    names = {field.name for field in fields(Description)}
    if not isinstance(found, dict) or found.pop("schema", None) != SCHEMA or set(found) != names:
        raise TrainError("the model is of another version of the application: train it again")
    description = Description(**found)
    if description.preprocessing != PREPROCESSING_VERSION or description.fit not in FITS:
        raise TrainError(
            f"the model was trained on pixels of preprocessing {description.preprocessing}, this "
            f"application makes those of {PREPROCESSING_VERSION}: use {description.application}, "
            "or train again"
        )
    return description
