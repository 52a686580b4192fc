"""The command line of the training: its options."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from mammotrain import __version__, arguments
from mammotrain.backbones import BACKBONES, default_pooling, find
from mammotrain.decode import FITS
from mammotrain.entry import run
from mammotrain.errors import UnusableInput
from mammotrain.events import Progress
from mammotrain.loop import STRATEGIES

EPILOG = """\
exit codes: 0 done, 1 failed, 2 unusable input (nothing to train on, or wrong options)

A URI without a scheme belongs to Hadoop's default file system: a local path on a laptop, HDFS on
a cluster that has it. --output, --progress and a --weights without a scheme are always files of the
machine that this runs on.

on a cluster:
  spark-submit --master spark://MASTER:7077 --conf spark.executor.cores=2 \\
    --conf spark.cores.max=6 train.py --data hdfs:///data/mammograms --features hdfs:///features \\
    --weights hdfs:///weights/vgg16.weights.h5 --weights-sha256 HEX --output results
on a laptop:
  python train.py --data DATA --features CACHE --weights vgg16.weights.h5 --output results
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    new = argparse.ArgumentParser(
        prog="train.py",
        description="Train a mammogram classifier (benign or malignant) on Spark: the features "
        "of a frozen network once per image on the executors, then a small head on the driver.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = new.add_argument
    add("--data", required=True, metavar="URI", help="folder of the packed data set (Parquet)")
    add("--features", required=True, metavar="URI", help="folder of the feature cache")
    add("--output", required=True, type=Path, metavar="DIR", help="local folder of the results")
    add("--publish", metavar="URI", help="copy the results there as well")
    add("--progress", type=Path, metavar="FILE", help="append progress as JSON lines")
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
        choices=("texture", "avg", "blocks"),
        help="avg: average of the last map; blocks: averages and maxima of the last three blocks "
        "(vgg16, vgg19); texture: their logarithms in blocks 3 and 4 (vgg16, vgg19). Default: "
        "texture where there is one, else avg",
    )
    group(
        "--fit",
        choices=FITS,
        default="crop",
        help="squash: the whole picture becomes a square; crop: the breast alone does; pad: the "
        "breast alone, its proportions kept. Default: crop",
    )
    group(
        "--batch-size",
        type=arguments.count,
        default=8,
        metavar="N",
        help="images per pass through the backbone; memory of a worker grows with it. Default: 8",
    )
    group = new.add_argument_group("training").add_argument
    group("--epochs", type=arguments.count, default=10, metavar="N", help="default: 10")
    group("--seed", type=int, default=0, metavar="N", help="of everything random. Default: 0")
    group(
        "--head-units",
        type=arguments.whole,
        default=0,
        metavar="N",
        help="of a hidden layer; 0: none, a logistic regression. Default: 0",
    )
    group("--head-batch", type=arguments.count, default=32, metavar="N", help="default: 32")
    group("--dropout", type=arguments.fraction, default=0.0, metavar="SHARE", help="default: 0")
    group(
        "--learning-rate",
        type=arguments.positive,
        default=1e-3,
        metavar="RATE",
        help="default: 0.001",
    )
    group(
        "--l2",
        type=arguments.not_negative,
        default=0.02,
        metavar="WEIGHT",
        help="of the head's squared kernels in the loss. Default: 0.02",
    )
    group(
        "--patience",
        type=arguments.whole,
        default=0,
        metavar="N",
        help="stop after N epochs without a better validation AUC and use the head of the best "
        "one. Default: 0, never",
    )
    group(
        "--strategy",
        choices=STRATEGIES,
        default="local",
        help="local: the head on the driver; sync: on all executors, which share every gradient, "
        "equal to local; averaging: partitions alone, weights averaged after every epoch. "
        "Default: local",
    )
    group(
        "--ports",
        type=arguments.ports,
        default=(0, 0),
        metavar="FIRST-LAST",
        help="where the executors of --strategy sync listen. Default: any free port",
    )
    group(
        "--checkpoint-every",
        type=arguments.count,
        default=5,
        metavar="N",
        help="epochs between two checkpoints of --strategy sync; the others save each. Default: 5",
    )
    group = new.add_argument_group("evaluation").add_argument
    group(
        "--validation",
        type=arguments.fraction,
        default=0.2,
        metavar="SHARE",
        help="share of the patients. Default: 0.2",
    )
    group(
        "--folds",
        type=arguments.folds,
        default=0,
        metavar="N",
        help="cross-validate as well: N heads, each judged on patients it has not seen. Default: 0",
    )
    group(
        "--test",
        type=arguments.fraction,
        default=0.0,
        metavar="SHARE",
        help="default: 0, no test part",
    )
    group(
        "--bootstrap", type=arguments.count, default=1000, metavar="N", help="draws. Default: 1000"
    )
    add("--version", action="version", version=f"mammotrain {__version__}")
    return new


def main(argv: Sequence[str] | None = None) -> int:
    """Run the application and return its exit code."""
    options = parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if options.validation + options.test >= 1.0:
        parser().error("--validation and --test leave nobody to train on")
    try:
        options.pooling = options.pooling or default_pooling(options.backbone)
        offered = find(options.backbone).dimensions
    except UnusableInput as error:
        parser().error(str(error))
    if options.pooling not in offered:
        parser().error(f"--pooling {options.pooling} is not offered by {options.backbone}")
    return run(_train, options)


def _train(options: argparse.Namespace, progress: Progress) -> None:
    from mammotrain.pipeline import run as pipeline

    pipeline(options, progress)
