"""The command line: options, exit codes, and the one place where errors become messages."""

from __future__ import annotations

import argparse
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from mammotrain import __version__
from mammotrain.backbones import BACKBONES, default_pooling, find
from mammotrain.decode import FITS
from mammotrain.errors import TrainError, UnusableInput
from mammotrain.events import Progress, log
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


def _fraction(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < 1.0:
        raise argparse.ArgumentTypeError("from 0 to less than 1")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("1 or more")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0.0:
        raise argparse.ArgumentTypeError("more than 0")
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not value >= 0.0:
        raise argparse.ArgumentTypeError("0 or more")
    return value


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("0 or more")
    return value


def _folds(text: str) -> int:
    value = int(text)
    if value == 1 or value < 0:
        raise argparse.ArgumentTypeError("0, or 2 and more")
    return value


def _ports(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)-(\d+)", text)
    if not match or not 0 < int(match[1]) <= int(match[2]) < 65536:
        raise argparse.ArgumentTypeError("two ports such as 7260-7276")
    return int(match[1]), int(match[2])


def _sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError("64 hexadecimal digits")
    return text.lower()


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
    group("--weights-sha256", type=_sha256, metavar="HEX", help="refuse any other weights")
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
        type=_count,
        default=8,
        metavar="N",
        help="images per pass through the backbone; memory of a worker grows with it. Default: 8",
    )
    group = new.add_argument_group("training").add_argument
    group("--epochs", type=_count, default=10, metavar="N", help="default: 10")
    group("--seed", type=int, default=0, metavar="N", help="of everything random. Default: 0")
    group(
        "--head-units",
        type=_whole,
        default=0,
        metavar="N",
        help="of a hidden layer; 0: none, a logistic regression. Default: 0",
    )
    group("--head-batch", type=_count, default=32, metavar="N", help="default: 32")
    group("--dropout", type=_fraction, default=0.0, metavar="SHARE", help="default: 0")
    group("--learning-rate", type=_positive, default=1e-3, metavar="RATE", help="default: 0.001")
    group(
        "--l2",
        type=_not_negative,
        default=0.02,
        metavar="WEIGHT",
        help="of the head's squared kernels in the loss. Default: 0.02",
    )
    group(
        "--patience",
        type=_whole,
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
        type=_ports,
        default=(0, 0),
        metavar="FIRST-LAST",
        help="where the executors of --strategy sync listen. Default: any free port",
    )
    group(
        "--checkpoint-every",
        type=_count,
        default=5,
        metavar="N",
        help="epochs between two checkpoints of --strategy sync; the others save each. Default: 5",
    )
    group = new.add_argument_group("evaluation").add_argument
    group(
        "--validation",
        type=_fraction,
        default=0.2,
        metavar="SHARE",
        help="share of the patients. Default: 0.2",
    )
    group(
        "--folds",
        type=_folds,
        default=0,
        metavar="N",
        help="cross-validate as well: N heads, each judged on patients it has not seen. Default: 0",
    )
    group("--test", type=_fraction, default=0.0, metavar="SHARE", help="default: 0, no test part")
    group("--bootstrap", type=_count, default=1000, metavar="N", help="draws. Default: 1000")
    add("--version", action="version", version=f"mammotrain {__version__}")
    return new


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


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
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )
    log.setLevel(logging.INFO)
    # Py4J logs a traceback, as the root logger, for a call that an interrupt cuts short.
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: "while sending command" not in record.getMessage())
    progress = Progress(options.progress)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        from mammotrain.pipeline import run

        run(options, progress)
    except TrainError as error:
        progress.message("error", str(error), exit_code=error.exit_code)
        return error.exit_code
    except KeyboardInterrupt:
        progress.message("error", "interrupted: the features computed so far are kept")
        return 130
    except Exception as error:
        from mammotrain.failures import explain

        traceback.print_exc()
        progress.message("error", explain(error), exit_code=1)
        return 1
    finally:
        progress.close()
    return 0
