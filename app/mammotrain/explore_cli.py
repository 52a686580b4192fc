"""The command line of the look at a data set: its options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mammotrain import arguments, network
from mammotrain.entry import run
from mammotrain.events import Progress

EPILOG = """\
exit codes: 0 done, 1 failed, 2 unusable input (no such data set, or wrong options)

  python explore.py --data DATA --features CACHE --weights vgg16.weights.h5 --output explored
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    new = argparse.ArgumentParser(
        prog="explore.py",
        description="Describe a data set: SQL summaries, and k-means clusters of the features.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = new.add_argument
    add("--data", required=True, metavar="URI", help="packed data set (Parquet), labels or not")
    add("--features", required=True, metavar="URI", help="folder of the feature cache")
    arguments.add_results(new)
    network.add_options(new)
    add(
        "--clusters",
        type=arguments.clusters,
        default=8,
        metavar="N",
        help="try 2 to N clusters and take the number with the best silhouette. Default: 8",
    )
    add("--seed", type=int, default=0, metavar="N", help="of everything random. Default: 0")
    arguments.add_version(new)
    return new


def main(argv: Sequence[str] | None = None) -> int:
    """Run the application and return its exit code."""
    new = parser()
    options = new.parse_args(argv)
    network.check_options(new, options)
    return run(_explore, options)


def _explore(options: argparse.Namespace, progress: Progress) -> None:
    from mammotrain.explore import run as explore

    explore(options, progress)
