"""The frozen network of a run: its options, its weights on every node, the key of its features."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from mammotrain import arguments
from mammotrain.backbones import (
    BACKBONES,
    PRECISIONS,
    default_pooling,
    file_sha256,
    find,
    is_legacy_format,
)
from mammotrain.cache import FeatureKey
from mammotrain.decode import FITS, PREPROCESSING_VERSION
from mammotrain.errors import TrainError, UnusableInput
from mammotrain.storage import Storage, has_scheme

NO_WEIGHTS = "no weights file at the --weights address (or use --weights none)"


def add_options(new: argparse.ArgumentParser) -> None:
    """Add the options of the network to a command line."""
    group = new.add_argument_group("network").add_argument
    group(
        "--backbone",
        default="vgg16",
        metavar="NAME",
        help=f"{', '.join(sorted(BACKBONES))}, or any other network of keras.applications. "
        "Default: vgg16",
    )
    group(
        "--weights",
        required=True,
        metavar="URI|none",
        help="weights of the backbone without its top (.weights.h5 or .h5); "
        "none: random, the predictions then mean nothing",
    )
    group("--weights-sha256", type=arguments.sha256, metavar="HEX", help="refuse any other weights")
    group(
        "--pooling",
        choices=("averages", "texture", "avg", "blocks"),
        help="avg: average of the last map; blocks: averages and maxima of the last three blocks; "
        "texture: their logarithms in blocks 3 and 4; averages: without the maxima (all but avg: "
        "vgg16, vgg19). Default: averages where there are some, else avg",
    )
    group(
        "--fit",
        choices=FITS,
        default="crop",
        help="squash: the whole picture becomes a square; crop: the breast alone does; pad: the "
        "breast alone, its proportions kept. Default: crop",
    )
    group(
        "--precision",
        choices=tuple(PRECISIONS),
        default="float32",
        help="of the network's arithmetic. bfloat16 helps on processors with AVX512_BF16 or AMX "
        "and on GPUs, float16 on GPUs; elsewhere both are slower. Default: float32",
    )
    group(
        "--batch-size",
        type=arguments.count,
        default=8,
        metavar="N",
        help="images per pass through the backbone; memory of a worker grows with it. Default: 8",
    )


def check_options(new: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Fill in the pooling; a network or a pooling that there is not ends the command."""
    try:
        options.pooling = options.pooling or default_pooling(options.backbone)
        offered = find(options.backbone).dimensions
    except UnusableInput as error:
        new.error(str(error))
    if options.pooling not in offered:
        new.error(f"--pooling {options.pooling} is not offered by {options.backbone}")


def check_weights(options: argparse.Namespace) -> None:
    """Look for weights that are a file of this machine, before anything is started.

    Raises:
        TrainError: they are not there.
    """
    weights = options.weights
    if weights != "none" and not has_scheme(weights) and not Path(weights).is_file():
        raise TrainError(NO_WEIGHTS)


def bring_weights(
    spark: Any, storage: Storage, options: argparse.Namespace, scratch: Path
) -> Path | None:
    """Send the weights to every node, check them, and keep a copy that outlives the session.

    Returns:
        The copy, called as on the nodes; None for a random network.

    Raises:
        TrainError: they are not there, not those that were meant, or no weights.
    """
    if options.weights == "none":
        return None
    from pyspark import SparkFiles

    if has_scheme(options.weights) and not storage.exists(options.weights):
        raise TrainError(NO_WEIGHTS)
    spark.sparkContext.addFile(options.weights)
    source = Path(SparkFiles.get(options.weights.rsplit("/", 1)[-1]))
    found = file_sha256(source)
    if options.weights_sha256 and found != options.weights_sha256:
        raise TrainError(
            f"the weights have sha256 {found[:12]}..., not {options.weights_sha256[:12]}...: "
            "the file is damaged or another one"
        )
    is_legacy_format(source)  # here rather than on every node, again and again
    copy = scratch / source.name
    shutil.copyfile(source, copy)
    return copy


def feature_key(options: argparse.Namespace, weights: Path | None) -> FeatureKey:
    """Return what the features of a run depend on, beside the images."""
    return FeatureKey(
        backbone=options.backbone,
        pooling=options.pooling,
        size=find(options.backbone).size,
        weights=file_sha256(weights) if weights else f"random:{options.seed}",
        preprocessing=PREPROCESSING_VERSION,
        fit=options.fit,
        precision=options.precision,
    )
