"""Memory and CPU limits of nodes: parsing, defaults, and which cores a node may use."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence

from mammoctl.errors import UsageError

MIN_MEMORY_MB = 256
_UNITS = {"": 1, "m": 1, "mb": 1, "mib": 1, "g": 1024, "gb": 1024, "gib": 1024}


def parse_memory(text: str) -> int:
    """Turn ``2g``, ``1.5GiB`` or ``2048`` (MiB) into MiB.

    Raises:
        UsageError: not a size, or less than a node can boot with.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    if not match or match[2].lower() not in _UNITS:
        raise UsageError(f"--memory: {text!r} is not a size", hint="for example 4g or 2048m")
    mib = int(float(match[1]) * _UNITS[match[2].lower()])
    if mib < MIN_MEMORY_MB:
        raise UsageError(
            f"--memory: {text!r} is less than the {MIN_MEMORY_MB} MiB that a node boots with",
            hint="for example 4g or 2048m",
        )
    return mib


def parse_cpus(text: str, available: int) -> float:
    """Turn ``2`` or ``0.6`` into a number of cores, at most ``available``.

    Raises:
        UsageError: not a number, too small, or more than the machine has.
    """
    try:
        cpus = float(text)
    except ValueError:
        cpus = math.nan
    if not 0.05 <= cpus <= available:
        raise UsageError(
            f"--cpus: {text!r} is not a number of cores between 0.05 and {available}",
            hint=f"this machine has {available} cores; fractions such as 0.6 are fine",
        )
    return cpus


def per_node(text: str, nodes: int, option: str) -> list[str]:
    """Split a comma list into one value per node; a single value is for all.

    Raises:
        UsageError: the list has neither one value nor one for each node.
    """
    values = [value.strip() for value in text.split(",")]
    if len(values) == 1:
        return values * nodes
    if len(values) != nodes:
        raise UsageError(
            f"{option}: {len(values)} values for {nodes} nodes",
            hint="give one value for all nodes, or one for each, separated by commas",
        )
    return values


def default_memory_mb(nodes: int, total_mb: int) -> int:
    """Return the memory of a node: 6 GiB, or a fair share of nine tenths of the machine."""
    return max(MIN_MEMORY_MB, min(6144, int(total_mb * 0.9) // nodes))


def total_memory_mb() -> int:
    """Return the memory of the control machine in MiB."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20


def usable_cores() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def visible_cores(cpus: float) -> int:
    """Return how many cores a node with a limit of ``cpus`` shows."""
    return max(1, math.ceil(cpus))


def assign_cores(cpus: Sequence[float], available: Sequence[int]) -> list[list[int]]:
    """Choose the cores that each node may run on, so that it sees as many as it has.

    When the limits do not fit on the cores side by side, pinning would make nodes that share a core
    slower than the others: then every node may use all cores, and only its quota holds.
    """
    load = dict.fromkeys(available, 0.0)
    chosen = []
    for value in cpus:
        count = visible_cores(value)
        cores = sorted(sorted(available, key=lambda core: load[core])[:count])
        for core in cores:
            load[core] += value / count
        chosen.append(cores)
    if max(load.values()) > 1.001:
        return [list(available) for _ in cpus]
    return chosen
