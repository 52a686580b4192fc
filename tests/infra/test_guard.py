"""The guard: the cluster's ports answer the cluster's nodes and nobody else."""

import ipaddress
import json

import pytest
from infra_support import expect

OURS = ("spark-", "hdfs-", "mammoctl-job-")


@pytest.fixture
def table(node):
    """The sets and rules of our table, as nft lists them."""
    text = node.text(
        "nft --json list table inet mammoctl",
        mend=f"on {node.name}: sudo systemctl restart mammoctl-guard; see its log",
    )
    return [entry for entry in json.loads(text)["nftables"] if "metainfo" not in entry]


def test_service(node):
    """The guard is loaded, also after a reboot."""
    node.expect_service("mammoctl-guard")


def test_drops(node, table):
    """The table filters what comes in, and its last rule drops."""
    chains = [entry["chain"] for entry in table if "chain" in entry]
    expect(any(c.get("hook") == "input" for c in chains), "the table has no chain for input")
    rules = [entry["rule"]["expr"] for entry in table if "rule" in entry]
    expect(
        rules and any("drop" in part for part in rules[-1]),
        "the last rule of the table does not drop",
    )


def test_members(node, table, nodes):
    """Every node of the cluster is let in."""
    allowed = [part for name in ("nodes4", "nodes6") for part in _elements(table, name)]
    networks = [_network(part) for part in allowed]
    for other in nodes.values():
        address = ipaddress.ip_address(node.state["names"][other.name] or other.declared.address)
        expect(
            any(
                first <= address <= last
                for first, last in networks
                if first.version == address.version
            ),
            f"{other.name} ({address}) is shut out",
        )


def test_every_port_declared(node, table):
    """Every port on which a service of ours listens is guarded or bound to loopback."""
    ranges = [_span(part) for part in _elements(table, "ports")]
    open_ports = [
        f"{entry['port']} ({entry['unit'] or entry['program']})"
        for entry in node.state["listening"]
        if entry["unit"].startswith(OURS)
        and not ipaddress.ip_address(entry["address"]).is_loopback
        and not any(first <= entry["port"] <= last for first, last in ranges)
    ]
    expect(
        not open_ports,
        f"unguarded: {', '.join(open_ports)}",
        "declare that port in the role that opens it (spark_ports, hdfs_ports)",
    )


def _elements(table, name):
    return [
        element
        for entry in table
        if entry.get("set", {}).get("name") == name
        for element in entry["set"].get("elem", [])
    ]


def _span(element):
    first, last = element["range"] if isinstance(element, dict) else (element, element)
    return int(first), int(last)


def _network(element):
    if isinstance(element, dict) and "prefix" in element:
        prefix = element["prefix"]
        network = ipaddress.ip_network(f"{prefix['addr']}/{prefix['len']}")
        return network[0], network[-1]
    first, last = element["range"] if isinstance(element, dict) else (element, element)
    return ipaddress.ip_address(first), ipaddress.ip_address(last)
