"""`check --security`: what differs from docs/security.md is told, and nothing else."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mammoctl.check import on_node, peers, security
from mammoctl.inventory import Cluster, Host
from mammoctl.status.node import UNITS

NOW = time.time()
NODES = {"10.0.0.1", "10.0.0.2"}
EXPECTED = security.files({})


def unit(name: str, user: str) -> dict[str, str]:
    return {"LoadState": "loaded", "User": user, **security.sandbox(name)}


def element(name: str, parts: list[object]) -> dict[str, object]:
    return {"set": {"family": "inet", "name": name, "elem": parts}}


# As a node of a sound cluster answers.
SOUND = {
    "listening": [
        {"address": "10.0.0.1", "port": 7077, "program": "java", "unit": "spark-master.service"},
        {"address": "::ffff:10.0.0.1", "port": 4042, "program": "java", "unit": "mammoctl-job-1"},
        {"address": "127.0.0.1", "port": 40001, "program": "java", "unit": "spark-worker.service"},
        {
            "address": "::ffff:127.0.0.1",
            "port": 40002,
            "program": "",
            "unit": "hdfs-datanode.service",
        },
        {"address": "*", "port": 22, "program": "sshd", "unit": "ssh.service"},
    ],
    "units": {
        "spark-master.service": unit("spark-master", "spark"),
        "hdfs-namenode.service": unit("hdfs-namenode", "hdfs"),
        "mammoctl-guard.service": unit("mammoctl-guard", ""),
    },
    "files": {
        "/etc/spark/spark-defaults.conf": [0o640, "root", "spark", NOW],
        "/var/lib/mammoctl/home/.ssh": [0o700, "mammoctl", "mammoctl", NOW],
        "/var/lib/mammoctl/home/.ssh/id_ed25519": [0o600, "mammoctl", "mammoctl", NOW],
        "/var/lib/mammoctl/home/.ssh/id_ed25519.pub": [0o644, "mammoctl", "mammoctl", NOW],
        "/etc/mammoctl/cluster.json": [0o644, "root", "root", NOW],
    },
    "shells": {"spark": "/usr/sbin/nologin", "hdfs": "/usr/sbin/nologin"},
    "guard": [
        {"metainfo": {}},
        {"chain": {"name": "input", "hook": "input"}},
        element("ports", [7077, {"range": [4040, 4056]}]),
        element("nodes4", ["10.0.0.1", "10.0.0.2"]),
        {"rule": {"expr": [{"accept": None}]}},
        {"rule": {"expr": [{"counter": {}}, {"drop": None}]}},
    ],
    "lockdown": {"live": "", "declared": "", "armed": False},
}
RULES = "table inet mammoctl_lockdown { chain input { policy drop; } }"


def found(seen: object, *, locked: bool = False) -> list[tuple[str, bool]]:
    told = security.of_node("n1", seen, EXPECTED, NODES, NOW, locked=locked)  # type: ignore[arg-type]
    assert all(one.mend and one.host == "n1" for one in told)
    return [(one.seen, one.grave) for one in told]


def test_a_sound_node_has_nothing_against_it() -> None:
    assert found(SOUND) == []


def _looser(seen: dict) -> None:
    seen["units"]["spark-master.service"]["NoNewPrivileges"] = "no"


def _as_root(seen: dict) -> None:
    seen["units"]["hdfs-namenode.service"]["User"] = ""


def _shell(seen: dict) -> None:
    seen["shells"]["spark"] = "/bin/bash"


def _readable(seen: dict) -> None:
    seen["files"]["/etc/spark/spark-defaults.conf"][0] = 0o644


def _anothers(seen: dict) -> None:
    seen["files"]["/var/lib/mammoctl/home/.ssh/id_ed25519"][1] = "anna"


def _old(seen: dict) -> None:
    seen["files"]["/var/lib/mammoctl/home/.ssh/id_ed25519"][3] = NOW - 3 * 365 * 86400


def _unloaded(seen: dict) -> None:
    seen["guard"] = None


def _no_drop(seen: dict) -> None:
    seen["guard"].pop()


def _unguarded(seen: dict) -> None:
    seen["listening"][0]["port"] = 9999


def _others_let_in(seen: dict) -> None:
    seen["guard"][3] = element("nodes4", ["10.0.0.1", {"prefix": {"addr": "192.0.2.0", "len": 24}}])


def test_neighbours_that_nft_shows_as_a_range_are_nodes_alike() -> None:
    seen = copy.deepcopy(SOUND)
    seen["guard"][3] = element("nodes4", [{"range": ["10.0.0.1", "10.0.0.2"]}])
    assert found(seen) == []
    seen["guard"][3] = element("nodes4", [{"range": ["10.0.0.1", "10.0.0.3"]}])
    assert found(seen) == [("the guard lets others in, too: 10.0.0.1-10.0.0.3", False)]


def _theirs(seen: dict) -> None:
    entry = {"address": "*", "port": 5432, "program": "postgres", "unit": "p.service"}
    seen["listening"].append(entry)


def _bare(seen: dict) -> None:
    seen["units"] = {}


@pytest.mark.parametrize(
    ("change", "said", "grave"),
    [
        (_looser, "spark-master.service is less confined than it should be: NoNewPrivileges", True),
        (_as_root, "hdfs-namenode.service runs as root", True),
        (_shell, "the account spark has a shell (/bin/bash)", True),
        (_readable, "/etc/spark/spark-defaults.conf has mode 0644: 0640 at most", True),
        (_anothers, "/var/lib/mammoctl/home/.ssh/id_ed25519 belongs to anna, not mammoctl", True),
        (_old, "/var/lib/mammoctl/home/.ssh/id_ed25519 is 3.0 years old", False),
        (_unloaded, "the guard is not loaded", True),
        (_no_drop, "the guard has been changed: it does not end by dropping", True),
        (_unguarded, "port 9999 (spark-master.service) answers everybody", True),
        (_others_let_in, "the guard lets others in, too: 192.0.2.0/24", False),
        (_theirs, "port 5432 is open (postgres): it is not mammoctl's", False),
        (_bare, "no service of a cluster is there", True),
    ],
)
def test_each_difference_is_told_alone(change, said: str, grave: bool) -> None:
    seen = copy.deepcopy(SOUND)
    change(seen)
    ((text, weight),) = found(seen)
    assert text.startswith(said) and weight == grave


@pytest.mark.parametrize(
    ("locked", "changed", "said"),
    [
        (True, {"live": RULES, "declared": RULES}, ""),
        (True, {"live": RULES, "declared": ""}, ""),
        (True, {}, "the lock-down is declared and not loaded"),
        (False, {"live": RULES, "declared": RULES}, "a lock-down is in force that the inventory"),
        (
            True,
            {"live": RULES, "declared": RULES + " "},
            "the lock-down has been changed: its rules",
        ),
        (
            True,
            {"live": RULES.replace("drop", "accept")},
            "the lock-down has been changed: it does",
        ),
        (True, {"live": RULES, "armed": True}, "rules of the lock-down wait to be confirmed"),
    ],
)
def test_the_lock_down_is_as_declared(locked: bool, changed: dict, said: str) -> None:
    seen = copy.deepcopy(SOUND)
    seen["lockdown"].update(changed)  # type: ignore[attr-defined]
    told = found(seen, locked=locked)
    assert [text.startswith(said) for text, _grave in told] == ([True] if said else [])


def test_behind_a_lock_down_other_ports_answer_nobody() -> None:
    seen = copy.deepcopy(SOUND)
    _theirs(seen)
    seen["lockdown"].update(live=RULES, declared=RULES)  # type: ignore[attr-defined]
    assert found(seen, locked=True) == []


@pytest.mark.parametrize("name", UNITS)
def test_what_a_unit_must_be_is_read_from_its_role(name: str) -> None:
    assert security.sandbox(name)["NoNewPrivileges"] == "yes"
    assert security.sandbox(name)["ProtectSystem"] == "strict"


def test_the_inventorys_own_folder_is_looked_at(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir(mode=0o700)
    key, secret, known = tmp_path / "id", secrets / "spark_auth_secret", tmp_path / "known_hosts"
    for path in (key, secret, known):
        path.write_text("x")
        path.chmod(0o600)
    host = Host("a", "10.0.0.1", key_file=key)
    cluster = Cluster("c", tmp_path, tmp_path / "hosts.yml", {"a": host}, host, [host], {})
    (secrets / ".#spark_auth_secret").symlink_to("anna@desk7.4711")  # an editor has it open
    assert security.of_control(cluster, NOW) == []
    before = secrets / "spark_auth_secret.before"
    before.write_text("y")
    before.chmod(0o600)
    (unfinished,) = security.of_control(cluster, NOW)
    assert unfinished.mend == "mammoctl secrets rotate"
    before.unlink()
    secrets.chmod(0o755)
    secret.chmod(0o644)
    key.chmod(0o640)
    cluster.known_hosts.chmod(0o666)
    os.utime(secret, (0, 0))
    told = security.of_control(cluster, NOW)
    assert [one.mend for one in told if one.grave] == [
        f"chmod 0700 {secrets}",
        f"chmod 0600 {secret}",
        f"chmod 0600 {key}",
        f"chmod 0644 {known}",
    ]
    assert ["years old" in one.seen for one in told if not one.grave] == [True]


def test_what_runs_on_a_node_needs_nothing_but_its_python(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o640)
    argv = [sys.executable, "-I", "-", "no-such.service", "--", f"{tmp_path}/s*", "/no/such"]
    text = Path(on_node.__file__).read_text()
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert set(seen) == {"listening", "units", "files", "shells", "guard", "lockdown"}
    assert seen["units"] == {}
    assert [(path, value[0]) for path, value in seen["files"].items()] == [(str(secret), 0o640)]


def beside(op: str, verdict: str) -> dict[str, object]:
    match = {"match": {"op": op, "left": {"meta": {"key": "iifname"}}, "right": "mammoctl0"}}
    return {"rule": {"expr": [match, {"counter": {}}, {verdict: None}]}}


INNER = {"n1": "10.119.0.1", "n2": "10.119.0.2"}
SAID = {"addresses": ["10.119.0.1"], "peers": {"10.119.0.2": 20.0}}
ENCRYPTED = {
    **SOUND,
    "listening": [
        {"address": "::ffff:10.119.0.1", "port": 7077, "program": "java", "unit": "spark-master"},
        {"address": "127.0.0.1", "port": 40001, "program": "java", "unit": "hdfs-datanode.service"},
        {"address": "*", "port": 7260, "program": "python", "unit": "spark-worker.service"},
        {"address": "*", "port": 22, "program": "sshd", "unit": "ssh.service"},
    ],
    "guard": [*SOUND["guard"], beside("!=", "drop")],  # type: ignore[misc]
}


def test_a_node_behind_wireguard_has_nothing_against_it() -> None:
    assert security.of_wireguard("n1", ENCRYPTED, SAID, INNER, "mammoctl0") == []


@pytest.mark.parametrize(
    ("seen", "said", "told"),
    [
        ({}, {"addresses": [], "peers": {}}, "WireGuard (mammoctl0) is not up"),
        (
            {"listening": []},
            {"addresses": ["10.119.0.7"]},
            "mammoctl0 has the address 10.119.0.7 instead of",
        ),
        ({}, {"peers": {}}, "WireGuard here does not know n2 (10.119.0.2)"),
        ({}, {"peers": {"10.119.0.2": 1.0, "10.119.0.9": 1.0}}, "WireGuard here lets somebody"),
        ({}, {"peers": {"10.119.0.2": None}}, "no handshake with n2 (10.119.0.2) since it started"),
        ({}, {"peers": {"10.119.0.2": 900.0}}, "no handshake with n2 (10.119.0.2) for 900 s"),
        ({"listening": SOUND["listening"][:1]}, {}, "port 7077 (spark-master.service) answers at"),
        (
            {"listening": [{"address": "*", "port": 8020, "program": "", "unit": "hdfs-namenode"}]},
            {},
            "port 8020 (hdfs-namenode) answers at *, in clear",
        ),
        ({"guard": SOUND["guard"]}, {}, "the guard lets in what comes beside WireGuard"),
        ({"guard": [beside("==", "drop")]}, {}, "the guard lets in what comes beside WireGuard"),
    ],
)
def test_each_difference_from_wireguard_is_told_alone(seen, said, told: str) -> None:
    found = security.of_wireguard("n1", {**ENCRYPTED, **seen}, {**SAID, **said}, INNER, "mammoctl0")
    (one,) = found
    assert one.seen.startswith(told) and one.mend and one.host == "n1"


def test_handshakes_are_read_as_wg_prints_them() -> None:
    told = peers.ages("KEYa\t940\nKEYb\t0\n", "KEYa\t10.119.0.2/32\nKEYb\t10.119.0.3/32\n", 1000.0)
    assert told == {"10.119.0.2": 60.0, "10.119.0.3": None}


def test_an_interface_that_is_not_there_has_nothing_to_say() -> None:
    argv = [sys.executable, "-I", "-", "no-such0"]
    text = Path(peers.__file__).read_text()
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"addresses": [], "peers": {}}
