"""The node's lock-down: what its rules let in, and that nobody is locked out by them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

NFT = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin")
OWN = Path("/proc/self/ns/net")
OPERATOR, OUTSIDER, NODE = "10.9.0.20", "10.9.0.30", "10.9.0.1"


def rules(render, **other: object) -> str:
    return render("lockdown", "lockdown.nft.j2", **other)


def test_it_names_its_own_table_only(render):
    text = rules(render)
    assert set(re.findall(r"^\s*(?:delete )?table (\w+ \w+)", text, re.M)) == {
        "inet mammoctl_lockdown"
    }
    assert "flush" not in text
    assert "policy drop;" in text


def test_ssh_answers_everybody_until_it_is_narrowed(render):
    assert "\n    tcp dport { 22 } accept\n" in rules(render)
    text = rules(
        render, _lockdown_ssh_from=["192.0.2.7", "fd00::/64"], _lockdown_ssh_ports=[22, 2222]
    )
    assert "\n    ip saddr @ssh4 tcp dport { 22, 2222 } accept\n" in text
    assert "\n    tcp dport { 22" not in text
    assert re.search(r"set ssh4 \{[^}]*elements = \{ 192\.0\.2\.7 \}", text)
    assert re.search(r"set ssh6 \{[^}]*elements = \{ fd00::/64 \}", text)


def test_wireguard_between_the_nodes_passes(render):
    """Its packets come from the addresses of the network of the hosts."""
    line = "ip saddr 192.0.2.1 udp dport 51820 accept"
    on = {"mammoctl_wireguard": True, "wireguard_port": 51820, "_guard_outer": ["192.0.2.1"]}
    assert line in rules(render, **on)
    assert line not in rules(render, **on | {"mammoctl_wireguard": False})


def test_ports_and_rules_of_the_site(render):
    ports = [
        {"port": 9100, "from": ["192.0.2.7", "fd00::7"]},
        {"port": "60000-60010", "protocol": "udp"},
    ]
    text = rules(render, lockdown_ports=ports, lockdown_rules=["ip protocol vrrp accept"])
    lines = [line.strip() for line in text.splitlines()]
    for line in (
        "ip saddr 192.0.2.7 tcp dport 9100 accept",
        "ip6 saddr fd00::7 tcp dport 9100 accept",
        "udp dport 60000-60010 accept",
    ):
        assert line in lines, line
    established = lines.index("ct state established,related accept")
    # What is open already stays open, whatever the site's own rules say.
    assert (
        established
        < lines.index("ip protocol vrrp accept")
        < lines.index("tcp dport { 22 } accept")
    )


def test_the_unit_is_ready_before_the_network(render):
    lines = render("lockdown", "mammoctl-lockdown.service.j2").splitlines()
    for wanted in (
        "DefaultDependencies=no",
        "WantedBy=sysinit.target",
        "Wants=network-pre.target",
        "PartOf=nftables.service",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=CAP_NET_ADMIN",
    ):
        assert wanted in lines, wanted
    before = next(line for line in lines if line.startswith("Before="))
    assert {"network-pre.target", "sysinit.target"} <= set(before[7:].split())


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A node, and a peer with several addresses on a line to it, in networks of their own."""
    if not NFT or os.geteuid() != 0:
        pytest.skip("loading rules for real needs root and nft (Debian package nftables)")
    sleep = ["unshare", "--net", "sleep", "3600"]
    node, peer = subprocess.Popen(sleep), subprocess.Popen(sleep)

    def inside(
        process: subprocess.Popen[bytes], *argv: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        line = ["nsenter", "--net", "--target", str(process.pid), *argv]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, check=check)

    def is_apart(process: subprocess.Popen[bytes]) -> bool:
        return Path(f"/proc/{process.pid}/ns/net").readlink() != OWN.readlink()

    listener = None
    try:
        while not (is_apart(node) and is_apart(peer)):
            assert node.poll() is None and peer.poll() is None
        pair = ["ip", "link", "add", "line", "type", "veth", "peer", "name", "line", "netns"]
        inside(node, *pair, str(peer.pid))
        for process, addresses in ((node, [NODE, "fd09::1"]), (peer, PEERS)):
            for address in addresses:
                length = "64" if ":" in address else "24"
                dad = ["nodad"] if ":" in address else []
                inside(process, "ip", "address", "add", f"{address}/{length}", "dev", "line", *dad)
            for device in ("lo", "line"):
                inside(process, "ip", "link", "set", device, "up")
        listener = subprocess.Popen(
            ["nsenter", "--net", "--target", str(node.pid), sys.executable, "-c", LISTENER],
            stdout=subprocess.PIPE,
        )
        assert listener.stdout and listener.stdout.readline() == b"ready\n"
        folder = tmp_path_factory.mktemp("rules")
        yield SimpleNamespace(node=node, peer=peer, inside=inside, folder=folder)
    finally:
        for process in filter(None, (listener, node, peer)):
            process.kill()
            process.wait()


PEERS = [OPERATOR, OUTSIDER, "10.9.0.2", "fd09::20", "fd09::30", "fd09::2"]
PORTS = [22, 5432, 7077, 7210, 9100]
LISTENER = f"""
import socket, time
held = []
for port in {PORTS}:
    s = socket.socket(socket.AF_INET6)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", port)); s.listen(); held.append(s)
print("ready", flush=True)
time.sleep(3600)
"""
# Which ports answer each source: a refused or silent one does not.
SCAN = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def opens(pair):
    source, port = pair
    six = ":" in source
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET) as s:
        s.bind((source, 0)); s.settimeout(1.5)
        return s.connect_ex(("fd09::1" if six else "10.9.0.1", port)) == 0
sources, ports = json.loads(sys.argv[1])
pairs = [(source, port) for source in sources for port in ports]
with ThreadPoolExecutor(len(pairs)) as pool:
    found = list(zip(pairs, pool.map(opens, pairs)))
print(json.dumps({s: [port for (one, port), ok in found if one == s and ok] for s in sources}))
"""


def scanned(networks: SimpleNamespace, text: str) -> dict[str, list[int]]:
    """Load rules and return which ports answer each of the peer's addresses."""
    path = networks.folder / "lockdown.nft"
    path.write_text(text)
    networks.inside(networks.node, NFT, "--file", str(path))
    done = networks.inside(networks.peer, sys.executable, "-c", SCAN, json.dumps([PEERS, PORTS]))
    return json.loads(done.stdout)


@pytest.mark.programs
def test_who_gets_in(render, networks):
    """The kernel's own answer; over IPv6 the neighbours have to be found as well."""
    networks.inside(networks.node, NFT, "add", "table", "inet", "foreign")
    cluster = {"_guard_addresses": [NODE, "10.9.0.2", "fd09::2"]}
    open_ssh = scanned(networks, rules(render, **cluster))
    assert open_ssh == {
        OPERATOR: [22], OUTSIDER: [22], "10.9.0.2": [22, 7077, 7210],
        "fd09::20": [22], "fd09::30": [22], "fd09::2": [22, 7077, 7210],
    }  # fmt: skip
    narrow = scanned(
        networks,
        rules(
            render,
            **cluster,
            _lockdown_ssh_from=[OPERATOR, "fd09::20", "10.9.0.2", "fd09::2"],
            lockdown_ports=[{"port": 9100, "from": [OUTSIDER]}],
        ),
    )
    assert narrow == {
        OPERATOR: [22], OUTSIDER: [9100], "10.9.0.2": [22, 7077, 7210],
        "fd09::20": [22], "fd09::30": [], "fd09::2": [22, 7077, 7210],
    }  # fmt: skip
    tables = networks.inside(networks.node, NFT, "list", "tables").stdout.split("\n")
    assert "table inet foreign" in tables


SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >> {log}
case "$*" in
  *is-active*restore.timer) [ -e {armed} ] && echo active ;;
  "is-active --quiet mammoctl-lockdown.service") [ -e {enabled} ] ;;
  "stop mammoctl-lockdown-restore.timer") rm -f {armed} ;;
  "disable --now "*) rm -f {enabled} ;;
esac
"""
SYSTEMD_RUN = """#!/bin/sh
echo "systemd-run $*" >> {log}
[ ! -e {refuse} ] || { echo "Failed to connect to bus" >&2; exit 1; }
for last in "$@"; do :; done
printf '%s' "$last" > {armed}
"""


@pytest.fixture
def node(networks, plugin, tmp_path, monkeypatch, ansible_module) -> Any:
    """The module on a node whose systemd is only told; its packet filter is real."""
    module = plugin("modules", "mammoctl_lockdown")
    names = {name: tmp_path / name for name in ("log", "armed", "enabled", "refuse")}
    programs = tmp_path / "bin"
    programs.mkdir()

    def program(name: str, text: str) -> None:
        for key, path in names.items():
            text = text.replace("{" + key + "}", str(path))
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)

    program("systemctl", SYSTEMCTL)
    program("systemd-run", SYSTEMD_RUN)
    program("nft", f'#!/bin/sh\nexec nsenter --net --target {networks.node.pid} {NFT} "$@"\n')
    # In the network of its own that the module makes, nft is the real one.
    real = os.environ["PATH"] + ":/usr/sbin"
    program("unshare", f'#!/bin/sh\nPATH={real} exec {shutil.which("unshare")} "$@"\n')
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(module, "CONFIRMED", str(tmp_path / "confirmed.nft"))
    monkeypatch.setattr(module, "CANDIDATE", str(tmp_path / "candidate.nft"))
    monkeypatch.setattr(module, "UNIT_FILE", str(tmp_path / "unit"))
    recorded: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(module, "record", lambda kind, names: recorded.append((kind, names)))
    subprocess.run(
        ["nft", "delete", "table", "inet", "mammoctl_lockdown"], capture_output=True, check=False
    )

    def lockdown(check_mode: bool = False) -> Any:
        return module.Lockdown(ansible_module(check_mode=check_mode, peers=["10.0.0.2"]))

    def timer() -> None:
        """Do what the timer does."""
        line = names["armed"].read_text()
        names["armed"].unlink()
        subprocess.run(["sh", "-c", line], check=True)

    confirmed = tmp_path / "confirmed.nft"
    return SimpleNamespace(
        make=lockdown, confirmed=confirmed, recorded=recorded, timer=timer, **names, path=tmp_path
    )


def in_force(node: Any) -> str:
    return node.make().live()


@pytest.mark.programs
def test_rules_that_nobody_confirms_go_again(node, render):
    first = rules(render)
    assert node.make(check_mode=True).load(first, 60) and in_force(node) == ""
    assert node.make().load(first, 45)
    assert "policy drop" in in_force(node)
    assert "--on-active=45" in node.log.read_text()
    node.timer()
    assert in_force(node) == ""
    with pytest.raises(AssertionError, match="came too late"):
        node.make().confirm()


@pytest.mark.programs
def test_a_change_that_nobody_confirms_brings_the_confirmed_rules_back(node, render):
    first, second = rules(render), rules(render, lockdown_rules=["tcp dport 22 drop"])
    node.make().load(first, 60)
    node.make().confirm()
    assert not node.armed.exists()
    assert node.confirmed.read_text() == first and node.confirmed.stat().st_mode & 0o777 == 0o644
    assert node.recorded == [("files", [str(node.confirmed)])], "teardown knows the file"
    node.enabled.touch()
    before = in_force(node)
    assert not node.make().load(first, 60), "the second run has nothing to do"
    assert not node.make(check_mode=True).load(first, 60)
    (told,) = node.make().load(second, 60)
    assert (told["before"], told["after"]) == (first, second)
    assert "tcp dport 22 drop" in in_force(node)
    # Interrupted here, and begun again: what comes back is still what was confirmed.
    assert node.make().load(second, 60)
    node.timer()
    assert in_force(node) == before


@pytest.mark.programs
def test_rules_that_others_have_changed_are_noticed(node, render):
    text = rules(render)
    node.make().load(text, 60)
    node.make().confirm()
    node.enabled.touch()
    subprocess.run(
        ["nft", "insert", "rule", "inet", "mammoctl_lockdown", "input", "accept"], check=True
    )
    (told,) = node.make(check_mode=True).load(text, 60)
    assert told["after_header"] == "step rules of the lock-down that others have changed"


@pytest.mark.programs
def test_what_cannot_be_kept_is_not_confirmed(node, render):
    """The timer goes on where the rules cannot be written, on a full disk for one."""
    node.make().load(rules(render), 60)
    Path(f"{node.confirmed}.mammoctl-new").mkdir()
    with pytest.raises(OSError, match="mammoctl-new"):
        node.make().confirm()
    node.timer()
    assert in_force(node) == ""


@pytest.mark.programs
def test_nothing_is_loaded_without_a_timer_or_with_a_mistake(node, render):
    node.refuse.touch()
    with pytest.raises(AssertionError, match=r"could not be armed.*Failed to connect to bus"):
        node.make().load(rules(render), 60)
    node.refuse.unlink()
    wrong = rules(render, lockdown_rules=["tcp dport nonsense accept"])
    with pytest.raises(AssertionError, match=r"nft does not take the rules.*nonsense"):
        node.make().load(wrong, 60)
    assert in_force(node) == "" and not node.armed.exists()
    error = node.make().tried(wrong)["error"]
    assert re.match(r"line \d+:", error) and "nonsense" in error
    assert node.make().tried(rules(render)) == {"error": ""}


@pytest.mark.programs
def test_it_is_removed_whole(node, render):
    text = rules(render)
    node.make().load(text, 60)
    node.make().confirm()
    node.enabled.touch()
    (node.path / "unit").touch()
    told = node.make(check_mode=True).remove()
    assert in_force(node) != "" and len(told) == 4
    assert node.make().remove() == told
    assert in_force(node) == ""
    assert not any(
        (node.path / name).exists() for name in ("unit", "confirmed.nft", "candidate.nft")
    )
    assert node.make().remove() == []


def test_the_operator_is_found_behind_sudo(plugin):
    """sudo's own environment lacks SSH_CONNECTION; that of the shell above it has it."""
    module = plugin("modules", "mammoctl_lockdown")
    environment = {**os.environ, "SSH_CONNECTION": "::ffff:192.0.2.7 50000 10.0.0.1 2222"}
    line = ["sh", "-c", "env -u SSH_CONNECTION sleep 20; true"]
    with subprocess.Popen(line, env=environment) as shell:
        try:
            children = Path(f"/proc/{shell.pid}/task/{shell.pid}/children")
            while (
                not (found := children.read_text().split())
                or b"sleep" not in Path(f"/proc/{found[0]}/cmdline").read_bytes()[:5]
            ):
                assert shell.poll() is None
            assert module.connection(int(found[0])) == ("192.0.2.7", 2222)
            subprocess.run(["kill", found[0]], check=True)
        finally:
            shell.kill()
    assert module.connection(1) is None


def test_every_port_of_the_ssh_server_stays_open(plugin):
    told = (
        "port 22\nlistenaddress 0.0.0.0:22\nlistenaddress [::]:2222\nlistenaddress 127.0.0.1:2022\n"
    )
    assert plugin("modules", "mammoctl_lockdown").ports_of(told) == {22, 2222}


def test_packet_filters_of_others_are_told_with_what_they_do(plugin):
    others = plugin("modules", "mammoctl_lockdown").others_of
    assert (
        others(
            None, None, None, "table inet mammoctl\ntable ip nat\ntable inet mammoctl_lockdown\n"
        )
        == []
    )
    ufw, firewalld, published, docker, foreign = others(
        "Added user rules (see 'ufw status'):\nufw allow 22/tcp\n",
        "public (active)\n  services: dhcpv6-client ssh\n  ports: \n",
        "web 0.0.0.0:8080->80/tcp\ndb 5432/tcp\n",
        "table ip filter\ntable inet theirs\n",
    )
    assert ufw.startswith("ufw is active with rules of its own (allow 22/tcp)")
    assert firewalld.startswith("firewalld is active (services: dhcpv6-client ssh)")
    assert published.startswith(
        "Docker publishes web 0.0.0.0:8080->80/tcp: such ports are forwarded"
    )
    assert "iifname docker0 accept" in docker
    assert "(inet theirs)" in foreign
    assert all(". " in line for line in (ufw, firewalld, published, docker, foreign))


def test_addresses_and_ports_are_judged(plugin):
    network = plugin("filter", "mammoctl_network")
    assert network.network_mistakes(["192.0.2.7", "192.0.2.9/24", "fd00::/8"], "x") == []
    assert network.network_mistakes(["ward1"], "lockdown_ssh_from") == [
        "lockdown_ssh_from has ward1, no address or network"
    ]
    assert network.network_mistakes("192.0.2.7", "x") == ["x is 192.0.2.7, not a list"]
    assert network.network_mistakes(None, "x") == network.port_mistakes(None) == []
    assert network.port_mistakes({"port": 1}) == ["lockdown_ports is {'port': 1}, not a list"]
    assert network.line_mistakes(["a", "b\n c", 4], "x") == [
        "x has b\n c, no line",
        "x has 4, no line",
    ]
    good = [{"port": 9100}, {"port": "1-65535", "protocol": "udp", "from": ["fd00::1"]}]
    assert network.port_mistakes(good) == []
    bad = [9100, {"port": 0}, {"port": "9-8"}, {"ports": 9}, {"port": 1, "protocol": "sctp"}]
    assert len(network.port_mistakes([*bad, {"port": 1, "from": ["a"]}])) == 6
    assert network.outside(
        {"n1": "10.0.0.9", "n2": "10.1.0.9", "n3": "", "n4": "::1"}, ["10.0.0.0/24"]
    ) == ["n2 (10.1.0.9)"]


class Connection:
    """Stands in for Ansible's connection over ssh."""

    transport = "ssh"

    def __init__(self) -> None:
        self.options = {"ssh_args": "-o ControlMaster=auto -o ControlPersist=60s"}

    def get_option(self, name: str) -> str:
        return self.options[name]

    def set_option(self, name: str, value: str) -> None:
        self.options[name] = value


@pytest.fixture
def action(plugin, monkeypatch):
    """Return run(*answers): the result, and (state, arguments of ssh) of every call of the module.

    An answer is what a call returns or raises. The clock goes on only when somebody sleeps.
    """
    module = plugin("action", "mammoctl_lockdown")
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    monkeypatch.setattr(module.ActionBase, "run", lambda *_args: {})

    def run(
        *answers: Any, check_mode: bool = False
    ) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        calls, left = [], list(answers)
        task = SimpleNamespace(
            args={"state": "loaded", "rules": "x", "confirm_s": 20}, check_mode=check_mode
        )
        one = module.ActionModule.__new__(module.ActionModule)
        one._task, one._connection = task, Connection()

        def call(module_name: str, module_args: dict[str, Any], task_vars: Any) -> Any:
            calls.append((module_args["state"], one._connection.get_option("ssh_args")))
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, Exception):
                sleep(5)
                raise answer
            return dict(answer)

        one._execute_module = call
        result = one.run(None, {})
        assert (
            one._connection.get_option("ssh_args") == "-o ControlMaster=auto -o ControlPersist=60s"
        )
        return result, calls

    return SimpleNamespace(run=run, lost=module.AnsibleConnectionFailure("timed out"))


def test_new_rules_are_confirmed_over_a_connection_of_their_own(action):
    result, calls = action.run({"changed": True}, {"changed": False})
    assert result["changed"] and not result.get("failed")
    (first, old), (second, new) = calls
    assert (first, second) == ("loaded", "confirmed")
    assert "ControlPath=none" not in old
    assert new.startswith("-o ControlMaster=no -o ControlPath=none ")


def test_without_new_rules_nothing_is_confirmed(action):
    assert len(action.run({"changed": False})[1]) == 1
    assert len(action.run({"changed": True}, check_mode=True)[1]) == 1
    failed, calls = action.run({"failed": True, "msg": "no"})
    assert failed["failed"] and len(calls) == 1


def test_a_connection_that_is_slow_to_come_is_waited_for(action):
    result, calls = action.run({"changed": True}, action.lost, {"changed": False})
    assert not result.get("failed")
    assert [state for state, _args in calls] == ["loaded", "confirmed", "confirmed"]


def test_who_is_cut_off_is_told_what_became_of_it(action):
    result, calls = action.run({"changed": True}, action.lost)
    assert result["failed"] and not result["changed"]
    assert "timed out" in result["msg"] and "on its console: sudo nft delete table" in result["msg"]
    result, calls = action.run(
        {"changed": True}, action.lost, action.lost, action.lost, {"operator": "x"}
    )
    assert calls[-1][0] == "seen"
    assert "The node has taken them back, and answers as before." in result["msg"]
    lost, calls = action.run(action.lost, {"operator": "x"})
    assert [state for state, _args in calls] == ["loaded", "seen"]
    assert "the connection was lost while they were loaded" in lost["msg"]
    useless, _calls = action.run(
        {"changed": True}, {"failed": True, "msg": "sudo: no"}, {"operator": "x"}
    )
    assert "failed there: sudo: no)" in useless["msg"] and useless["failed"]
