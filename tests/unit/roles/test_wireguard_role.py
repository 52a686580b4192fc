"""The role wireguard: addresses, its files, and what it has against hosts."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess

import pytest
import yaml
from playing import play
from rendering import NODES, ROOT, defaults

from mammoctl import node_address, role_settings
from mammoctl.inventory import Host

KEYS = {name: f"PUBLIC{name}" for name in NODES}
ON = {"mammoctl_wireguard": True}
INNER = {"n1": "10.119.0.1", "n2": "10.119.0.2", "n3": "10.119.0.3"}


@pytest.fixture
def rules(plugin):
    return plugin("filter", "mammoctl_wireguard")


@pytest.fixture
def wireguard(render):
    """Return render(template) of the role for node n2, with WireGuard on."""
    hosts = {
        name: {
            "mammoctl_address": INNER[name],
            "mammoctl_outer_address": outer,
            "_wireguard_seen": {"public_key": f"SEEN{name}"},
            "_wireguard_key": {"public_key": KEYS[name]},
        }
        for name, outer in NODES.items()
    }

    def rendered(name: str, role: str = "wireguard", **other: object) -> str:
        given = {"mammoctl_address": INNER["n2"], "hostvars": hosts, **ON, **other}
        return render(role, name, **given)

    return rendered


@pytest.mark.parametrize(
    ("outer", "subnet", "inner"),
    [
        ("192.168.7.12", "10.119.0.0/16", "10.119.7.12"),
        ("10.0.0.5", "192.168.119.0/24", "192.168.119.5"),
        ("2001:db8::1:2", "10.119.0.0/16", "10.119.0.2"),
        ("ward1.example.org", "10.119.0.0/16", ""),
        ("10.0.0.5", "10.119.0.0/33", ""),
    ],
)
def test_an_address_ends_as_the_nodes_own_does(rules, outer, subnet, inner):
    assert rules.address(outer, subnet) == inner


def test_the_first_and_the_last_address_are_no_nodes(rules):
    subnet = "192.168.119.0/24"
    fitting = [part for part in (0, 1, 254, 255) if rules.fits(f"192.168.119.{part}", subnet)]
    assert fitting == [1, 254]
    assert not rules.fits("192.168.120.1", subnet)
    assert not rules.fits("", subnet)


@pytest.mark.parametrize(
    ("subnet", "good"),
    [
        ("10.119.0.0/16", True),
        ("100.64.0.0/10", True),
        ("8.8.0.0/16", False),
        ("10.119.0.1/16", False),
        ("10.119.0.0/30", False),
        ("127.1.0.0/16", False),
        ("fd00::/64", False),
    ],
)
def test_a_subnet_is_private_and_has_room(rules, subnet, good):
    assert rules.is_subnet(subnet) is good


def test_routes_that_would_be_hidden_are_found(rules):
    routes = [
        {"dst": "default", "gateway": "10.0.0.1", "dev": "eth0"},
        {"dst": "10.0.0.0/24", "dev": "eth0"},
        {"dst": "10.119.0.53", "dev": "eth1"},
        {"dst": "10.119.0.0/16", "dev": "mammoctl0"},
        {"type": "broadcast", "dst": "10.119.3.255", "dev": "eth0"},
    ]
    assert rules.overlapping(routes, "10.119.0.0/16", "mammoctl0") == ["10.119.0.53 by eth1"]
    own = [{"type": "local", "dst": "10.119.1.1", "dev": "lo", "table": "local"}]
    assert rules.overlapping(own, "10.119.0.0/16", "mammoctl0") == ["10.119.1.1 by lo"]
    wide = [{"dst": "10.0.0.0/8", "gateway": "10.0.0.1"}]
    assert rules.overlapping(wide, "10.119.0.0/16", "mammoctl0") == ["10.0.0.0/8 by 10.0.0.1"]


def test_the_command_line_follows_the_same_rule():
    def host(**given):
        return Host("n1", "192.168.7.12", vars=given)

    assert node_address.of_services(host()) == "192.168.7.12"
    assert node_address.of_services(host(wireguard_enabled=True)) == "10.119.7.12"
    assert node_address.of_services(
        host(wireguard_enabled="yes", wireguard_address="10.1.1.1")
    ) == ("10.1.1.1")
    named = Host("n1", "ward1", vars={"wireguard_enabled": True})
    assert node_address.of_services(named) == "n1"
    assert node_address.outer(host(mammoctl_node_address="10.9.9.9")) == "10.9.9.9"


def test_what_all_roles_derive_knows_the_same_defaults():
    text = (ROOT / "playbooks" / "group_vars" / "all" / "main.yml").read_text()
    assert f"default('{defaults()['wireguard_subnet']}')" in text
    assert role_settings.defaults("wireguard")["wireguard_enabled"] is False


def test_a_node_knows_every_other_one_by_its_public_key(wireguard):
    text = wireguard("wireguard.conf.j2")
    peers = [dict(re.findall(r"^(\w+) = (.*)$", part, re.M)) for part in text.split("[Peer]")[1:]]
    assert peers == [
        {"PublicKey": "PUBLICn1", "AllowedIPs": "10.119.0.1/32", "Endpoint": "10.0.0.1:51820"},
        {"PublicKey": "PUBLICn3", "AllowedIPs": "10.119.0.3/32", "Endpoint": "[fd00::3]:51820"},
    ]
    assert "PrivateKey" not in text
    assert "PersistentKeepalive = 25" in wireguard("wireguard.conf.j2", wireguard_keepalive_s=25)


def test_nodes_that_this_run_does_not_change_are_known_from_before(render):
    hosts = {
        name: {
            "mammoctl_address": INNER[name],
            "mammoctl_outer_address": outer,
            "_wireguard_seen": {"public_key": "" if name == "n3" else f"SEEN{name}"},
        }
        for name, outer in NODES.items()
    }
    text = render("wireguard", "wireguard.conf.j2", hostvars=hosts, **ON)
    assert re.findall(r"PublicKey = (\w+)", text) == ["SEENn1"]


@pytest.mark.parametrize("program", [True, False])
def test_the_command_is_a_shell_script_without_a_key(wireguard, tmp_path, program):
    path = tmp_path / "wireguard"
    path.write_text(wireguard("wireguard.j2", _wireguard_program=program))
    subprocess.run(["sh", "-n", path], check=True)
    assert ("ip link add" in path.read_text()) is not program
    assert "address=10.119.0.2/16" in path.read_text()
    done = subprocess.run(["sh", path, "bogus"], capture_output=True, text=True, check=False)
    assert done.returncode == 2


@pytest.mark.parametrize("program", [True, False])
def test_the_unit_has_what_it_needs_and_no_more(wireguard, program):
    lines = wireguard("mammoctl-wireguard.service.j2", _wireguard_program=program).splitlines()
    for line in lines:
        assert re.fullmatch(r"(#.*|\[\w+\]|\w+=[^=]*.*|)", line), line
    assert "CapabilityBoundingSet=CAP_NET_ADMIN" in lines
    assert ("DeviceAllow=/dev/net/tun rw" in lines) is program
    assert ("Type=oneshot" in lines) is not program
    assert "PrivateDevices=yes" not in lines  # it would hide /dev/net/tun


def test_the_guard_closes_the_ways_beside_wireguard(wireguard):
    text = wireguard("guard.nft.j2", role="guard", _guard_addresses=list(INNER.values()))
    assert "elements = { 10.119.0.1, 10.119.0.2, 10.119.0.3 }" in text
    assert "elements = { 10.0.0.1, 10.0.0.2 }" in text
    assert "udp dport 51820 ip saddr @outer4 accept" in text
    assert text.index('iifname != "mammoctl0" counter drop') < text.index("ip saddr @nodes4 accept")


@pytest.mark.parametrize("on", [True, False])
def test_the_guard_looks_at_its_own_ports_only(render, on):
    text = render("guard", "guard.nft.j2", mammoctl_wireguard=on)
    rules = [line.strip() for line in text.splitlines()]
    passed = rules.index("meta l4proto != tcp accept")
    assert passed < rules.index("tcp dport != @ports accept") < rules.index("iif lo accept")
    assert all(rule.startswith("udp dport 51820") for rule in rules[:passed] if "drop" in rule)
    assert ("outer4" in text) is on


@pytest.mark.programs
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nft")
@pytest.mark.parametrize("on", [True, False])
def test_nft_accepts_the_guards_rules(render, tmp_path, on):
    path = tmp_path / "guard.nft"
    path.write_text(render("guard", "guard.nft.j2", mammoctl_wireguard=on))
    argv = ["unshare", "--net", "nft", "--check", "--file", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_key_is_made_once_and_its_private_half_stays(plugin, ansible_module, tmp_path):
    module = plugin("modules", "mammoctl_wireguard")
    said = []

    class WithWg(ansible_module):
        def run_command(self, command, data=None, **_rest):
            said.append(command)
            return (0, "PRIVATE\n", "") if command[1] == "genkey" else (0, f"PUBLIC of {data}", "")

        def get_bin_path(self, name):
            return f"/usr/bin/{name}"

    module.record = lambda *_given: None
    path = tmp_path / "wireguard.key"
    assert module.public_half(WithWg(), str(path)) == ""
    module.make(WithWg(), str(path))
    assert path.read_text() == "PRIVATE\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert module.public_half(WithWg(), str(path)) == "PUBLIC of PRIVATE"
    assert not any("PRIVATE" in word for command in said for word in command)


def test_a_udp_port_in_use_is_seen(plugin):
    module = plugin("modules", "mammoctl_wireguard")
    table = ["  sl  local_address rem_address", "  12: 00000000:CA6C 00000000:0000 07"]
    assert module.bound(table, 51820)
    assert not module.bound(table, 51821)


def test_the_mtu_is_that_of_the_nodes_own_network(plugin):
    module = plugin("modules", "mammoctl_wireguard")
    links = [{"mtu": 9000, "addr_info": [{"local": "10.0.0.1"}]}, {"mtu": 1400}]
    assert module.mtu_of(links, "10.0.0.1") == 9000
    assert module.mtu_of(links, "10.0.0.2") == 1500


def test_a_kernels_module_is_loaded_built_in_or_there(plugin, tmp_path):
    facts = plugin("modules", "mammoctl_facts")

    def found():
        return facts.has_module("wireguard", "6.1", str(tmp_path))

    assert not found()
    folder = tmp_path / "lib/modules/6.1"
    folder.mkdir(parents=True)
    line = "kernel/drivers/net/wireguard/wireguard.ko.xz: kernel/net/ipv4/udp_tunnel.ko.xz\n"
    (folder / "modules.dep").write_text("kernel/drivers/net/tun.ko: \n")
    assert not found()
    (folder / "modules.dep").write_text(line)
    assert found()
    (tmp_path / "run/systemd").mkdir(parents=True)
    (tmp_path / "run/systemd/container").write_text("systemd-nspawn")
    assert not found(), "a container's modules are not those of its kernel"
    (tmp_path / "sys/module/wireguard").mkdir(parents=True)
    assert found()


UNIT = "/etc/systemd/system/mammoctl-wireguard.service"
CONF = ROOT / "roles/wireguard/templates/wireguard.conf.j2"
SEEN = {
    "public_key": "PUBLIC", "interface": False, "port_taken": False, "mtu": 1500, "tun": True,
    "routes": [{"dst": "10.0.0.0/24", "dev": "eth0"}],
}  # fmt: skip
CASES = {
    "well": {},
    "narrow": {"seen": {"mtu": 1400, "public_key": ""}},
    "same1": {"wireguard_address": "10.119.9.9"},
    "same2": {"wireguard_address": "10.119.9.9"},
    "outside": {"wireguard_address": "10.120.0.1"},
    "routed": {"seen": {"routes": [{"dst": "10.0.0.0/8", "dev": "eth0"}]}},
    "no-tun": {"seen": {"tun": False}},
    "port": {"seen": {"port_taken": True}},
    "theirs": {"seen": {"interface": True}},
    "dns": {"common_manage_hosts": False},
    "allowed": {"guard_allowed": ["192.0.2.0/24"]},
}


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    """Return host -> what the role's preflight found; and, as ``files``, what is laid down."""
    tasks = yaml.safe_load((ROOT / "roles/wireguard/tasks/preflight.yml").read_text())
    checks = next(task for task in tasks if "mammoctl_check" in task)
    played = play(
        tmp_path_factory.mktemp("plays"),
        {
            name: {
                "ansible_host": f"10.0.0.{number}",
                "wireguard_enabled": True,
                **{key: value for key, value in case.items() if key != "seen"},
            }
            for number, (name, case) in enumerate(CASES.items(), 1)
        },
        [
            {"set_fact": {"_wireguard_seen": "{{ described[inventory_hostname] }}"}},
            {"set_fact": {"mammoctl": "{{ facts }}", "cacheable": True}},
            # For the variables of the roles; the look itself is that of no host here.
            {"import_role": {"name": "guard", "tasks_from": "preflight"}, "when": "false"},
            {"import_role": {"name": "common", "tasks_from": "facts"}, "when": "false"},
            {"import_role": {"name": "wireguard", "tasks_from": "remove"}, "when": "false"},
            checks,
        ],
        wanted={
            "mtu": "'MTU ' ~ _wireguard_mtu",
            "conf": f"lookup('template', '{CONF}')",
            "unit": "_guard_unit",
        },
        described={name: {**SEEN, **case.get("seen", {})} for name, case in CASES.items()},
        mammoctl_nodes=list(CASES),
        facts={"wireguard": False, "paths": {f"{UNIT}": None}},
        spark_ports=[],
        hdfs_ports=[],
    )
    well = played.found["well"]
    files = "\n".join(str(well[name]) for name in ("mtu", "conf", "unit"))
    return played.problems() | {"files": files}


@pytest.mark.programs
@pytest.mark.parametrize(
    ("name", "seen", "mend"),
    [
        ("same1", "10.119.9.9, and so has same2", "Set wireguard_address"),
        ("outside", "would be '10.120.0.1'", "Set wireguard_address of outside"),
        ("routed", "routes into 10.119.0.0/16: 10.0.0.0/8 by eth0", "Set wireguard_subnet"),
        ("no-tun", "no /dev/net/tun", "sudo modprobe tun"),
        ("port", "UDP port 51820 in use", "choose another port"),
        ("theirs", "an interface mammoctl0 that others made", "Set wireguard_interface"),
        ("dns", "common_manage_hosts is false", "Set common_manage_hosts to true"),
        ("allowed", "guard_allowed names 192.0.2.0/24", "mammoctl ui"),
    ],
)
def test_what_speaks_against_a_host_is_told_with_its_mend(problems, name, seen, mend):
    assert seen in problems[name]
    assert mend in problems[name]
    assert len(problems[name].splitlines()) == 1


@pytest.mark.programs
def test_nothing_is_made_up(problems):
    assert problems["well"] == problems["narrow"] == ""


@pytest.mark.programs
def test_ansible_makes_of_it_what_is_meant(problems):
    text = problems["files"]
    assert text.startswith("MTU 1320\n")
    assert text.count("[Peer]") == len(CASES) - 2, "neither itself nor one without a key"
    assert "AllowedIPs = 10.119.9.9/32\nEndpoint = 10.0.0.3:51820\n" in text
    assert text.splitlines()[-3:] == [
        "Requires=mammoctl-guard.service",
        "Wants=mammoctl-wireguard.service",
        "After=mammoctl-wireguard.service",
    ]
