"""The node's own lock-down: in force where it is declared, as it is declared, and nowhere else."""

import ipaddress

import pytest
from infra_support import expect, setting

from mammoctl import role_settings


@pytest.fixture
def lockdown(node):
    """What the node says of its lock-down (programs/lockdown.py)."""
    return node.program("lockdown.py")


def is_declared(node):
    """Tell whether the inventory wants a lock-down of the node."""
    return setting(node, "lockdown_enabled").lower() in ("true", "yes", "on", "1")


def test_in_force(node, lockdown):
    """The lock-down is loaded, also after a reboot, where it is declared, and nowhere else."""
    if not is_declared(node):
        expect(
            not lockdown["live"],
            "a lock-down is in force that the inventory does not declare",
            "declare it (lockdown_enabled), or run `mammoctl provision`: it is removed",
        )
        return
    node.expect_service("mammoctl-lockdown")
    reload = f"on {node.name}: sudo systemctl reload mammoctl-lockdown"
    expect(lockdown["live"], "the rules of the lock-down are not loaded", reload)
    expect(
        "policy drop" in lockdown["live"],
        "the lock-down does not drop what it does not know",
        reload,
    )
    changed = lockdown["declared"] and lockdown["live"] != lockdown["declared"]
    expect(not changed, "the rules in force are not those of /etc/mammoctl/lockdown.nft", reload)
    expect(
        not lockdown["armed"],
        "rules wait to be confirmed: somebody provisions, or was cut off while doing so",
        "wait until the node has taken them back, then check again",
    )


def test_lets_in(node, nodes, lockdown):
    """SSH answers the declared operators and the nodes, the cluster's ports answer the nodes."""
    if not is_declared(node):
        expect(not lockdown["nodes"], "rules of a lock-down are left, although none is declared")
        return
    for other in nodes.values():
        address = node.state["names"][other.name] or other.declared.address
        expect(_within(address, lockdown["nodes"]), f"{other.name} ({address}) is shut out")
    declared = role_settings.value(node.declared.vars, "lockdown_ssh_from")
    expect(
        bool(declared) == bool(lockdown["ssh"]),
        f"SSH answers {', '.join(lockdown['ssh']) or 'everybody'}; declared is "
        f"{', '.join(declared) or 'everybody'} (lockdown_ssh_from)",
    )
    for wanted in declared:
        first = str(ipaddress.ip_network(wanted, strict=False)[0])
        expect(_within(first, lockdown["ssh"]), f"SSH does not answer {wanted}, which is declared")


def _within(address, elements):
    wanted = ipaddress.ip_address(address)
    for element in elements:
        first, dash, last = element.partition("-")
        network = ipaddress.ip_network(first, strict=False)
        low, high = (network[0], ipaddress.ip_address(last)) if dash else (network[0], network[-1])
        if low.version == wanted.version and low <= wanted <= high:
            return True
    return False
