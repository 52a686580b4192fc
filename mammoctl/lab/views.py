"""What a node sees of its memory and cores: its own limits, not the control machine's."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Keys of memory.stat: cgroup v2 name, then the v1 name.
_STAT = {
    "anon": ("anon", "total_rss"),
    "file": ("file", "total_cache"),
    "shmem": ("shmem", "total_shmem"),
    "active_anon": ("active_anon", "total_active_anon"),
    "inactive_anon": ("inactive_anon", "total_inactive_anon"),
    "active_file": ("active_file", "total_active_file"),
    "inactive_file": ("inactive_file", "total_inactive_file"),
    "mapped": ("file_mapped", "total_mapped_file"),
    "dirty": ("file_dirty", "total_dirty"),
    "writeback": ("file_writeback", "total_writeback"),
    "slab": ("slab_reclaimable", ""),
    "slab_fixed": ("slab_unreclaimable", ""),
}


def parse_stat(text: str) -> dict[str, int]:
    """Read a ``memory.stat`` file of either cgroup version (bytes)."""
    raw = {key: int(value) for key, value in (line.split() for line in text.splitlines())}
    return {name: raw.get(v2, raw.get(v1, 0)) for name, (v2, v1) in _STAT.items()}


def meminfo(limit: int, usage: int, stat: Mapping[str, int]) -> str:
    """Render ``/proc/meminfo`` for a node.

    Args:
        limit: the node's memory limit in bytes.
        usage: what its cgroup uses now, page cache included, in bytes.
        stat: the result of `parse_stat`.

    Returns:
        Text whose length does not depend on the values, so that it can be overwritten in place.
    """
    free = max(0, limit - usage)
    reclaimable = stat["active_file"] + stat["inactive_file"] + stat["slab"]
    rows = {
        "MemTotal": limit,
        "MemFree": free,
        "MemAvailable": min(limit, free + reclaimable),
        "Buffers": 0,
        "Cached": stat["file"],
        "SwapCached": 0,
        "Active": stat["active_anon"] + stat["active_file"],
        "Inactive": stat["inactive_anon"] + stat["inactive_file"],
        "Active(anon)": stat["active_anon"],
        "Inactive(anon)": stat["inactive_anon"],
        "Active(file)": stat["active_file"],
        "Inactive(file)": stat["inactive_file"],
        "Unevictable": 0,
        "Mlocked": 0,
        "SwapTotal": 0,
        "SwapFree": 0,
        "Dirty": stat["dirty"],
        "Writeback": stat["writeback"],
        "AnonPages": stat["anon"],
        "Mapped": stat["mapped"],
        "Shmem": stat["shmem"],
        "KReclaimable": stat["slab"],
        "Slab": stat["slab"] + stat["slab_fixed"],
        "SReclaimable": stat["slab"],
        "SUnreclaim": stat["slab_fixed"],
        "CommitLimit": limit,
        "Committed_AS": stat["anon"],
    }
    return "".join(f"{key + ':':<16}{value // 1024:>10} kB\n" for key, value in rows.items())


def cpuinfo(text: str, cores: int) -> str:
    """Cut ``/proc/cpuinfo`` down to ``cores`` processors, numbered from 0 in one package."""
    blocks = [block for block in text.strip().split("\n\n") if block.startswith("processor")]
    shown = []
    for number, original in enumerate(blocks[:cores]):
        block = original
        for key, value in (
            ("processor", number),
            ("core id", number),
            ("apicid", number),
            ("initial apicid", number),
            ("physical id", 0),
            ("siblings", cores),
            ("cpu cores", cores),
        ):
            block = re.sub(rf"(?m)^({key}\s*:).*$", rf"\g<1> {value}", block)
        shown.append(block)
    return "\n\n".join(shown) + "\n\n"


def online(cores: int) -> str:
    """Render ``/sys/devices/system/cpu/online`` for ``cores`` cores."""
    return "0\n" if cores == 1 else f"0-{cores - 1}\n"
