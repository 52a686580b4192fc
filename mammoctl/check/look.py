"""What is asked of a host beyond what it is: its package manager, its way to the others."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mammoctl import probe
from mammoctl.findings import Finding

# Before the probe's own questions, in the same round trip; bash, which all have, for /dev/tcp.
_SCRIPT = r"""
export LC_ALL=C
reach() {
  said=$(timeout 3 bash -c ": 3<>/dev/tcp/$2/$3" 2>&1); rc=$?
  case "$rc $said" in 0*|*refused*) echo "$1 $2 $3 ok" ;; *) echo "$1 $2 $3 no" ;; esac
}
ls /usr/lib/jvm/*/bin/javac > /dev/null 2>&1 && command -v nft > /dev/null && echo packages=1
echo "machine=$(cat /etc/machine-id 2>/dev/null)"
[ -n "$(dpkg --audit 2>/dev/null)" ] && echo broken=1
systemctl is-active --quiet unattended-upgrades.service 2>/dev/null \
  && [ -n "$(apt-config dump 2>/dev/null | grep 'Unattended-Upgrade "1"')" ] && echo unattended=1
for path in /opt /var/lib; do
  findmnt -n -o OPTIONS -T "$path" 2>/dev/null | grep -qw noexec && echo "noexec=$path"
done
[ "$(sshd -T 2>/dev/null | sed -n 's/^allowtcpforwarding //p')" = no ] && echo forwarding=no
echo "proxy=$(apt-config dump 2>/dev/null |
  sed -n 's/^Acquire::https\{0,1\}::Proxy "\(.*\)";/\1/p' | head -1)"
{
apt-get --print-uris update 2>/dev/null |
  sed -n "s|^'\(https\{0,1\}\)://\([^/']*\)/.*|\1 \2|p" | sort -u | {
  while read -r scheme server; do
    server=${server##*@} port=${server##*:}
    [ "$port" = "$server" ] && { [ "$scheme" = https ] && port=443 || port=80; }
    name=${server%%:*}
    if timeout 5 getent hosts "$name" > /dev/null; then reach mirror= "$name" "$port"; else
      echo "mirror= $name $port unresolved"; fi &
  done
  wait
} &
NODES
wait
}
"""

_NODE = r"""
echo "name={name} $(timeout 5 getent ahostsv4 {name} | awk 'NR == 1 {{print $1}}')"
reach peer={name} {address} {port} &
"""


@dataclass(frozen=True)
class Peer:
    """A node as the others must reach it: its address, and a port that the cluster will use."""

    address: str
    port: int


@dataclass(frozen=True)
class Look:
    """What a host answered; see the findings for what each means.

    ``packages``: what comes from its package sources (Java, nftables) is there already.
    """

    machine: str = ""
    packages: bool = False
    broken: bool = False
    unattended: bool = False
    noexec: tuple[str, ...] = ()
    forwarding: bool = True
    proxy: str = ""
    mirrors: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    unreached: tuple[str, ...] = ()


def script(peers: Mapping[str, Peer]) -> str:
    """Return the line of sh for all hosts: these questions, then the probe's."""
    nodes = "".join(
        _NODE.format(name=shlex.quote(name), address=shlex.quote(peer.address), port=int(peer.port))
        for name, peer in peers.items()
    )
    return _SCRIPT.replace("NODES\n", nodes) + probe.SCRIPT


def parse(text: str) -> Look:
    """Read the output of `script`."""
    many: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, separator, value = line.partition("=")
        if separator:
            many.setdefault(key, []).append(value.strip())
    mirrors = [line.split() for line in many.get("mirror", [])]
    peers = [line.split() for line in many.get("peer", [])]
    names = [line.split() for line in many.get("name", [])]
    return Look(
        machine=_first(many, "machine"),
        packages="packages" in many,
        broken="broken" in many,
        unattended="unattended" in many,
        noexec=tuple(many.get("noexec", [])),
        forwarding=_first(many, "forwarding") != "no",
        proxy=_first(many, "proxy"),
        mirrors={f"{m[0]} port {m[1]}": m[2] for m in mirrors if len(m) == 3},
        names={parts[0]: parts[1] if len(parts) > 1 else "" for parts in names if parts},
        unreached=tuple(parts[0] for parts in peers if len(parts) == 4 and parts[3] == "no"),
    )


def _first(many: Mapping[str, Sequence[str]], key: str) -> str:
    return many.get(key, [""])[0]


def of_host(
    name: str, seen: Look, *, master: bool, lock_wait_s: int, brought: bool = False
) -> Iterator[Finding]:
    """Yield what speaks against one host alone; ``brought``: the bundle has Debian packages."""
    if seen.unattended:
        yield Finding(
            name,
            "unattended upgrades are on: they may hold apt's lock, and restart services",
            f"nothing, if {lock_wait_s} s of waiting are enough (common_apt_lock_timeout_s)",
            grave=False,
        )
    if seen.broken:
        yield Finding(
            name, "packages are half installed (dpkg --audit)", "there: sudo dpkg --configure -a"
        )
    for path in seen.noexec:
        yield Finding(
            name,
            f"{path} is mounted noexec: {_NOEXEC[path]}",
            f"there: sudo mount -o remount,exec {path}, and mend /etc/fstab",
        )
    if master and not seen.forwarding:
        yield Finding(
            name,
            "its SSH server forbids forwarding: nothing can ask the Spark master from here",
            "set `AllowTcpForwarding yes` (or `local`) for the login in its sshd_config",
        )
    if not seen.proxy and not brought:  # a proxy resolves and reaches for the host
        for mirror, state in seen.mirrors.items():
            if state != "ok":
                what = "its name does not resolve" if state == "unresolved" else "no answer"
                yield Finding(
                    name,
                    f"the package source {mirror} cannot be used: {what}",
                    "check DNS and routes there, or name a reachable mirror in "
                    "/etc/apt/sources.list(.d), or a proxy in /etc/apt/apt.conf.d; without any, "
                    "common_packages_source: bundle (docs/closed.md)",
                    grave=not seen.packages,
                )


_NOEXEC = {
    "/opt": "programs of the cluster lie there",
    "/var/lib": "executors run there, and Java unpacks native code there",
}


def of_cluster(
    looks: Mapping[str, Look], peers: Mapping[str, Peer], *, hosts_managed: bool
) -> Iterator[Finding]:
    """Yield what is wrong between hosts.

    Args:
        looks: what each host that could be asked said.
        peers: how all are to be reached.
        hosts_managed: provisioning writes the names into /etc/hosts.
    """
    for name, seen in looks.items():
        for peer in seen.unreached:
            if peer != name:
                yield Finding(
                    name,
                    f"does not reach {peer} ({peers[peer].address} port {peers[peer].port})",
                    "open the network between the nodes; or give the address that they see as "
                    f"`mammoctl_node_address` of {peer}",
                )
        if hosts_managed:
            continue
        for peer, address in seen.names.items():
            if address_like(peers[peer].address) and address != peers[peer].address:
                yield Finding(
                    name,
                    f"the name {peer} leads to {address or 'nothing'}, not {peers[peer].address}",
                    "mend DNS, or let provisioning write /etc/hosts (common_manage_hosts: true)",
                )
    same: dict[str, list[str]] = {}
    for name, seen in looks.items():
        same.setdefault(seen.machine, []).append(name)
    for machine, names in same.items():
        if machine and len(names) > 1:
            yield Finding(
                ", ".join(names),
                "have the same /etc/machine-id: clones, or one machine under several names",
                "on a clone: sudo rm /etc/machine-id && sudo systemd-machine-id-setup; reboot",
                grave=False,
            )


def address_like(text: str) -> bool:
    """Tell whether it is an IP address rather than a name."""
    return bool(re.fullmatch(r"[0-9.]+|[0-9a-fA-F:]+:[0-9a-fA-F:]*", text))
