"""A running cluster against docs/security.md: sockets, units, modes, rules, keys, WireGuard."""

from __future__ import annotations

import ipaddress
import json
import re
import time
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammoctl import node_address, paths, role_settings, rotation
from mammoctl.check.peers import FRESH_S
from mammoctl.errors import MammoctlError
from mammoctl.findings import Finding, of_error
from mammoctl.status.node import UNITS

if TYPE_CHECKING:
    from mammoctl.inventory import Cluster
    from mammoctl.ssh import Nodes

OLD_S = 2 * 365 * 86400
"""Seconds after which a key is called old: rotation is asked for, nothing is wrong."""

AGAIN = "mammoctl provision"
LOCKDOWN = "mammoctl-lockdown"
_OURS = ("spark-", "hdfs-", "mammoctl-job-")
_SANDBOX = re.compile(r"^((?:NoNew|Protect|Private|Restrict|Lock)\w+)=(yes|strict)$", re.M)
_KEYS = ("/.ssh/id_ed25519", "/wireguard.key")
_INCLUDE = re.compile(r"\{% include '([^']+)' %\}")
# Path -> what its mode may have at most, and whose it is.
_FILES = {
    "/etc/spark/spark-defaults.conf": (0o640, "root"),
    "/var/lib/mammoctl/datasets/*/ids.csv": (0o600, "root"),
    "/etc/mammoctl": (0o755, "root"),
    "/etc/mammoctl/*": (0o755, "root"),
    "/etc/mammoctl/wireguard.key": (0o600, "root"),
    "/etc/spark": (0o755, "root"),
    "/etc/hadoop": (0o755, "root"),
    "/opt/mammoctl": (0o755, "root"),
    "/opt/mammoctl/bin/*": (0o755, "root"),
    "/etc/systemd/system/spark-*.service": (0o644, "root"),
    "/etc/systemd/system/hdfs-*.service": (0o644, "root"),
    "/etc/systemd/system/mammoctl-*.service": (0o644, "root"),
}


def check(nodes: Nodes) -> list[Finding]:
    """Compare every node and the inventory's folder with what is documented; changes nothing."""
    cluster = nodes.cluster
    expected = files(cluster.vars)
    program = Path(__file__).with_name("on_node.py").read_text(encoding="utf-8")
    argv = ["python3", "-", *(f"{unit}.service" for unit in UNITS), "--", *expected]
    found = of_control(cluster, time.time())
    wireguard = _wireguard(nodes) if node_address.has_wireguard(cluster.vars) else {}
    inner = {name: node_address.of_services(host) for name, host in cluster.hosts.items()}
    for name, said in nodes.run_all(argv, sudo=True, input=program, timeout=60).items():
        if isinstance(said, MammoctlError):
            found.append(of_error(name, said))
            continue
        locked = role_settings.flag(cluster.hosts[name].vars, "lockdown_enabled")
        seen, now = json.loads(said.stdout), time.time()
        found += of_node(name, seen, expected, _addresses(cluster), now, locked=locked)
        if name in wireguard:
            interface = str(role_settings.value(cluster.vars, "wireguard_interface"))
            found += of_wireguard(name, seen, wireguard[name], inner, interface)
    return found


def _wireguard(nodes: Nodes) -> dict[str, Any]:
    """Return what each node's interface says; one that does not answer is told of elsewhere."""
    program = Path(__file__).with_name("peers.py").read_text(encoding="utf-8")
    argv = ["python3", "-", str(role_settings.value(nodes.cluster.vars, "wireguard_interface"))]
    said = nodes.run_all(argv, sudo=True, input=program, timeout=60)
    return {
        name: json.loads(one.stdout)
        for name, one in said.items()
        if not isinstance(one, MammoctlError)
    }


def of_wireguard(
    name: str,
    seen: Mapping[str, Any],
    said: Mapping[str, Any],
    inner: Mapping[str, str],
    interface: str,
) -> list[Finding]:
    """Return what is wrong with a node of a cluster whose nodes talk through WireGuard (pure).

    Args:
        name: its name.
        seen: what `mammoctl.check.on_node` printed.
        said: what `mammoctl.check.peers` printed.
        inner: every node's WireGuard address; its name where the inventory does not tell.
        interface: WireGuard's.
    """
    again = "sudo systemctl restart mammoctl-wireguard there; journalctl -u mammoctl-wireguard"
    own, others = inner[name], {at: other for other, at in inner.items() if other != name}
    if not said["addresses"]:
        return [Finding(name, f"WireGuard ({interface}) is not up", f"{again}; else {AGAIN}")]
    found = []
    known = all(re.fullmatch(r"[0-9.]+", at) for at in inner.values())
    if known and said["addresses"] != [own]:
        text = f"{interface} has the address {', '.join(said['addresses'])} instead of {own}"
        found.append(Finding(name, text, AGAIN))
    for at in sorted(set(others) - set(said["peers"])) if known else []:
        found.append(Finding(name, f"WireGuard here does not know {others[at]} ({at})", AGAIN))
    for at in sorted(set(said["peers"]) - set(others)) if known else []:
        found.append(Finding(name, f"WireGuard here lets somebody else in: {at}", AGAIN))
    for at, age in said["peers"].items():
        if (at in others or not known) and (age is None or age > FRESH_S):
            since = "since it started" if age is None else f"for {age:.0f} s"
            text = f"no handshake with {others.get(at, at)} ({at}) {since}"
            mend = "see that the other node is up, and that UDP port wireguard_port is open between"
            found.append(Finding(name, text, mend))
    for one in seen["listening"]:
        if _is_ours(one) and _is_beside(one, said["addresses"]):
            text = f"port {one['port']} ({one['unit']}) answers at {one['address']}, in clear"
            found.append(Finding(name, text, AGAIN))
    if seen["guard"] is not None and not _closes_beside(seen["guard"], interface):
        found.append(Finding(name, "the guard lets in what comes beside WireGuard", AGAIN))
    return found


def _is_beside(entry: Mapping[str, Any], addresses: list[str]) -> bool:
    """Tell whether a socket can be reached by another way than WireGuard.

    TensorFlow's gRPC, in executors, knows no address to bind to: the guard alone keeps it.
    """
    address = str(entry["address"]).removeprefix("::ffff:")
    if address in ("*", "0.0.0.0", "::"):  # noqa: S104  what was seen
        return not str(entry["unit"]).startswith(("spark-worker", "mammoctl-job-"))
    return address not in addresses and not _is_local(entry)


def _closes_beside(guard: Iterable[Mapping[str, Any]], interface: str) -> bool:
    """Tell whether the guard drops what comes in by any other interface."""
    for rule in (one["rule"]["expr"] for one in guard if "rule" in one):
        matches = [part["match"] for part in rule if "match" in part]
        ours = [one for one in matches if one.get("left") == {"meta": {"key": "iifname"}}]
        if len(matches) == len(ours) == 1 and any("drop" in part for part in rule):
            return bool(ours[0]["op"] == "!=" and ours[0]["right"] == interface)
    return False


def files(settings: Mapping[str, Any]) -> dict[str, tuple[int, str]]:
    """Return path or pattern -> (the most that its mode may have, its owner)."""
    account = str(settings.get("ssh_user") or "mammoctl")
    home = str(settings.get("ssh_home") or "/var/lib/mammoctl/home")
    own = {f"{home}/.ssh": (0o700, account), f"{home}/.ssh/*": (0o600, account)}
    # A public key is no secret.
    return {**_FILES, **own, f"{home}/.ssh/*.pub": (0o644, account)}


@cache
def sandbox(unit: str) -> dict[str, str]:
    """Return what the role's template of a unit says of its sandbox: property -> value."""
    (path,) = (paths.project_root() / "roles").glob(f"*/templates/{unit}.service.j2")
    text = path.read_text(encoding="utf-8")
    parts = [(path.parent / name).read_text(encoding="utf-8") for name in _INCLUDE.findall(text)]
    return dict(_SANDBOX.findall("\n".join([text, *parts])))


def of_node(
    name: str,
    seen: Mapping[str, Any],
    expected: Mapping[str, tuple[int, str]],
    addresses: set[str],
    now: float,
    *,
    locked: bool = False,
) -> list[Finding]:
    """Return what differs on a node (pure).

    Args:
        name: its name.
        seen: what `mammoctl.check.on_node` printed.
        expected: what `files` returned.
        addresses: those of the cluster's nodes, as far as the inventory gives them.
        now: seconds since the epoch.
        locked: whether the inventory declares a lock-down of the node.
    """
    if not seen["units"]:
        return [Finding(name, "no service of a cluster is there", AGAIN)]
    found = [Finding(name, *told) for told in _guard(seen, addresses)]
    found += [Finding(name, *told) for told in _lockdown(seen["lockdown"], locked)]
    found += [Finding(name, *told) for told in _units(seen)]
    found += [Finding(name, *told) for told in _modes(seen["files"], expected)]
    for path, (_mode, _owner, _group, at) in seen["files"].items():
        if path.endswith(_KEYS) and now - at > OLD_S:
            found.append(Finding(name, *_old(path, now - at), grave=False))
    for entry in seen["listening"] if not seen["lockdown"]["live"] else []:
        if not _is_ours(entry) and entry["program"] != "sshd" and not _is_local(entry):
            port, program = entry["port"], entry["program"] or "unknown"
            text = f"port {port} is open ({program}): it is not mammoctl's, and not guarded by it"
            found.append(Finding(name, text, "see that it is meant to be", grave=False))
    return found


def _is_ours(entry: Mapping[str, Any]) -> bool:
    return str(entry["unit"]).startswith(_OURS)


def _is_local(entry: Mapping[str, Any]) -> bool:
    if str(entry["address"]) == "*":
        return False
    address = ipaddress.ip_address(str(entry["address"]))
    # Java listens with sockets of IPv6: its 127.0.0.1 is ::ffff:127.0.0.1.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _guard(seen: Mapping[str, Any], addresses: set[str]) -> Iterable[tuple[str, str, bool]]:
    ours = [one for one in seen["listening"] if _is_ours(one) and not _is_local(one)]
    if seen["guard"] is None:
        yield "the guard is not loaded", "sudo systemctl restart mammoctl-guard there", True
        return
    rules = [one["rule"]["expr"] for one in seen["guard"] if "rule" in one]
    hooks = [one["chain"].get("hook") for one in seen["guard"] if "chain" in one]
    if "input" not in hooks or not rules or not any("drop" in part for part in rules[-1]):
        yield "the guard has been changed: it does not end by dropping", AGAIN, True
    spans = [_span(part) for part in _elements(seen["guard"], "ports")]
    for one in ours:
        if not any(first <= one["port"] <= last for first, last in spans):
            text = f"port {one['port']} ({one['unit']}) answers everybody: it is not guarded"
            yield text, f"{AGAIN}; a port of your own belongs to spark_ports or hdfs_ports", True
    let_in = {str(_element(part)) for part in _elements(seen["guard"], "nodes4")}
    let_in = {one for one in let_in if not _all_in(one, addresses)}
    if others := sorted(let_in) if addresses else []:
        text = f"the guard lets others in, too: {', '.join(others)}"
        yield text, "guard_allowed names them; keep it as short as can be", False


def _lockdown(seen: Mapping[str, Any], locked: bool) -> Iterable[tuple[str, str, bool]]:
    reload = f"sudo systemctl reload {LOCKDOWN} there"
    if seen["armed"]:
        text = "rules of the lock-down wait to be confirmed: who loaded them may have been cut off"
        yield text, "wait until the node has taken them back, then look again", False
    elif locked and not seen["live"]:
        mend = f"sudo systemctl restart {LOCKDOWN} there; if there is none: {AGAIN}"
        yield "the lock-down is declared and not loaded", mend, True
    elif seen["live"] and not locked:
        text = "a lock-down is in force that the inventory does not declare"
        yield text, f"lockdown_enabled: true in the inventory, or {AGAIN}: it is removed", True
    elif seen["live"] and "policy drop" not in seen["live"]:
        yield "the lock-down has been changed: it does not drop what it does not know", reload, True
    elif seen["live"] and seen["declared"] and seen["live"] != seen["declared"]:
        text = (
            "the lock-down has been changed: its rules are not those of /etc/mammoctl/lockdown.nft"
        )
        yield text, reload, True


def _all_in(element: str, addresses: set[str]) -> bool:
    """Tell whether an element has no address but these: nft shows neighbours as a range."""
    first, dash, last = element.partition("-")
    if not dash:
        return element in addresses
    between = range(int(ipaddress.ip_address(first)), int(ipaddress.ip_address(last)) + 1)
    return len(between) <= len(addresses) and all(
        str(ipaddress.ip_address(one)) in addresses for one in between
    )


def _elements(guard: Iterable[Mapping[str, Any]], name: str) -> list[Any]:
    sets = [one["set"] for one in guard if one.get("set", {}).get("name") == name]
    return [element for one in sets for element in one.get("elem", [])]


def _element(part: Any) -> Any:
    if isinstance(part, dict) and "prefix" in part:
        return f"{part['prefix']['addr']}/{part['prefix']['len']}"
    if isinstance(part, dict) and "range" in part:
        return "-".join(map(str, part["range"]))
    return part


def _span(part: Any) -> tuple[int, int]:
    first, _dash, last = str(_element(part)).partition("-")
    return int(first), int(last or first)


def _units(seen: Mapping[str, Any]) -> Iterable[tuple[str, str, bool]]:
    for name, properties in seen["units"].items():
        wrong = [
            f"{key}={properties.get(key, '')}"
            for key, value in sandbox(name.removesuffix(".service")).items()
            if properties.get(key, value) != value
        ]
        if wrong:
            mend = f"'systemctl cat {name}' there shows which file says so: remove it, or {AGAIN}"
            yield f"{name} is less confined than it should be: {', '.join(wrong)}", mend, True
        if not name.startswith("mammoctl-") and properties.get("User", "") in ("", "root"):
            yield f"{name} runs as root", AGAIN, True
    for user, shell in seen["shells"].items():
        if user != "root" and not shell.endswith(("/nologin", "/false")):
            yield f"the account {user} has a shell ({shell})", AGAIN, True


def _modes(
    seen: Mapping[str, Any], expected: Mapping[str, tuple[int, str]]
) -> Iterable[tuple[str, str, bool]]:
    for path, (mode, owner, _group, _at) in seen.items():
        # The last pattern that matches is the one that knows it best.
        most, whose = [limit for pattern, limit in expected.items() if _matches(path, pattern)][-1]
        if mode & ~most:
            mend = f"sudo chmod {most:04o} {path} there"
            yield f"{path} has mode {mode:04o}: {most:04o} at most", mend, True
        if owner != whose:
            yield f"{path} belongs to {owner}, not {whose}", f"sudo chown {whose} {path}", True


def _matches(path: str, pattern: str) -> bool:
    return bool(re.fullmatch("[^/]*".join(map(re.escape, pattern.split("*"))), path))


def _old(path: str, seconds: float) -> tuple[str, str]:
    years = f"{seconds / 365 / 86400:.1f}"
    return f"{path} is {years} years old", "docs/security.md says how it is rotated"


def of_control(cluster: Cluster, now: float) -> list[Finding]:
    """Return what differs in the inventory's folder on this machine."""
    found = []
    folder = cluster.path / "secrets"
    # A link that leads nowhere is an editor's: its lock on a file.
    there = [path for path in (folder, *sorted(folder.glob("*"))) if path.exists()]
    for path in there:
        status, most = path.stat(), 0o700 if path.is_dir() else 0o600
        if status.st_mode & 0o7777 & ~most:
            text = f"{path} has mode {status.st_mode & 0o7777:04o}: {most:04o} at most"
            found.append(Finding("", text, f"chmod {most:04o} {path}"))
        if path.is_file() and now - status.st_mtime > OLD_S:
            found.append(Finding("", *_old(str(path), now - status.st_mtime), grave=False))
    for name in rotation.begun(cluster.path):
        text = f"a rotation of {folder / name} was begun and not finished"
        found.append(Finding("", text, "mammoctl secrets rotate"))
    keys = {host.key_file for host in cluster.hosts.values() if host.key_file}
    for key in sorted(keys):
        if key.is_file() and key.stat().st_mode & 0o077:
            mode = key.stat().st_mode & 0o7777
            found.append(Finding("", f"{key} has mode {mode:04o}: 0600", f"chmod 0600 {key}"))
    known = cluster.known_hosts
    if known.is_file() and known.stat().st_mode & 0o022:
        text = f"{known} can be changed by others: whoever does decides who counts as a node"
        found.append(Finding("", text, f"chmod 0644 {known}"))
    return found


def _addresses(cluster: Cluster) -> set[str]:
    """Return the nodes' addresses; none where one is only a name."""
    found = {node_address.of_services(host) for host in cluster.hosts.values()}
    return found if all(re.fullmatch(r"[0-9.]+", address) for address in found) else set()
