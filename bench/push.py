#!/usr/bin/env python3
"""How fast ``mammoctl data push`` brings images to the cluster, against rsync on the same link.

Prints seconds and rates, one after the other in one run: rsync of the folder to the master alone,
rsync to all nodes at once (as many copies as HDFS keeps on three nodes), and ``data push``, which
reads every file once for its checksum, takes identifiers out, packs, and writes to HDFS with its
replicas. Includes the start of each program. The images are noise, so nothing compresses. rsync has
to be on the nodes (`mammoctl exec --sudo -- apt-get install -y rsync`) and here. What is sent is
removed again.

Usage: bench/push.py INVENTORY [MEGABYTES]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mammoctl import inventory
from mammoctl.ssh import Nodes

BIN = Path(sys.executable).parent
WIDTH, HEIGHT = 1250, 1600  # 2 MB each, as one byte per pixel
NAME = "bench-push"
PLACE = "/var/tmp/mammoctl-bench-push"  # noqa: S108  of the login alone, and removed


def main() -> None:
    """Send the same folder in three ways."""
    source = sys.argv[1]
    megabytes = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    cluster = inventory.load(source)
    with tempfile.TemporaryDirectory() as folder, Nodes(cluster) as nodes:
        images(Path(folder), megabytes)
        rsync = ["rsync", "-a", "-e", f"ssh -F {nodes.ssh_config}", f"{folder}/"]
        push = [f"{BIN}/mammoctl", "data", "push", folder, "--name", NAME, "-i", source, "-q"]
        ways = {
            "rsync to the master": [[*rsync, f"{cluster.master.name}:{PLACE}/"]],
            "rsync to all nodes": [[*rsync, f"{name}:{PLACE}/"] for name in cluster.hosts],
            "mammoctl data push": [push],
        }
        taken = {}
        try:
            for name, commands in ways.items():
                nodes.run_all(["rm", "-rf", PLACE])
                taken[name] = seconds(commands)
        finally:
            nodes.run_all(["rm", "-rf", PLACE])
            remove = [f"{BIN}/mammoctl", "data", "remove", NAME, "-i", source, "--yes", "-q"]
            subprocess.run(remove, check=False)
    base = taken["rsync to the master"]
    print(f"{megabytes} MB to {len(cluster.hosts)} nodes, load {os.getloadavg()[0]:.1f}")
    for name, value in taken.items():
        rate, ratio = megabytes / value, base / value
        print(f"{name:<22}{value:>8.1f} s{rate:>8.1f} MB/s{ratio:>7.2f} of rsync to the master")


def images(folder: Path, megabytes: int) -> None:
    """Write images of noise, half of each class, each patient with two."""
    head = f"P5\n{WIDTH} {HEIGHT}\n255\n".encode()
    for number in range(megabytes // 2):
        place = folder / ("benign", "malignant")[number // 2 % 2]
        place.mkdir(exist_ok=True)
        noise = os.urandom(WIDTH * HEIGHT)
        (place / f"p{number // 2:05d}_{number % 2}.pgm").write_bytes(head + noise)


def seconds(commands: list[list[str]]) -> float:
    """Run commands at the same time and return how long all of them took."""
    began = time.perf_counter()
    running = [subprocess.Popen(argv, stdin=subprocess.DEVNULL) for argv in commands]
    codes = [process.wait() for process in running]
    if any(codes):
        sys.exit("one of them failed")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
