from __future__ import annotations

import ipaddress
import json

import pytest

from mammoctl.errors import UsageError
from mammoctl.lab import network
from mammoctl.lab.plan import Request, plan

NET = ipaddress.IPv4Network("10.77.10.0/24")
LINKS = [{"ifname": "eth0", "addr_info": [{"local": "192.168.1.5", "prefixlen": 24}]}]
ROUTES = [
    {"dst": "default", "gateway": "192.168.1.1", "dev": "eth0"},
    {"dst": "192.168.1.0/24", "dev": "eth0"},
    {"type": "broadcast", "dst": "192.168.1.255", "dev": "eth0"},
]


def _conflicts(links: list[object], routes: list[object], own: str = "") -> list[str]:
    return network.conflicts(NET, [json.dumps(links), json.dumps(routes)], own)


def test_a_free_subnet_has_no_conflicts() -> None:
    assert _conflicts([*LINKS], [*ROUTES]) == []


def test_addresses_within_and_around_the_subnet_are_conflicts() -> None:
    inside = {"ifname": "virbr0", "addr_info": [{"local": "10.77.10.129", "prefixlen": 25}]}
    around = {"ifname": "vpn0", "addr_info": [{"local": "10.1.2.3", "prefixlen": 8}]}
    found = _conflicts([*LINKS, inside, around], [*ROUTES])
    assert found == ["address 10.77.10.129/25 on virbr0", "address 10.1.2.3/8 on vpn0"]


def test_routes_into_the_subnet_are_conflicts_the_default_route_is_not() -> None:
    by_vpn = {"dst": "10.0.0.0/8", "gateway": "192.168.1.9", "dev": "tun0"}
    host = {"dst": "10.77.10.4", "dev": "tun1"}
    found = _conflicts([*LINKS], [*ROUTES, by_vpn, host])
    assert found == ["route 10.0.0.0/8 by tun0", "route 10.77.10.4 by tun1"]


def test_the_labs_own_bridge_is_no_conflict() -> None:
    bridge = {"ifname": "mlab-x", "addr_info": [{"local": "10.77.10.1", "prefixlen": 24}]}
    route = {"dst": "10.77.10.0/24", "dev": "mlab-x"}
    assert _conflicts([*LINKS, bridge], [*ROUTES, route], own="mlab-x") == []
    assert len(_conflicts([*LINKS, bridge], [*ROUTES, route])) == 2


@pytest.mark.parametrize(
    "text", ["10.77.10.1/24", "nonsense", "8.8.8.0/24", "127.0.0.0/8", "10.0.0.0/30"]
)
def test_subnets_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        network.parse_subnet(text, 3)
    assert network.DEFAULT_SUBNET in caught.value.hint


def test_addresses_are_easy_to_tell_and_fit_small_networks() -> None:
    assert network.addresses(NET, 2) == ("10.77.10.1", ["10.77.10.11", "10.77.10.12"])
    small = ipaddress.IPv4Network("10.77.10.0/29")
    assert network.addresses(small, 3)[1] == ["10.77.10.2", "10.77.10.3", "10.77.10.4"]
    large = network.parse_subnet("10.77.10.0/24", 200)
    assert len(set(network.addresses(large, 200)[1])) == 200


def test_names_of_interfaces_and_tables_are_short_and_apart() -> None:
    short = plan(Request("lab", nodes=200, subnet="10.77.0.0/16"))
    long = plan(Request("a-rather-long-lab-name", nodes=1))
    assert short.bridge == "mlab-lab"
    assert short.tag != long.tag
    names = [short.bridge, long.bridge, *(short.veth(node) for node in short.nodes)]
    assert max(len(name) for name in names) <= 15
    assert len(set(names)) == len(names)
    assert long.table == "mammoctl_lab_a_rather_long_lab_name"


def test_rules_are_one_table_that_keeps_the_outside_out() -> None:
    text = network.rules(plan(Request("lab")))
    assert text.count("table ip mammoctl_lab_lab") == 1
    assert "ip saddr 10.177.33.0/24" in text and "masquerade" in text
    assert 'oifname "mlab-lab" iifname != "mlab-lab"' in text and "drop" in text


def test_firewalls_that_drop_forwarded_packets_are_found() -> None:
    chain = {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward"}
    text = json.dumps(
        {
            "nftables": [
                {"metainfo": {}},
                {"chain": {**chain, "policy": "drop"}},
                {"chain": {**chain, "table": "other", "policy": "accept"}},
                {"chain": {**chain, "hook": "input", "policy": "drop"}},
                {"chain": {"family": "ip", "table": "filter", "name": "DOCKER"}},
            ]
        }
    )
    assert network.dropping_chains(text) == ["table ip filter, chain FORWARD"]
    assert network.dropping_chains("") == []


def test_a_closed_lab_counts_what_leaves_and_rejects_it() -> None:
    text = network.rules(plan(Request("lab", closed=True)))
    assert "masquerade" not in text
    assert 'iifname "mlab-lab" oifname != "mlab-lab" counter name forwarded reject' in text
    assert "ct state != { established, related } counter name asked reject" in text


def test_what_was_counted_is_read_and_an_open_lab_counts_nothing() -> None:
    def counter(name: str, packets: int) -> dict[str, object]:
        return {"counter": {"family": "ip", "name": name, "packets": packets, "bytes": 1}}

    text = json.dumps(
        {"nftables": [{"metainfo": {}}, counter("forwarded", 3), counter("asked", 0)]}
    )
    assert network.counted(text) == {"forwarded": 3, "control_machine": 0}
    assert network.counted("") is None
    assert network.outside(plan(Request("lab"))) is None
