#!/usr/bin/env python3
"""How long the command line takes to say what it can do, against an empty Python program.

Prints a table of medians over several runs, taken in turn, in seconds of wall-clock time. Includes
the start of the interpreter. Usage: bench/startup.py [RUNS]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

MAMMOCTL = Path(sys.executable).parent / "mammoctl"
CASES = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "mammoctl --help": [str(MAMMOCTL), "--help"],
    "mammoctl submit --help": [str(MAMMOCTL), "submit", "--help"],
}


def main() -> None:
    """Time every case in turn and print the medians."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    seconds: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(runs + 1):
        for name, argv in CASES.items():
            started = time.perf_counter()
            subprocess.run(argv, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - started)
    base = statistics.median(seconds["python -c pass"][1:])
    print(f"{'command':<26}{'median s':>10}{'max s':>8}{'ratio':>8}")
    for name, taken in seconds.items():
        median = statistics.median(taken[1:])
        print(f"{name:<26}{median:>10.3f}{max(taken[1:]):>8.3f}{median / base:>8.1f}")


if __name__ == "__main__":
    main()
