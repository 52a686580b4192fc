"""The command line of the training: its options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mammotrain import arguments, network, tensorflow_environment
from mammotrain.backbones import find
from mammotrain.decode import AUGMENTATIONS
from mammotrain.entry import run
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
    arguments.add_results(new)
    network.add_options(new)
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
        default=3e-3,
        metavar="RATE",
        help="default: 0.003",
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
        "--augment",
        choices=tuple(AUGMENTATIONS),
        default="none",
        help="train on more than the picture itself: flips: mirrored as well; crops: each corner's "
        "seven eighths; both. Each costs a pass through the network, cached like the first. "
        "Default: none",
    )
    group(
        "--fine-tune",
        type=arguments.whole,
        default=0,
        metavar="N",
        help="then train the network's last block with the head for N epochs, on the driver, from "
        "cached activations (vgg16, vgg19; 0.4 to 0.8 MB an image). Default: 0, never",
    )
    group(
        "--fine-tune-rate",
        type=arguments.positive,
        default=1e-5,
        metavar="RATE",
        help="of the last block. Default: 0.00001",
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
        help="cross-validate as well: N heads, each judged on patients it has not seen; with "
        "--strategy local. Default: 0",
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
    group = new.add_argument_group("report").add_argument
    group(
        "--pictures",
        type=arguments.whole,
        default=0,
        metavar="N",
        help="show the N clearest right and wrong cases of each class in report.html, with where "
        "the model looked (Grad-CAM). Only where the data set's terms allow pictures. Default: 0",
    )
    group(
        "--saved-model",
        choices=("yes", "no"),
        default="no",
        help="write saved_model.zip beside model.keras: a SavedModel of TensorFlow. Default: no",
    )
    arguments.add_version(new)
    return new


def main(argv: Sequence[str] | None = None) -> int:
    """Run the application and return its exit code."""
    new = parser()
    options = new.parse_args(argv)
    tensorflow_environment.prepare()
    if options.validation + options.test >= 1.0:
        new.error("--validation and --test leave nobody to train on")
    network.check_options(new, options)
    if options.folds and options.strategy != "local":
        new.error(
            f"--folds trains its heads on the driver and says nothing about --strategy "
            f"{options.strategy}: use it with --strategy local"
        )
    if options.fine_tune:
        if options.pooling not in find(options.backbone).last:
            new.error(f"--fine-tune is not offered for {options.backbone}")
        if options.augment != "none":
            new.error("--fine-tune trains on the pictures themselves: use it without --augment")
    return run(_train, options)


def _train(options: argparse.Namespace, progress: Progress) -> None:
    from mammotrain.pipeline import run as pipeline

    pipeline(options, progress)
