"""What values on the command line may be, and the options that all commands have."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from mammotrain import __version__


def fraction(text: str) -> float:
    """Return a share from 0 to less than 1."""
    value = float(text)
    if not 0.0 <= value < 1.0:
        raise argparse.ArgumentTypeError("from 0 to less than 1")
    return value


def count(text: str) -> int:
    """Return a number of things, 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("1 or more")
    return value


def whole(text: str) -> int:
    """Return a number of things, 0 or more."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("0 or more")
    return value


def positive(text: str) -> float:
    """Return a number above 0."""
    value = float(text)
    if not value > 0.0:
        raise argparse.ArgumentTypeError("more than 0")
    return value


def not_negative(text: str) -> float:
    """Return a number, 0 or more."""
    value = float(text)
    if not value >= 0.0:
        raise argparse.ArgumentTypeError("0 or more")
    return value


def folds(text: str) -> int:
    """Return a number of folds; 0 means none."""
    value = int(text)
    if value == 1 or value < 0:
        raise argparse.ArgumentTypeError("0, or 2 and more")
    return value


def clusters(text: str) -> int:
    """Return a number of clusters, 2 or more."""
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError("2 or more")
    return value


def ports(text: str) -> tuple[int, int]:
    """Return the first and the last of a range of ports."""
    match = re.fullmatch(r"(\d+)-(\d+)", text)
    if not match or not 0 < int(match[1]) <= int(match[2]) < 65536:
        raise argparse.ArgumentTypeError("two ports such as 7260-7276")
    return int(match[1]), int(match[2])


def sha256(text: str) -> str:
    """Return a checksum in lower case."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError("64 hexadecimal digits")
    return text.lower()


def add_results(parser: argparse.ArgumentParser) -> None:
    """Add where a command leaves what it made and what it says meanwhile."""
    add = parser.add_argument
    add("--output", required=True, type=Path, metavar="DIR", help="local folder of the results")
    add("--publish", metavar="URI", help="copy the results there as well")
    add("--progress", type=Path, metavar="FILE", help="append progress as JSON lines")


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add ``--version``."""
    parser.add_argument("--version", action="version", version=f"mammotrain {__version__}")
