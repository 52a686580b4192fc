"""What a machine has: cores, memory, disks, GPUs."""

from __future__ import annotations

from dataclasses import dataclass

from mammoctl import probe

_DISKS = r"""
df -PkT -x tmpfs -x devtmpfs -x efivarfs -x squashfs 2>/dev/null |
  awk 'NR > 1 && $7 !~ "^/boot" {print "disk=" $2, $3, $5, $7}'
"""


@dataclass(frozen=True)
class Disk:
    """A file system: where it is mounted, its kind, size and free space in MiB."""

    path: str
    kind: str
    size_mb: int
    free_mb: int


@dataclass(frozen=True)
class Machine:
    """A machine that answered; its ``release`` as we name it, and as it does (``pretty``)."""

    release: str
    pretty: str
    python: str
    cores: int
    memory_mb: int
    gpus: int
    disks: tuple[Disk, ...]


def script() -> str:
    """Return the line of sh that asks a machine; it needs no root."""
    return _DISKS + probe.SCRIPT


def parse(text: str) -> Machine:
    """Read the output of `script`."""
    facts = probe.parse(text)
    disks = {}
    for line in text.splitlines():
        parts = line.removeprefix("disk=").split(" ", 3)
        if line.startswith("disk=") and len(parts) == 4 and parts[1].isdigit():
            kind, size, free, path = parts
            disks[path] = Disk(path, kind, int(size) // 1024, int(free) // 1024)
    return Machine(
        facts.release, facts.pretty, facts.python, facts.cores, facts.memory_mb, facts.gpus,
        tuple(disks.values()),
    )  # fmt: skip


def larger_disk(machine: Machine) -> Disk | None:
    """Return a disk of its own with more than twice the room of the one of ``/var/lib``."""
    usual = max(
        (disk for disk in machine.disks if "/var/lib".startswith(disk.path.rstrip("/") + "/") or
         disk.path == "/"),
        key=lambda disk: len(disk.path), default=None,
    )  # fmt: skip
    others = [
        disk
        for disk in machine.disks
        if disk is not usual and disk.kind in ("ext4", "xfs", "btrfs", "zfs", "ext3")
        and disk.path not in ("/home", "/usr", "/tmp", "/var/log", "/var/tmp", "/srv/backup")  # noqa: S108
    ]  # fmt: skip
    best = max(others, key=lambda disk: disk.free_mb, default=None)
    if best is None or (usual is not None and best.free_mb <= 2 * usual.free_mb):
        return None
    return best
