"""What preflight has against hosts, by Ansible itself on hosts that are only described."""

from __future__ import annotations

import json
import time

import pytest
from playing import play

pytestmark = pytest.mark.programs

GOOD = {
    "distribution": "debian", "version": "12", "pretty": "Debian 12", "arch": "x86_64",
    "systemd": True, "memory_mb": 8192, "cores": 2, "gpus": 0, "behind": 0.0, "time": 0.0,
    "free_mb": {"/opt": 20000, "/var/lib": 20000}, "environments": [], "listening": [],
    "missing_packages": [], "time_service": "chrony.service", "synchronized": True,
    "users": {}, "made_users": [], "paths": {}, "groups": [], "host_keys": ["ssh-ed25519 KEY"],
}  # fmt: skip
NOBODY = {"mammoctl": None}
CASES = {
    "well": {},
    "behind": {"behind": 3600.0, "time": -3600.0},
    "ahead": {"time": 7200.0},
    "small": {"memory_mb": 1024},
    "full": {"free_mb": {"/opt": 100, "/var/lib": 20000}},
    "port": {"listening": [{"port": 7077, "unit": "theirs.service", "program": "nc"}]},
    "ours": {"listening": [{"port": 7077, "unit": "spark-master.service", "program": "java"}]},
    "twin1": {"hostname": "clone"},
    "twin2": {"hostname": "clone"},
    "short": {"hostname": "clone.example.org"},
    "node-a": {"hostname": "node-b"},
    "node-b": {"hostname": "elsewhere"},
    "nameless": {"hostname": "localhost.localdomain"},
    "cores": {},
    "memory": {},
    "installed": {"environments": ["e" * 16], "free_mb": {"/opt": 3000, "/var/lib": 3000}},
    "renewed": {"environments": ["f" * 16], "free_mb": {"/opt": 3000, "/var/lib": 3000}},
    "account": {"users": {"mammoctl": {"home": "/home/mammoctl"}}},
    "group": {"users": NOBODY, "groups": ["mammoctl"]},
    "brought": {"missing_packages": ["java"]},
    "lacking": {"missing_packages": ["java", "ca-certificates"]},
    "other": {"version": "13", "missing_packages": ["java"]},
}
# It brings Debian 12's Java, and nothing else.
BUNDLE = {
    "requirements": {"cpu": {"sha256": "e" * 64}},
    "files": [
        {"kind": "environment", "name": "env", "variants": ["cpu"], "size": 600 * 2**20},
        {"kind": "package-index", "name": "Packages", "releases": ["debian12"]},
        {"kind": "package", "name": "java_17.0+1_amd64.deb", "releases": ["debian12"]},
    ],
}


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return host -> what was found, all lines in one text."""
    now = time.time()
    described = {}
    for name, other in CASES.items():
        facts = {**GOOD, "hostname": name, "users": NOBODY, **other}
        described[name] = {**facts, "time": now + facts["time"]}
    hosts: dict[str, dict[str, object]] = {name: {} for name in CASES}
    hosts["cores"] = {"spark_node_cores": "two"}
    hosts["memory"] = {"spark_node_memory_mb": "4G"}
    folder = tmp_path_factory.mktemp("plays")
    (folder / "bundle.json").write_text(json.dumps(BUNDLE))
    return play(
        folder,
        hosts,
        [
            {"set_fact": {"mammoctl": "{{ described[inventory_hostname] }}", "cacheable": True}},
            {"import_role": {"name": "common", "tasks_from": "preflight"}},
            {"import_role": {"name": "ssh", "tasks_from": "preflight"}},
            {"import_role": {"name": "python", "tasks_from": "preflight"}, "when": False},
        ],
        described=described,
        mammoctl_nodes=list(CASES),
        mammoctl_storage="hdfs",
        mammoctl_bundle_file=str(folder / "bundle.json"),
        guard_packages=[],
        ssh_packages=[],
        python_packages=[],
        java_package="java",
        spark_ports=[],
        hdfs_ports=[],
    ).problems()


@pytest.mark.parametrize("name", ["well", "ours", "brought", "installed"])
def test_nothing_is_made_up(problems, name):
    assert problems[name] == ""


@pytest.mark.parametrize(
    ("name", "seen", "mend"),
    [
        ("behind", "the clock is 3600.0 s behind the control machine's", "Set the clock"),
        ("ahead", "s ahead of the control machine's", "Set the clock"),
        ("small", "1024 MiB of memory", "common_min_memory_mb"),
        ("full", "100 MiB free below /opt", "Free space"),
        ("port", "7077 (nc, theirs.service)", "Stop that program"),
        ("twin1", "are others' too: clone (twin2), clone (short)", "set-hostname twin1"),
        ("twin2", "are others' too: clone (twin1), clone (short)", "set-hostname twin2"),
        ("short", "calls itself clone.example.org, and names of it", "set-hostname short"),
        ("node-a", "are others' too: node-b (node-b)", "set-hostname node-a"),
        ("node-b", "are others' too: node-b (node-a)", "set-hostname node-b"),
        ("nameless", "the host calls itself localhost.localdomain", "set-hostname nameless"),
        ("cores", "spark_node_cores is 'two'; needed: whole numbers", "Correct it"),
        ("memory", "spark_node_memory_mb is '4G'; needed: whole numbers", "4096 for 4 GiB"),
        ("account", "an account 'mammoctl' that others made", "Set ssh_user"),
        (
            "lacking",
            "the bundle has no ca-certificates for debian12",
            "mammoctl bundle create --packages debian12",
        ),
        ("other", "the bundle has no java for debian13", "common_packages_source: apt"),
        ("group", "a group 'mammoctl' that others made", "remove the group"),
    ],
)
def test_each_is_told_with_its_mend(problems, name, seen, mend):
    assert seen in problems[name]
    assert mend in problems[name]
    assert len(problems[name].splitlines()) == 1


def test_room_for_another_environment_is_asked_for_before_it_is_sent(problems):
    lines = problems["renewed"].splitlines()
    assert len(lines) == 2
    for line, folder in zip(lines, ("/opt", "/var/lib"), strict=True):
        assert f"3000 MiB free below {folder}; needed: 3400 MiB" in line
        assert "the bundle takes 2400 MiB of it" in line
