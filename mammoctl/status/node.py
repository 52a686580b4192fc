"""What one node says about itself, in one round trip that needs no root."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mammoctl import cluster as clusters
from mammoctl.cluster import ClusterFile
from mammoctl.errors import MammoctlError

UNITS = (
    "mammoctl-guard", "mammoctl-wireguard", "mammoctl-lockdown", "hdfs-namenode", "hdfs-datanode",
    "spark-master", "spark-worker", "spark-history",
)  # fmt: skip
"""Every service of a cluster, in the order of their start."""

KEPT = ("mammoctl-guard", "mammoctl-wireguard", "mammoctl-lockdown")
"""Those of them that a stop of the cluster leaves running."""

# sh, and one fork for each question: a busy node must still answer in time.
_SCRIPT = r"""
export LC_ALL=C
echo "record=$(tr -d '\n' < /etc/mammoctl/cluster.json 2>/dev/null)"
[ -d /opt/mammoctl ] && echo installed=1
echo "env=$(readlink /opt/mammoctl/env 2>/dev/null)"
echo "cores=$(nproc)"
read -r load rest < /proc/loadavg; echo "load=$load"
read -r uptime rest < /proc/uptime; echo "uptime=$uptime"
sed -n 's/^\(MemTotal\|MemAvailable\): *\([0-9]*\).*/\1=\2/p' /proc/meminfo
[ -e /run/reboot-required ] && echo reboot=1
for home in /usr/lib/jvm/*/release; do
  [ -L "${home%/release}" ] && continue
  sed -n "s|^JAVA_VERSION=\"\(.*\)\"|java=${home%/release} \1|p" "$home" 2>/dev/null
done
df -Pk -- PATHS 2>/dev/null | awk 'NR > 1 {print "disk=" $2, $3, $4, $6}'
if command -v nvidia-smi > /dev/null; then
  timeout 2 nvidia-smi --format=csv,noheader,nounits \
    --query-gpu=name,utilization.gpu,memory.used,memory.total,driver_version | sed 's/^/gpu=/'
fi
for device in /sys/bus/pci/devices/*; do
  read -r vendor 2>/dev/null < "$device/vendor" && [ "$vendor" = 0x10de ] || continue
  read -r class 2>/dev/null < "$device/class"
  case "$class" in 0x03*) echo card=1 ;; esac
done
systemctl show --property=Id,LoadState,ActiveState,SubState,UnitFileState,NRestarts UNITS
exit 0
"""


def script(paths: Iterable[str]) -> str:
    """Return the line of sh that asks a node; ``paths`` are the folders whose disks matter."""
    return _SCRIPT.replace("PATHS", shlex.join(["/", *paths])).replace(
        "UNITS", shlex.join([f"{unit}.service" for unit in UNITS])
    )


@dataclass(frozen=True)
class Disk:
    """A file system: where it is mounted, and its size in MiB."""

    path: str
    size_mb: int
    used_mb: int
    free_mb: int

    @property
    def percent(self) -> int:
        """How full it is for those who are not root, rounded up, as ``df`` does."""
        usable = self.used_mb + self.free_mb
        return -(-100 * self.used_mb // usable) if usable else 0


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver sees it; utilisation in percent, memory in MiB."""

    name: str
    used_percent: int
    memory_used_mb: int
    memory_mb: int
    driver: str


@dataclass(frozen=True)
class Unit:
    """A service: systemd's states, and how often it has been restarted by itself."""

    active: str
    sub: str
    enabled: str
    restarts: int = 0


@dataclass(frozen=True)
class NodeState:
    """A node that answered.

    Attributes:
        record: its ``cluster.json``; None where it has none that is understood.
        installed: mammoctl has put something there, if only half of it.
        env: the key of its Python environment.
        load: processes that run or wait, averaged over a minute.
        uptime_s: seconds since its start.
        memory_mb: its memory in MiB; ``memory_used_mb`` counts what cannot be given back.
        cards: NVIDIA display controllers, whether a driver knows them or not.
        java: version by home.
        units: the services that systemd knows there, without their suffix.
        reboot: a package waits for a restart of the machine.
    """

    record: ClusterFile | None
    installed: bool
    env: str
    cores: int
    load: float
    uptime_s: float
    memory_mb: int
    memory_used_mb: int
    disks: tuple[Disk, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    cards: int = 0
    java: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, Unit] = field(default_factory=dict)
    reboot: bool = False


def parse(text: str) -> NodeState:
    """Read the output of `script`; what a node does not tell counts as nothing."""
    many: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator:
            many.setdefault(name, []).append(value.strip())
    one = {name: values[0] for name, values in many.items()}
    total = _number(one.get("MemTotal", "")) // 1024
    return NodeState(
        record=_record(one.get("record", "")),
        installed="installed" in one,
        env=one.get("env", "").rpartition("/")[2],
        cores=int(_number(one.get("cores", ""))),
        load=_number(one.get("load", "")),
        uptime_s=_number(one.get("uptime", "")),
        memory_mb=int(total),
        memory_used_mb=int(total - _number(one.get("MemAvailable", "")) // 1024),
        disks=_disks(many.get("disk", [])),
        gpus=tuple(gpu for line in many.get("gpu", []) if (gpu := _gpu(line))),
        cards=len(many.get("card", [])),
        java=dict(line.split(" ", 1) for line in many.get("java", []) if " " in line),
        units=_units(text),
        reboot="reboot" in one,
    )


def _number(text: str) -> float:
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text.strip()) else 0.0


def _record(text: str) -> ClusterFile | None:
    try:
        return clusters.parse(text) if text else None
    except MammoctlError:
        return None


def _disks(lines: list[str]) -> tuple[Disk, ...]:
    found: dict[str, Disk] = {}
    for line in lines:
        size, used, free, path = line.split(" ", 3)
        found[path] = Disk(path, *(int(_number(kib)) // 1024 for kib in (size, used, free)))
    return tuple(found.values())


def _gpu(line: str) -> Gpu | None:
    parts = [part.strip() for part in line.split(",")]
    if len(parts) != 5:  # a driver that does not answer writes a sentence instead
        return None
    name, percent, used, total, driver = parts
    return Gpu(name, int(_number(percent)), int(_number(used)), int(_number(total)), driver)


def _units(text: str) -> dict[str, Unit]:
    found = {}
    for block in re.split(r"\n\s*\n", text):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        name = values.get("Id", "").removesuffix(".service")
        if name in UNITS and values.get("LoadState") != "not-found":
            found[name] = Unit(
                values.get("ActiveState", ""),
                values.get("SubState", ""),
                values.get("UnitFileState", ""),
                int(_number(values.get("NRestarts", ""))),
            )
    return found
