"""Role common: names, clock, disk, and the cluster's record."""

import time

from infra_support import expect


def test_names(node, nodes, cluster):
    """Every node's name leads to that node's address, also the own one."""
    for name, other in nodes.items():
        address = node.state["names"].get(name)
        expect(
            address, f"the name {name} leads nowhere", "see common_manage_hosts; provision again"
        )
        expect(
            not address.startswith("127."),
            f"{name} leads to {address}: other nodes cannot connect there",
            "remove that line from /etc/hosts, then provision again",
        )
        recorded = other.record["master"]["address"] if other.is_master else None
        expect(
            recorded in (None, address),
            f"{name} leads to {address}, the cluster's record says {recorded}",
        )
    expect(node.state["names"]["localhost"], "the name localhost leads nowhere")


def test_hostname(node):
    """The host's own name resolves, or Java and Python cannot start services."""
    expect(
        node.state["own"],
        f"the host calls itself {node.state['hostname']}, and that name leads nowhere",
    )


def test_clock(node):
    """The clock agrees with this machine's."""
    before = time.time()
    there = float(node.text("date +%s.%N"))
    skew = there - (before + time.time()) / 2
    expect(
        abs(skew) < 30,
        f"the clock is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}",
        f"on {node.name}: switch a time service on (systemd-timesyncd or chrony)",
    )


def test_disk(node):
    """There is free disk space for artifacts and data."""
    for path, free in node.state["free_mb"].items():
        expect(free >= 1000, f"{free} MiB free below {path}", f"free some space on {node.name}")


def test_record(node, master):
    """The cluster's record is readable, holds no secret, and is the same on every node."""
    node.expect_file("/etc/mammoctl/cluster.json", 0o644, "root", "root")
    expect(
        node.record == master.record,
        f"/etc/mammoctl/cluster.json differs from the one on {master.name}",
    )


def test_members(node, cluster):
    """The cluster's record has the master and the workers of the inventory."""
    recorded = (node.record["master"]["host"], sorted(node.record["workers"]))
    declared = (cluster.master.name, sorted(host.name for host in cluster.workers))
    expect(
        recorded == declared,
        f"recorded: master {recorded[0]}, workers {', '.join(recorded[1])}; "
        f"declared: master {declared[0]}, workers {', '.join(declared[1])}",
    )
