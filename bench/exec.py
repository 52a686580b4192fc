#!/usr/bin/env python3
"""How long ``mammoctl exec`` takes to run ``true`` on every node, against what others take.

Prints the medians of runs that take turns: ``mammoctl exec``, a bare ``ssh`` per node all at once
(the limit: as many key exchanges, and nothing else), and Ansible's raw module, without connections
left over from before. Start the command where the cluster's inventory is, with plain OpenSSH able
to reach the nodes' addresses, as in a lab. In a lab the nodes' half of each key exchange is done by
the same cores. Twelve bare nodes: mammoctl lab up --nodes 12 --name twelve

Usage: bench/exec.py INVENTORY [RUNS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from mammoctl import inventory
from mammoctl.ssh import Nodes

BIN = Path(sys.executable).parent
FRESH = ["-o", "ControlMaster=no", "-o", "ControlPath=none"]


def main() -> None:
    """Let the three take turns and print their medians."""
    cluster = inventory.load(sys.argv[1])
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    raw = ["-m", "ansible.builtin.raw", "-a", "true", "-f", "64"]
    ansible = [f"{BIN}/ansible", "all", "-i", str(cluster.source), *raw]
    mammoctl = [f"{BIN}/mammoctl", "exec", "-i", sys.argv[1], "--json", "--", "true"]
    env = inventory.ansible_env({"ANSIBLE_SSH_ARGS": " ".join(FRESH)})
    taken: dict[str, list[float]] = {"mammoctl exec": [], "ssh": [], "ansible raw": []}
    with Nodes(cluster) as nodes:
        bare = [nodes.openssh(name, "true", options=FRESH) for name in cluster.hosts]
        for _ in range(runs + 1):  # the first one only warms the disk's cache
            taken["mammoctl exec"].append(seconds([mammoctl]))
            taken["ssh"].append(seconds(bare))
            taken["ansible raw"].append(seconds([ansible], env))
    medians = {name: statistics.median(values[1:]) for name, values in taken.items()}
    print(f"true on {len(cluster.hosts)} nodes, {runs} runs, load {os.getloadavg()[0]:.1f}")
    for name, median in medians.items():
        ratio = median / medians["ssh"]
        print(f"{name:<14}{median:>7.2f} s   max {max(taken[name][1:]):.2f} s  {ratio:>5.1f} x ssh")


def seconds(commands: list[list[str]], env: dict[str, str] | None = None) -> float:
    """Run commands at the same time and return how long all of them took."""
    began = time.perf_counter()
    null = subprocess.DEVNULL
    running = [
        subprocess.Popen(argv, env=env, stdin=null, stdout=null, stderr=subprocess.PIPE)
        for argv in commands
    ]
    for process in running:
        _, said = process.communicate()
        if process.returncode:
            sys.exit(said.decode())
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
