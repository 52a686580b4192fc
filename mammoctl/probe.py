"""Look at every node over SSH before anything is changed, and choose what they are given."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mammoctl import role_settings
from mammoctl.ansible import control
from mammoctl.bundle.model import ARCHITECTURES, Target
from mammoctl.bundle.sources import Sources
from mammoctl.errors import MammoctlError
from mammoctl.ssh import Nodes, require_all

if TYPE_CHECKING:
    from mammoctl.bundle import Bundle
    from mammoctl.bundle.interpreter import Interpreter
    from mammoctl.inventory import Cluster

# One round trip per host; sh, because a bare host may have no Python. No line fails the whole.
SCRIPT = r"""
. /etc/os-release 2>/dev/null
echo "id=${ID:-unknown}"
echo "version=${VERSION_ID:-}"
echo "pretty=${PRETTY_NAME:-$(uname -s)}"
echo "arch=$(uname -m)"
echo "python=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)"
echo "glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed -n 's/^glibc //p')"
echo "cores=$(nproc)"
echo "memory_kb=$(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo)"
for path in /opt /var/lib; do
  [ -d $path ] || path=/
  echo "free_kb=$(df -Pk $path | awk 'NR==2 {print $4}')"
done
for device in /sys/bus/pci/devices/*; do
  [ "$(cat $device/vendor 2>/dev/null)" = 0x10de ] || continue
  case "$(cat $device/class 2>/dev/null)" in 0x03*) echo gpu=1 ;; esac
done
[ -d /run/systemd/system ] && echo systemd=1
[ -e /etc/mammoctl/cluster.json ] && echo installed=1
# A container's clock is its host's.
if systemd-detect-virt --quiet --container 2>/dev/null; then echo time_service=host; else
  systemctl list-units --plain --no-legend --state=active 'systemd-timesyncd.service' \
    'chrony*.service' 'ntp*.service' openntpd.service 2>/dev/null |
    sed 's/^/time_service=/; s/ .*//'
fi
sudo --version 2>/dev/null | grep -q '^sudo-rs' && echo sudo_rs=1
exit 0
"""


_ROOM = "common_min_free_mb"


class NodesUnfit(MammoctlError):
    """Nodes cannot be provisioned as they are; the details name each and why."""


@dataclass(frozen=True)
class Facts:
    """What a node is.

    Attributes:
        release: distribution and version, such as ``debian12`` or ``ubuntu24.04``.
        python: the minor version of its python3, such as ``3.11``; empty when there is none.
        memory_mb: physical memory in MiB.
        free_mb: the smaller free space in MiB of /opt and /var/lib.
        glibc: the version of its C library, such as ``2.36``; empty where it is another one.
        gpus: NVIDIA display controllers that are to be used (`cuda_install`).
        installed: whether mammoctl has provisioned it before.
        sudo_rs: its ``sudo`` is sudo-rs.
        time_service: what keeps its clock right; ``host`` in a container, empty when nothing does.
    """

    release: str
    pretty: str
    arch: str
    python: str
    cores: int
    memory_mb: int
    free_mb: int
    gpus: int = 0
    systemd: bool = True
    installed: bool = False
    glibc: str = ""
    time_service: str = ""
    sudo_rs: bool = False


def parse(text: str) -> Facts:
    """Read the output of `SCRIPT`; what a host does not tell counts as nothing."""
    pairs = [line.partition("=")[::2] for line in text.splitlines() if "=" in line]
    one = dict(reversed(pairs))  # the first of each name
    many: dict[str, list[str]] = {}
    for name, value in pairs:
        many.setdefault(name, []).append(value.strip())
    version = one.get("version", "")
    major = version if one.get("id") == "ubuntu" else version.partition(".")[0]
    free = [_number(value) for value in many.get("free_kb", [])]
    return Facts(
        release=f"{one.get('id', 'unknown')}{major}",
        pretty=one.get("pretty", "an unknown system"),
        arch=one.get("arch", ""),
        python=one.get("python", "").strip(),
        cores=_number(one.get("cores", "")),
        memory_mb=_number(one.get("memory_kb", "")) // 1024,
        free_mb=min(free, default=0) // 1024,
        gpus=len(many.get("gpu", [])),
        systemd="systemd" in one,
        installed="installed" in one,
        glibc=one.get("glibc", "").strip(),
        time_service=one.get("time_service", "").strip(),
        sudo_rs="sudo_rs" in one,
    )


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"\d+", text.strip()) else 0


def probe(nodes: Nodes, extra_vars: Mapping[str, object] | None = None) -> dict[str, Facts]:
    """Look at every host of the cluster at once.

    Args:
        nodes: the hosts.
        extra_vars: variables of the user's ``-e``, which win over the inventory's.

    Raises:
        ConnectionFailed: hosts cannot be reached or give no root; all of them are named.
    """
    outcomes = nodes.run_all(SCRIPT, sudo=True, timeout=60)
    found = {name: parse(out.stdout) for name, out in require_all(outcomes).items()}
    for name, host in nodes.cluster.hosts.items():
        if {**host.vars, **(extra_vars or {})}.get("cuda_install") == "never" and name in found:
            found[name] = replace(found[name], gpus=0)
    return found


def choose_target(
    facts: Mapping[str, Facts],
    *,
    runtime: str = "auto",
    managed: Interpreter | None = None,
    sources: Sources | None = None,
    asking: Collection[str] = (),
    room_mb: Mapping[str, int] | None = None,
) -> Target:
    """Return what the bundle is made for: one Python, one architecture, the variants needed.

    Args:
        facts: what the hosts are.
        runtime: ``system`` (the hosts' own Python), ``managed``, or ``auto``: the hosts' own where
            they all have one supported minor version, else the managed one.
        managed: the managed interpreter; by default the pinned one.
        sources: what else the cluster chooses.
        asking: the hosts whose ``sudo`` gets a password.
        room_mb: free MiB that each host needs before its first installation (`room_needed`); by
            default the role's.

    Raises:
        NodesUnfit: hosts are unsupported or too different; every problem of every host is told.
    """
    from mammoctl.bundle import debian, interpreter, versions

    minors = versions.python_minors()
    pythons = {seen.python for seen in facts.values()}
    is_managed = runtime == "managed" or (
        runtime == "auto" and not (len(pythons) == 1 and pythons <= set(minors))
    )
    brought = (managed or interpreter.pinned()) if is_managed else None
    problems: list[str] = []
    for name, seen in facts.items():
        room = room_mb[name] if room_mb else role_settings.number({}, _ROOM)
        problems += [f"{name}: {text}" for text in _unfit(seen, room)]
        if seen.sudo_rs and name in asking:
            problems.append(f"{name}: {_SUDO_RS}")
        if seen.python:
            more = _unfit_managed(seen, brought) if brought else _unfit_system(seen, minors)
            problems += [f"{name}: {text}" for text in more]
    if not is_managed:
        fit = {name: seen for name, seen in facts.items() if seen.python in minors}
        problems += _mixed("Python", fit, lambda seen: seen.python, _ONE_PYTHON)
    problems += _mixed("architecture", facts, lambda seen: seen.arch, "one architecture")
    if problems:
        raise NodesUnfit(
            "these hosts cannot form a cluster as they are",
            details=problems,
            hint="mend each host, or take it out of the inventory; nothing has been changed",
        )
    first = next(iter(facts.values()))
    variants = tuple(sorted({"gpu" if seen.gpus else "cpu" for seen in facts.values()}))
    chosen = sources or Sources()
    if debian.HOSTS in chosen.packages:
        chosen = replace(chosen, packages=tuple(sorted({seen.release for seen in facts.values()})))
    if brought is None:
        return Target(first.python, first.arch, variants, chosen)
    chosen = replace(chosen, interpreter="managed", interpreter_sha256=brought.sha256)
    return Target(brought.python, first.arch, variants, chosen)


def require_fit(
    facts: Mapping[str, Facts],
    bundle: Bundle,
    *,
    asking: Collection[str] = (),
    room_mb: Mapping[str, int] | None = None,
) -> None:
    """Check that hosts can be installed from a bundle that is there already.

    Args:
        facts: what the hosts are.
        bundle: the bundle.
        asking: the hosts whose ``sudo`` gets a password.
        room_mb: see `choose_target`.

    Raises:
        NodesUnfit: some cannot; every problem of every host is told.
    """
    from mammoctl.bundle import interpreter

    target, problems = bundle.target, []
    brought = interpreter.brought(bundle)
    for name, seen in facts.items():
        room = room_mb[name] if room_mb else role_settings.number({}, _ROOM)
        found = [*_unfit(seen, room)]
        found += [_SUDO_RS] if seen.sudo_rs and name in asking else []
        found += _unfit_managed(seen, brought) if brought else []
        if not brought and seen.python and seen.python != target.python:
            found.append(f"Python {seen.python}: the bundle is for {target.python}")
        if seen.arch in ARCHITECTURES and seen.arch != target.arch:
            found.append(f"{seen.arch}: the bundle is for {target.arch}")
        if (variant := "gpu" if seen.gpus else "cpu") not in target.variants:
            found.append(
                f"the bundle has no TensorFlow for it ({variant}: bundle create --variant)"
            )
        problems += [f"{name}: {text}" for text in found]
    if problems:
        raise NodesUnfit(
            f"these hosts cannot be installed from bundle {bundle.key} ({target})",
            details=problems,
            hint="make one for them (mammoctl bundle create), or take them out of the inventory; "
            "nothing has been changed",
        )


# Its prompt is not the one that Ansible before 2.21 waits for (issue 85837 of ansible/ansible), and
# 0.2.5 swallows the input of the command together with the password.
_SUDO_RS = (
    "its sudo is sudo-rs, to which no password can be given from here: set "
    "`ansible_become_exe: sudo.ws` for it in the inventory (the other sudo; if it is missing: "
    "apt-get install sudo), or allow password-free sudo"
)
_ONE_PYTHON = "one minor version of Python (python_runtime: auto or managed brings it)"


def warnings(facts: Mapping[str, Facts]) -> list[str]:
    """Return what does not speak against the hosts today and may make trouble later."""
    adrift = [name for name, seen in facts.items() if not seen.time_service]
    if not adrift:
        return []
    return [
        f"no time service runs on {', '.join(adrift)}: the clocks will drift apart; switch one on "
        "(sudo apt-get install systemd-timesyncd)"
    ]


def room_needed(cluster: Cluster, extra: Mapping[str, Any]) -> dict[str, int]:
    """Return the free MiB that each host needs before its first installation.

    Args:
        cluster: the hosts.
        extra: the variables of ``-e``, which win.

    Raises:
        InventoryError: a value is no whole number.
    """
    return {
        name: role_settings.number({**host.vars, **extra}, _ROOM)
        for name, host in cluster.hosts.items()
    }


def _unfit(seen: Facts, room_mb: int) -> Iterable[str]:
    from mammoctl.bundle import versions

    supported = versions.load()["releases"]
    if seen.release not in supported:
        yield f"unsupported system: {seen.pretty}; supported: {', '.join(supported)}"
    if seen.arch not in ARCHITECTURES:
        yield f"unsupported architecture: {seen.arch or 'unknown'}"
    if seen.gpus and seen.arch != "x86_64":
        yield (
            f"an NVIDIA GPU on {seen.arch}: TensorFlow is not built for CUDA there; "
            "cuda_install: never uses the processor alone"
        )
    if not seen.python:
        yield "python3 is missing: sudo apt-get install python3"
    elif why := control.too_new(seen.python):
        yield why
    if not seen.systemd:
        yield "systemd does not run there: a container cannot be a node"
    if not seen.installed and seen.free_mb < room_mb:
        yield f"{seen.free_mb} MiB free below /opt and /var/lib: needs {room_mb} MiB ({_ROOM})"


def _unfit_system(seen: Facts, minors: list[str]) -> Iterable[str]:
    if seen.python not in minors:
        yield (
            f"Python {seen.python} ({seen.pretty}): needs one of {', '.join(minors)}, "
            "or python_runtime: auto or managed"
        )


def _unfit_managed(seen: Facts, brought: Interpreter) -> Iterable[str]:
    if seen.arch in ARCHITECTURES and seen.arch not in brought.arch:
        yield f"{seen.arch}: the managed Python is for {', '.join(brought.arch)} (python_archive)"
    if _ordered(seen.glibc) < _ordered(brought.glibc):
        yield (
            f"glibc {seen.glibc or 'unknown'} ({seen.pretty}): the managed Python needs "
            f"{brought.glibc} or later; give an archive made on the oldest of the systems "
            "(python_archive)"
        )


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _mixed(
    what: str, facts: Mapping[str, Facts], value: Callable[[Facts], str], needed: str
) -> list[str]:
    groups: dict[str, list[str]] = {}
    for name, seen in facts.items():
        groups.setdefault(value(seen), []).append(name)
    if len(groups) < 2:
        return []
    told = "; ".join(f"{which} on {', '.join(names)}" for which, names in sorted(groups.items()))
    return [f"the hosts differ in {what} ({told}): a cluster needs {needed}"]
