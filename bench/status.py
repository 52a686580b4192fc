#!/usr/bin/env python3
"""How long ``mammoctl status`` takes on a cluster: wall-clock and processor seconds.

Prints the medians over several runs, and what the nodes themselves took. Start the command where
the cluster's inventory is. Usage: bench/status.py INVENTORY [RUNS]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

MAMMOCTL = Path(sys.executable).parent / "mammoctl"


def main() -> None:
    """Run the command several times and print the medians."""
    inventory = sys.argv[1]
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    wall, processor, asking = [], [], []
    nodes = 0
    for _ in range(runs + 1):  # the first one only warms the disk's cache
        before, started = os.times(), time.perf_counter()
        argv = [str(MAMMOCTL), "status", "-i", inventory, "--json"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):
            sys.exit(done.stderr)
        wall.append(time.perf_counter() - started)
        after = os.times()
        used = after.children_user + after.children_system
        processor.append(used - before.children_user - before.children_system)
        document = json.loads(done.stdout)
        asking.append(float(document["seconds"]))
        nodes = len(document["nodes"])
    print(f"mammoctl status, {nodes} nodes, {runs} runs, load {os.getloadavg()[0]:.1f}")
    for name, taken in (("wall", wall), ("processor", processor), ("asking the nodes", asking)):
        values = taken[1:]
        print(f"{name:<18}{statistics.median(values):>8.2f} s   max {max(values):.2f} s")


if __name__ == "__main__":
    main()
