"""Role wireguard: where it is on, nothing between the nodes is said in clear."""

import ipaddress

import pytest
from infra_support import expect, setting

from mammoctl import node_address
from mammoctl.check import peers

OURS = ("spark-", "hdfs-", "mammoctl-job-")
# TensorFlow's gRPC, in executors, knows no address to bind to: the guard alone keeps it.
ANYWHERE = ("spark-worker", "mammoctl-job-")


@pytest.fixture(autouse=True)
def _declared(cluster):
    if not node_address.has_wireguard(cluster.vars):
        pytest.skip("the inventory does not switch WireGuard on (wireguard_enabled)")


@pytest.fixture
def interface(node):
    """What the node's interface says of itself and its peers, after a word to each."""
    return node.program(peers.__file__, setting(node, "wireguard_interface"))


def test_service(node):
    """WireGuard is up, also after a reboot."""
    node.expect_service("mammoctl-wireguard")


def test_key(node):
    """The private key is readable by root only, and shows in no command line."""
    node.expect_file("/etc/mammoctl/wireguard.key", 0o600, "root", "root")
    key = node.host.file("/etc/mammoctl/wireguard.key").content_string.strip()
    expect(len(key) == 44, "the private key is missing or damaged", "remove it, provision again")
    shown = node.text("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' || true")
    expect(key not in shown, "the private key shows in the command line of a process")


def test_address(node, interface):
    """The node's name leads to its WireGuard address, and the interface has it."""
    address = node.state["names"][node.name]
    expect(
        interface["addresses"] == [address],
        f"{node.name} leads to {address}; "
        f"the interface has {', '.join(interface['addresses']) or 'no address'}",
    )


def test_peers(node, nodes, interface):
    """WireGuard knows every other node and nobody else, and each answers."""
    others = {node.state["names"][name]: name for name in nodes if name != node.name}
    unknown = sorted(set(others) - set(interface["peers"]))
    expect(not unknown, f"does not know {', '.join(others[one] for one in unknown)}")
    strangers = sorted(set(interface["peers"]) - set(others))
    expect(not strangers, f"lets others in: {', '.join(strangers)}")
    silent = [
        f"{others[one]} ({one})"
        for one, age in interface["peers"].items()
        if age is None or age > peers.FRESH_S
    ]
    expect(
        not silent,
        f"no handshake with {', '.join(silent)}",
        f"open UDP port {setting(node, 'wireguard_port')} between the nodes; "
        f"on both: sudo systemctl restart mammoctl-wireguard",
    )


def test_bound(node, interface):
    """The cluster's services answer at the WireGuard address, and at no other of the node."""
    beside = [
        f"{entry['port']} at {entry['address']} ({entry['unit']})"
        for entry in node.state["listening"]
        if entry["unit"].startswith(OURS) and _is_beside(entry, interface["addresses"])
    ]
    expect(not beside, f"in clear: {', '.join(beside)}")


def test_guarded(node):
    """The guard lets nothing into the cluster's ports that comes beside WireGuard."""
    rules = node.text("nft list table inet mammoctl")
    name = setting(node, "wireguard_interface")
    expect(
        f'iifname != "{name}" counter' in rules,
        f"no rule drops what does not come by {name}",
        "run `mammoctl provision --tags guard`",
    )


def _is_beside(entry, addresses):
    address = ipaddress.ip_address(entry["address"])
    if address.is_unspecified:
        return not entry["unit"].startswith(ANYWHERE)
    return not address.is_loopback and str(address) not in addresses
