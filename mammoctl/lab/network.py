"""The lab's network: a bridge, one namespace and cable per node, and masquerading."""

from __future__ import annotations

import ipaddress
import json
import os
from pathlib import Path

from mammoctl import console
from mammoctl.errors import LabError, UsageError
from mammoctl.lab import sysctl
from mammoctl.lab.state import LabState, NodeState
from mammoctl.lab.system import run, succeeds

DEFAULT_SUBNET = "10.177.33.0/24"


def parse_subnet(text: str, nodes: int) -> ipaddress.IPv4Network:
    """Return the network written as ``text``.

    Raises:
        UsageError: it is not a private IPv4 network, or too small for the nodes.
    """
    hint = f"for example {DEFAULT_SUBNET}"
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as exc:
        raise UsageError(f"--subnet: {exc}", hint=hint) from exc
    if not network.is_private or network.is_loopback or network.is_link_local:
        raise UsageError(f"--subnet: {network} is not a private network", hint=hint)
    if network.num_addresses - 3 < nodes:
        raise UsageError(f"--subnet: {network} has too few addresses for {nodes} nodes", hint=hint)
    return network


def addresses(network: ipaddress.IPv4Network, nodes: int) -> tuple[str, list[str]]:
    """Return the control machine's address and the nodes' (.11, .12, ... where they fit)."""
    first = int(network.network_address) + 1
    start = 10 if network.num_addresses > nodes + 12 else 1
    node_addresses = [str(ipaddress.IPv4Address(first + start + n)) for n in range(nodes)]
    return str(ipaddress.IPv4Address(first)), node_addresses


def conflicts(network: ipaddress.IPv4Network, ip_json: list[str], own: str) -> list[str]:
    """Return what on the machine overlaps ``network``, in words.

    Args:
        network: the lab's network.
        ip_json: outputs of ``ip -j -4 addr`` and ``ip -j -4 route show table all``.
        own: name of the lab's own bridge, which does not count.
    """
    found = []
    links, routes = (json.loads(text or "[]") for text in ip_json)
    for link in links:
        for info in link.get("addr_info", []):
            there = ipaddress.IPv4Interface(f"{info['local']}/{info['prefixlen']}").network
            if link["ifname"] != own and network.overlaps(there):
                found.append(f"address {info['local']}/{info['prefixlen']} on {link['ifname']}")
    for route in routes:
        if route["dst"] == "default" or route.get("dev") == own:
            continue
        there = ipaddress.IPv4Network(route["dst"], strict=False)
        if route.get("type", "unicast") == "unicast" and network.overlaps(there):
            found.append(f"route {route['dst']} by {route.get('dev', route.get('gateway', '?'))}")
    return found


def require_free(state: LabState) -> None:
    """Refuse a subnet or interface name that somebody else uses.

    Raises:
        LabError: naming what is in the way.
    """
    own = state.bridge if state.network else ""
    texts = [
        run(["ip", "-j", "-4", "addr"]),
        run(["ip", "-j", "-4", "route", "show", "table", "all"]),
    ]
    if found := conflicts(ipaddress.IPv4Network(state.subnet), texts, own):
        raise LabError(
            f"subnet {state.subnet} is in use on this machine: {found[0]}",
            details=found[1:],
            hint="choose another one, for example --subnet 10.178.34.0/24",
        )
    if state.network:
        return
    for name in (state.bridge, *(state.veth(node) for node in state.nodes)):
        if Path("/sys/class/net", name).exists():
            raise LabError(
                f"this machine has an interface {name} that the lab did not make",
                hint="choose another name for the lab with --name",
            )


def dropping_chains(nft_json: str) -> list[str]:
    """Return the chains of other people that drop forwarded packets by default, in words.

    Args:
        nft_json: output of ``nft -j list chains``.
    """
    chains = [
        item["chain"]
        for item in json.loads(nft_json or "{}").get("nftables", [])
        if "chain" in item
    ]
    return [
        f"table {chain['family']} {chain['table']}, chain {chain['name']}"
        for chain in chains
        if chain.get("hook") == "forward" and chain.get("policy") == "drop"
    ]


def _default_mtu() -> int:
    """Return the MTU towards the outside: a larger one on the nodes' cables would lose packets."""
    routes = json.loads(run(["ip", "-j", "-4", "route", "show", "default"]) or "[]")
    for route in routes:
        path = Path("/sys/class/net", route.get("dev", ""), "mtu")
        if path.is_file():
            return int(path.read_text())
    return 1500


def rules(state: LabState) -> str:
    """Render the lab's nftables table.

    Nodes reach the outside by masquerading; nothing from outside reaches the nodes. Those of a
    closed lab reach each other alone: what they send elsewhere is counted and rejected.
    """
    if state.closed:
        return _closed_rules(state)
    return f"""
table ip {state.table} {{
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    ip saddr {state.subnet} oifname != "{state.bridge}" masquerade
  }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    oifname "{state.bridge}" iifname != "{state.bridge}" ct state != {{ established, related }} drop
  }}
}}
"""


def _closed_rules(state: LabState) -> str:
    # Before the chains of other people, so that nothing goes uncounted.
    return f"""
table ip {state.table} {{
  counter forwarded {{ }}
  counter asked {{ }}
  chain forward {{
    type filter hook forward priority -10; policy accept;
    iifname "{state.bridge}" oifname != "{state.bridge}" counter name forwarded reject
    oifname "{state.bridge}" iifname != "{state.bridge}" drop
  }}
  chain input {{
    type filter hook input priority -10; policy accept;
    iifname "{state.bridge}" ct state != {{ established, related }} counter name asked reject
  }}
}}
"""


def outside(state: LabState) -> dict[str, int] | None:
    """Return the packets that the nodes of a closed lab sent elsewhere since it was started.

    ``forwarded``: to other networks, name servers and time servers among them; ``control_machine``:
    to the control machine, other than answers. None for a lab that is not closed or not up.
    """
    if not state.closed:
        return None
    text = run(["nft", "-j", "list", "counters", "table", "ip", state.table], check=False)
    return counted(text)


def counted(nft_json: str) -> dict[str, int] | None:
    """Read the output of ``nft -j list counters`` (pure)."""
    counters = [
        item["counter"]
        for item in json.loads(nft_json or "{}").get("nftables", [])
        if "counter" in item
    ]
    packets = {counter["name"]: int(counter["packets"]) for counter in counters}
    if not {"forwarded", "asked"} <= set(packets):
        return None
    return {"forwarded": packets["forwarded"], "control_machine": packets["asked"]}


def netns(state: LabState, node: NodeState) -> Path:
    """Return the file that holds the node's network namespace."""
    return state.node_dir(node) / "netns"


def in_netns(state: LabState, node: NodeState, *argv: str) -> list[str]:
    """Return a command that runs ``argv`` in the node's network namespace."""
    return ["nsenter", f"--net={netns(state, node)}", *argv]


def up(state: LabState) -> None:
    """Make the network, or what is missing of it. The state must already be saved."""
    mtu = str(_default_mtu())
    if not Path("/sys/class/net", state.bridge).exists():
        run(["ip", "link", "add", state.bridge, "mtu", mtu, "type", "bridge"])
    prefix = state.subnet.split("/")[1]
    run(["ip", "addr", "replace", f"{state.gateway}/{prefix}", "dev", state.bridge])
    run(["ip", "link", "set", state.bridge, "up"])
    sysctl.acquire(state.name)
    remove = f"table ip {state.table}\ndelete table ip {state.table}\n"
    run(["nft", "-f", "-"], stdin=remove + rules(state))
    for node in state.nodes:
        _cable(state, node, prefix, mtu)
    others = "" if state.closed else run(["nft", "-j", "list", "chains"], check=False)
    for chain in dropping_chains(others):
        console.warn(
            f"this machine drops forwarded packets ({chain}): the nodes may not reach the outside; "
            f"let {state.subnet} through there (with Docker: chain DOCKER-USER)"
        )


def _cable(state: LabState, node: NodeState, prefix: str, mtu: str) -> None:
    path = netns(state, node)
    if not os.path.ismount(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        run(["unshare", "--net", "mount", "--bind", "/proc/self/ns/net", path])
    outside = state.veth(node)
    if not Path("/sys/class/net", outside).exists():
        inside = ["peer", "name", "eth0", "mtu", mtu, "netns", str(path)]
        run(["ip", "link", "add", outside, "mtu", mtu, "type", "veth", *inside])
    run(["ip", "link", "set", outside, "master", state.bridge, "up"])
    for line in (
        "link set lo up",
        f"addr replace {node.address}/{prefix} dev eth0",
        "link set eth0 up",
        f"route replace default via {state.gateway}",
    ):
        run(in_netns(state, node, "ip", *line.split()))


def down(state: LabState) -> None:
    """Remove the network; what is not there is passed over."""
    for node in state.nodes:
        path = netns(state, node)
        while os.path.ismount(path):
            run(["umount", path])
        path.unlink(missing_ok=True)
        if state.network and Path("/sys/class/net", state.veth(node)).exists():
            run(["ip", "link", "del", state.veth(node)], check=False)
    if state.network:
        if Path("/sys/class/net", state.bridge).exists():
            run(["ip", "link", "del", state.bridge])
        if succeeds(["nft", "list", "table", "ip", state.table]):
            run(["nft", "delete", "table", "ip", state.table])
        sysctl.release(state.name)
