"""A running cluster to another bundle and back; nodes that fail on the way; data stays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .other_bundle import another
from .own_lab import OwnLab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

WORDS = "what was there before\n"
SIX = "/opt/mammoctl/env/bin/python -c 'import importlib.metadata as m; print(m.version(\"six\"))'"


@dataclass
class Site:
    """A provisioned lab, and the bundle that it is going to be upgraded to."""

    lab: OwnLab
    first: str
    second: str
    second_env: str

    def state(self) -> list[dict[str, Any]]:
        """Return each node's account of itself."""
        return [
            {
                "bundle": json.loads(self.lab.on(node, "cat /etc/mammoctl/cluster.json"))["bundle"],
                "env": self.lab.on(node, "readlink /opt/mammoctl/env"),
                "six": self.lab.on(node, SIX),
            }
            for node in self.lab.nodes
        ]

    def starts(self) -> list[str]:
        """Return when the services were started."""
        show = "systemctl show -p ExecMainStartTimestampMonotonic spark-worker hdfs-datanode"
        return [self.lab.on(node, show) for node in self.lab.nodes]

    def words(self) -> str:
        return self.lab.on(self.lab.nodes[0], "/opt/mammoctl/bin/hdfs dfs -cat /tmp/words") + "\n"


@pytest.fixture(scope="module")
def site(own_cluster: OwnLab) -> Site:
    lab = own_cluster
    first = json.loads(lab.on(lab.nodes[0], "cat /etc/mammoctl/cluster.json"))["bundle"]
    record = Path(lab.cli("bundle", "show", first, "--json").json()[0]["path"])
    second = another(record)
    put = "printf %s | /opt/mammoctl/bin/hdfs dfs -put - /tmp/words"
    lab.on(lab.nodes[0], put.replace("%s", f"'{WORDS.strip()}'"))
    return Site(lab, first, second.key, second.requirements["cpu"].sha256[:16])


def verified(site: Site) -> None:
    verdict = site.lab.run("verify", "--json").json()
    assert verdict["ok"], [c for c in verdict["checks"] if c["outcome"] != "passed"]
    assert site.words() == WORDS


def test_check_mode_predicts_and_touches_nothing(site: Site) -> None:
    before, starts = site.state(), site.starts()
    done = site.lab.run("upgrade", "--bundle", site.second, "--check", "--diff", "--json").json()
    assert len(done["changed"]) >= 4
    assert (site.state(), site.starts()) == (before, starts)


def test_json_never_asks(site: Site) -> None:
    done = site.lab.run("upgrade", "--bundle", site.second, "--json", rc=2)
    assert "--yes" in done.stderr


def test_a_damaged_environment_is_found_before_anything_is_switched(site: Site) -> None:
    node = site.lab.nodes[1]
    before, starts = site.state(), site.starts()
    # The node has the new archive already, of the right size, with another content.
    record = json.loads(
        (Path(site.lab.cli("bundle", "show", site.second, "--json").json()[0]["path"])).read_text()
    )
    packed = next(file for file in record["files"] if file["kind"] == "environment")
    place = f"/var/lib/mammoctl/store/{packed['path']}"
    site.lab.on(node, f"mkdir -p $(dirname {place}); truncate -s {packed['size']} {place}")
    done = site.lab.run("upgrade", "--bundle", site.second, "--yes", rc=1)
    assert f"Damaged on the node, and removed: {packed['name']}" in done.stderr
    assert "Nothing was switched" in done.stderr
    assert "undefined" not in done.stderr
    assert (site.state(), site.starts()) == (before, starts)
    assert site.lab.on(node, f"ls {place}", rc=None) == ""


def test_a_node_that_fails_takes_all_back(site: Site) -> None:
    node = site.lab.nodes[1]
    before = site.state()
    # The worker of this node does not start on the new environment.
    drop_in = "/etc/systemd/system/spark-worker.service.d"
    program = f"/bin/sh -c '! readlink /opt/mammoctl/env | grep -q {site.second_env}'"
    site.lab.on(
        node,
        f'mkdir -p {drop_in}; printf "[Service]\\nExecStartPre=%s\\n" "{program}"'
        f" > {drop_in}/test.conf; systemctl daemon-reload",
    )
    try:
        done = site.lab.run("upgrade", "--bundle", site.second, "--yes", rc=1)
    finally:
        site.lab.on(node, f"rm -r {drop_in}; systemctl daemon-reload")
    assert "spark-worker.service did not start" in done.stderr
    assert "Every node is back" in done.stderr
    assert site.state() == before
    verified(site)


def test_a_running_application_is_a_reason_to_wait(site: Site) -> None:
    master = site.lab.nodes[0]
    unit = "mammoctl-job-of-the-test.service"
    site.lab.on(master, f"systemd-run --unit {unit} sleep 600")
    try:
        done = site.lab.run("upgrade", "--bundle", site.second, "--yes", rc=1)
    finally:
        site.lab.on(master, f"systemctl stop {unit}")
    assert unit in done.stderr
    assert "--force" in done.stderr


def test_upgrade(site: Site) -> None:
    done = site.lab.run("upgrade", "--bundle", site.second, "--yes", "--json").json()
    assert done["after"]["bundle"] == site.second
    for node in site.state():
        assert node["bundle"] == site.second
        assert node["env"].endswith(site.second_env)
        assert node["six"].endswith(".post1")
    verified(site)
    again = site.lab.run("upgrade", "--bundle", site.second, "--json").json()
    assert again["changed"] == []


def test_rollback(site: Site) -> None:
    done = site.lab.run("upgrade", "--rollback", "--yes", "--json").json()
    assert done["after"]["bundle"] == site.first
    assert all(node["bundle"] == site.first for node in site.state())
    assert not any(node["six"].endswith(".post1") for node in site.state())
    verified(site)
    # What it went back to is what provisioning declares.
    assert site.lab.run("provision", "--json").json()["changed"] == []
    twice = site.lab.run("upgrade", "--rollback", "--yes", rc=1)
    assert "no upgrade to go back from" in twice.stderr
