"""What a support bundle takes from a node: one script, one round trip, sections of text."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterable
from dataclasses import dataclass

from mammoctl import logs, role_settings
from mammoctl.inventory import Host
from mammoctl.status.node import UNITS

LINES = 1000
"""Lines of each journal, the newest."""

SECTION_BYTES = 2_000_000
"""The most of a section that is taken: its end."""

COMMAND_S = 20
"""Seconds that a question may take."""

SETTINGS = (
    "/etc/spark/spark-defaults.conf",
    "/etc/spark/spark-env.sh",
    "/etc/spark/log4j2.properties",
    "/etc/hadoop/core-site.xml",
    "/etc/hadoop/hdfs-site.xml",
    "/etc/hadoop/log4j2.properties",
    "/etc/mammoctl/cluster.json",
)
"""The files that are taken, by name: never a folder, so that nothing comes along unseen."""

ENVIRONMENT = "/opt/mammoctl/env"

_PACKAGES = (
    "openjdk-* nftables wireguard-* openssh-server sudo sudo-rs systemd python3 nvidia-* cuda-* "
    "libc6"
)
_JOURNAL = "journal/"
_NAMES = "names"
_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


@dataclass(frozen=True)
class Part:
    """A file of the archive: its path below the node's folder, what it is, how it is asked for.

    Attributes:
        path: relative, such as ``system.txt``.
        what: in words, for the list of contents.
        command: a line of sh.
    """

    path: str
    what: str
    command: str


def parts(host: Host) -> list[Part]:
    """Return what is asked of a node."""
    folders = ("hdfs_data_dir", "hdfs_name_dir", "spark_var_dir")
    paths = shlex.join(["/", "/opt", *(str(role_settings.value(host.vars, n)) for n in folders)])
    units = shlex.join(f"{unit}.service" for unit in UNITS)
    found = [
        Part(
            "system.txt",
            "kernel, release, processors, uptime, clock",
            "uname -srvmo; cat /etc/os-release; uptime; date -u; nproc; "
            "lscpu | grep -E '^(Architecture|CPU\\(s\\)|Model name|Thread|Core|Socket|Flags)'; "
            "systemd-detect-virt; timedatectl show --property=NTPSynchronized --property=NTP; "
            "ls /run/reboot-required",
        ),
        Part(
            "memory.txt",
            "memory, swap, and what uses most of it (programs and units, no arguments)",
            "free -m; swapon --show; cat /proc/pressure/memory; "
            "ps -eo pid,unit,rss,pcpu,etimes,comm --sort=-rss | head -40",
        ),
        Part(
            "disk.txt",
            "file systems and block devices, with what is free",
            f"df -PTh -- {paths}; echo; df -Pi -- {paths}; echo; df -PTh; echo; "
            "lsblk --output NAME,SIZE,TYPE,ROTA,FSTYPE,MOUNTPOINT",
        ),
        Part(
            "network.txt",
            "addresses, routes, listening ports with their programs",
            "ip -brief address; ip route; echo; ss -Hlntup",
        ),
        Part(
            "guard.txt",
            "the rules of the guard, and of the lock-down where there is one",
            "nft list table inet mammoctl; "
            "nft list table inet mammoctl_lockdown 2>/dev/null || true",
        ),
        Part(
            "wireguard.txt",
            "WireGuard's interfaces, without private keys",
            "command -v wg > /dev/null && wg show",
        ),
        Part(
            "services.txt",
            "the cluster's services, and those of the machine that failed",
            f"systemctl status --no-pager --full --lines=0 {units}; echo; "
            "systemctl list-units --no-pager --plain --failed",
        ),
        Part("units.txt", "the services' unit files", f"systemctl cat --no-pager {units}"),
        Part(
            "kernel.txt",
            "the kernel's warnings and what ended for lack of memory",
            "journalctl --quiet --no-pager --output=short-iso --dmesg --priority=warning "
            "--lines=300",
        ),
        Part(
            "packages.txt",
            "packages of the Python environment, and the Debian packages that matter",
            f"readlink {ENVIRONMENT}; {ENVIRONMENT}/bin/python --version; "
            f"ls -1 {ENVIRONMENT}/lib/python3*/site-packages | "
            "sed -n 's/-\\([^-]*\\)\\.dist-info$/==\\1/p'; echo; "
            f"dpkg-query --show --showformat='${{Package}}==${{Version}}\\n' {_PACKAGES} "
            "2>/dev/null | sed '/==$/d'",
        ),
        Part(
            "gpu.txt",
            "GPUs as the driver and the bus see them",
            "command -v nvidia-smi > /dev/null && nvidia-smi; "
            "grep -l 0x10de /sys/bus/pci/devices/*/vendor",
        ),
    ]
    for unit in UNITS:
        argv = logs.Question((f"{unit}.service",), LINES).argv()
        what = f"the last {LINES} lines of the journal of {unit}"
        found.append(Part(f"{_JOURNAL}{unit}.txt", what, shlex.join(argv)))
    for path in SETTINGS:
        line = f"[ ! -e {shlex.quote(path)} ] || cat -- {shlex.quote(path)}"
        found.append(Part(f"settings{path}", f"{path}, secrets removed", line))
    return found


def script(asked: Iterable[Part], mark: str) -> str:
    """Return the line of sh that answers all parts, each behind a line ``MARK PATH``.

    Args:
        asked: what to ask.
        mark: a word that no answer contains, such as 32 random digits.
    """
    lines = ["export LC_ALL=C.UTF-8 SYSTEMD_COLORS=0 SYSTEMD_PAGER=cat"]
    asked = [Part(_NAMES, "", "hostname 2>/dev/null; hostname --fqdn 2>/dev/null"), *asked]
    for part in asked:
        inner = shlex.quote(part.command)
        lines.append(f"printf '\\n%s %s\\n' {mark} {shlex.quote(part.path)}")
        lines.append(f"timeout {COMMAND_S} sh -c {inner} 2>&1 | tail -c {SECTION_BYTES}")
    return "\n".join([*lines, f"printf '\\n%s end\\n' {mark}", "exit 0"])


@dataclass(frozen=True)
class Answer:
    """What a node said: text by path, and the names that it calls itself by.

    ``complete`` is false where the connection broke in the middle.
    """

    texts: dict[str, str]
    names: tuple[str, ...]
    complete: bool


def parse(node: str, text: str, mark: str) -> Answer:
    """Read the output of `script`; what a node had nothing to say about is left out."""
    texts: dict[str, str] = {}
    path, complete = "", False
    lines: dict[str, list[str]] = {}
    for line in text.split("\n"):
        if line.startswith(f"{mark} "):
            path = line.removeprefix(f"{mark} ")
            complete = complete or path == "end"
        elif path:
            lines.setdefault(path, []).append(line)
    for path, said in lines.items():
        journal = path.startswith(_JOURNAL)
        whole = "\n".join(_entry(node, line) if journal else line for line in said).strip("\n")
        if whole and path != "end":
            texts[path] = whole + "\n"
    names = texts.pop(_NAMES, "").split()
    return Answer(texts, tuple(name for name in names if _HOST_NAME.fullmatch(name)), complete)


def _entry(node: str, line: str) -> str:
    found = logs.parse(node, line)
    if found is None:
        return line
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.time))
    name = logs.PRIORITIES[found.priority] if found.priority < len(logs.PRIORITIES) else "?"
    return f"{when} {name:7} {logs.plain(found.message)}"
