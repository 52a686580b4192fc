#!/usr/bin/env python3
"""What WireGuard between the nodes costs: the features stage of a training, and a copy in HDFS.

On a lab of its own (root; 5 GB of disk and 6 GB of memory per node), or on a cluster that is there
(`--inventory`: it is provisioned without and with WireGuard in turn, ends as its inventory says,
and **its cache of features is emptied**). Each round measures without, then with:

features    images per second of the features stage, as the training itself counts them
            (VGG16 with random weights: the same work as with learned ones)
HDFS write  MB per second of one file from the master, with as many copies as the cluster keeps
HDFS read   MB per second of that file on a worker

Prints the medians and their ratios. Figures of a lab are of its kernel: where that has no
WireGuard, nodes run wireguard-go, which takes far more of a processor.

Usage: bench/wireguard.py [--inventory NAME] [--data FOLDER] [--rounds 3] [--megabytes 512]
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mammoctl import inventory
from mammoctl.ssh import Nodes

LAB, SUBNET, NODES = "benchwire", "10.213.15.0/24", "3"
NODE_MEMORY = "6144m"
MAMMOCTL = Path(sys.executable).parent / "mammoctl"
HDFS = "HADOOP_USER_NAME=spark /opt/mammoctl/bin/hdfs dfs"
SET = "bench-wireguard"
FILE = "/mammoctl/data/bench-wireguard.bin"
MEASURES = ("features", "HDFS write", "HDFS read")
UNITS = {"features": "images/s", "HDFS write": "MB/s", "HDFS read": "MB/s"}


def mammoctl(*arguments: str) -> str:
    """Run a command of mammoctl and return its standard output; end where it fails."""
    done = subprocess.run([MAMMOCTL, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"mammoctl {' '.join(arguments)}: exit code {done.returncode}")
    return done.stdout


def features(name: str, nodes: Nodes, images: int) -> float:
    """Return the images per second of a training's features stage, nothing of it cached."""
    nodes.run(
        nodes.cluster.master, f"{HDFS} -rm -r -f -skipTrash '/mammoctl/features/*'", sudo=True
    )
    with tempfile.TemporaryDirectory() as results:
        options = ("--data", SET, "--weights", "none", "--epochs", "1", "--results", results)
        said: dict[str, Any] = json.loads(mammoctl("submit", "-i", name, *options, "--json"))
        path = Path(results) / str(said["job"]["id"]) / "timings.json"
        found = json.loads(path.read_text())["features"]
    if found["cached"] or found["computed"] < images:
        sys.exit(f"the features of {found['computed']} images were computed, not of {images}")
    return float(found["images_per_second"])


def copies(nodes: Nodes, megabytes: int) -> tuple[float, float]:
    """Return the MB per second of writing a file on the master, and of reading it on a worker.

    A start of the client's JVM is part of both: the same on both sides, and small for large files.
    """
    master, reader = nodes.cluster.master, nodes.cluster.workers[-1]
    made = f"head -c {megabytes}000000 /dev/urandom > /var/tmp/bench.bin"
    nodes.run(master, f"[ -s /var/tmp/bench.bin ] || {made}", sudo=True, timeout=600)
    rates = []
    for host, line in (
        (master, f"{HDFS} -put -f /var/tmp/bench.bin {FILE}"),
        (reader, f"{HDFS} -cat {FILE} > /dev/null"),
    ):
        begin = time.monotonic()
        nodes.run(host, f"sh -c {shlex.quote(line)}", sudo=True, timeout=3600)
        rates.append(megabytes / (time.monotonic() - begin))
    return rates[0], rates[1]


def measure(name: str, rounds: int, megabytes: int, images: int) -> dict[str, dict[bool, float]]:
    """Return measure -> whether WireGuard was on -> the median of its rounds."""
    found: dict[str, dict[bool, list[float]]] = {one: {False: [], True: []} for one in MEASURES}
    for number in range(rounds):
        for on in (False, True):
            print(f"round {number + 1}, {'with' if on else 'without'} WireGuard", file=sys.stderr)
            mammoctl("provision", "-i", name, "--yes", "-e", f"wireguard_enabled={str(on).lower()}")
            with Nodes(inventory.load(name)) as nodes:
                written, read = copies(nodes, megabytes)
                values = (features(name, nodes, images), written, read)
            for one, value in zip(MEASURES, values, strict=True):
                found[one][on].append(value)
    return {
        one: {on: statistics.median(values) for on, values in sides.items()}
        for one, sides in found.items()
    }


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inventory", help="a cluster that is there, instead of a lab")
    parser.add_argument("--data", type=Path, help="images to train on; else phantoms")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=512)
    options = parser.parse_args()
    name = options.inventory or LAB
    with tempfile.TemporaryDirectory() as folder:
        if not options.inventory:
            lab = ("--name", LAB, "--subnet", SUBNET, "--nodes", NODES, "--memory", NODE_MEMORY)
            mammoctl("lab", "up", *lab)
        try:
            mammoctl("provision", "-i", name, "--yes")
            data = options.data or Path(folder) / "phantoms"
            if not options.data:
                mammoctl("data", "synthesize", str(data), "--images", "300", "--patients", "100")
            pushed = json.loads(
                mammoctl("data", "push", str(data), "--name", SET, "-i", name, "--json")
            )
            found = measure(name, options.rounds, options.megabytes, int(pushed["data"]["images"]))
        finally:
            if options.inventory:
                mammoctl("data", "remove", SET, "-i", name, "--yes")
                with Nodes(inventory.load(name)) as nodes:
                    line = f"{HDFS} -rm -f -skipTrash {FILE}; rm -f /var/tmp/bench.bin"
                    nodes.run(nodes.cluster.master, f"sh -c {shlex.quote(line)}", sudo=True)
                mammoctl("provision", "-i", name, "--yes")
            else:
                mammoctl("lab", "down", "--name", LAB)
    print(f"{'':<12}{'without':>10}{'with':>10}{'ratio':>8}")
    for one, sides in found.items():
        ratio = sides[True] / sides[False]
        print(f"{one:<12}{sides[False]:>10.1f}{sides[True]:>10.1f}{ratio:>8.2f}  {UNITS[one]}")


if __name__ == "__main__":
    main()
