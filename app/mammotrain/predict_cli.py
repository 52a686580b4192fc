"""The command line of the predictions: its options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mammotrain import arguments
from mammotrain.entry import run
from mammotrain.events import Progress

EPILOG = """\
exit codes: 0 done, 1 failed, 2 unusable input (not one image can be judged, or wrong options)

A URI without a scheme belongs to Hadoop's default file system. --output, --progress and a --model
without a scheme are always files of the machine that this runs on.

on a cluster:
  spark-submit --master spark://MASTER:7077 --conf spark.executor.cores=2 \\
    --conf spark.cores.max=6 predict.py --model hdfs:///results/JOB/model.keras \\
    --data hdfs:///data/new --cache hdfs:///features/predictions --output results
  ... predict.py --model MODEL --folder hdfs:///incoming --watch --predictions hdfs:///judged ...
on a laptop:
  python predict.py --model results/model.keras --folder DICOMS --cache CACHE --output predicted
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    new = argparse.ArgumentParser(
        prog="predict.py",
        description="Judge mammograms with a model of train.py. Research only: no prediction may "
        "guide the care of a person.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = new.add_argument
    add("--model", required=True, metavar="URI", help="model.keras of a training")
    add("--model-sha256", type=arguments.sha256, metavar="HEX", help="refuse any other model")
    what = new.add_mutually_exclusive_group(required=True).add_argument
    what("--data", metavar="URI", help="packed data set (Parquet); labels are not needed")
    what("--folder", metavar="URI", help="folder of image files, such as a DICOM tree")
    add("--cache", metavar="URI", help="folder of scores that are known already")
    arguments.add_results(new)
    add(
        "--file-names",
        action="store_true",
        help="of a --folder: write the names of the files too. They may name people",
    )
    add(
        "--batch-size",
        type=arguments.count,
        default=8,
        metavar="N",
        help="images per pass through the model; memory of a worker grows with it. Default: 8",
    )
    add(
        "--bootstrap",
        type=arguments.count,
        default=1000,
        metavar="N",
        help="draws for the intervals, where labels are known. Default: 1000",
    )
    group = new.add_argument_group("watching a folder").add_argument
    group(
        "--watch",
        action="store_true",
        help="judge what is in --folder and whatever arrives there, each file exactly once",
    )
    group(
        "--predictions",
        metavar="URI",
        help="of --watch: folder of its table and its checkpoint; the next run goes on there",
    )
    group(
        "--once",
        action="store_true",
        help="of --watch: judge what is there now, write all predictions of the table, and end",
    )
    group(
        "--every",
        type=arguments.count,
        default=10,
        metavar="SECONDS",
        help="of --watch: look for new files that often. Default: 10",
    )
    group(
        "--files-per-batch",
        type=arguments.count,
        default=64,
        metavar="N",
        help="of --watch: at most; what a stop may have to do again. Default: 64",
    )
    arguments.add_version(new)
    return new


def main(argv: Sequence[str] | None = None) -> int:
    """Run the application and return its exit code."""
    options = parser().parse_args(argv)
    if options.watch and not (options.folder and options.predictions):
        parser().error("--watch needs --folder and --predictions")
    if options.once and not options.watch:
        parser().error("--once belongs to --watch")
    if not options.watch and not options.cache:
        parser().error("--cache is needed")
    return run(_predict, options, interrupted="interrupted: the scores computed so far are kept")


def _predict(options: argparse.Namespace, progress: Progress) -> None:
    if options.watch:
        from mammotrain.watch import run as work
    else:
        from mammotrain.predict import run as work
    work(options, progress)
