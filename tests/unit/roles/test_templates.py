"""The templates, rendered with the variables of a small cluster."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from rendering import NODES, ROLES, SECRET, defaults


def properties(text):
    rows = (line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value.strip() for name, value in rows}


def test_spark_defaults(render):
    found = properties(render("spark", "spark-defaults.conf.j2"))
    assert found["spark.authenticate"] == "true"
    assert found["spark.authenticate.secret"] == SECRET
    assert found["spark.network.crypto.enabled"] == "true"
    assert found["spark.master.rest.enabled"] == "false"
    assert found["spark.executor.memory"] == "1060m"
    assert found["spark.eventLog.dir"] == "hdfs://n1:8020/mammoctl/events"


def test_further_settings_come_last(render):
    text = render("spark", "spark-defaults.conf.j2", spark_extra_settings={"spark.ui.port": 4100})
    assert properties(text)["spark.ui.port"] == "4100"


def test_every_port_that_spark_is_told_is_declared(render):
    text = render("spark", "spark-defaults.conf.j2")
    ports = {int(v) for k, v in properties(text).items() if k.endswith((".port", "Port"))}
    assert ports <= {value for key, value in defaults().items() if key.endswith("_port")}
    assert len(ports) == 5


def test_spark_env_of_a_worker_and_of_a_mere_master(render):
    worker = render("spark", "spark-env.sh.j2")
    assert "export SPARK_WORKER_MEMORY=3360m\n" in worker
    assert "export SPARK_LOCAL_IP=10.0.0.2\n" in worker
    assert "SPARK_WORKER" not in render("spark", "spark-env.sh.j2", _spark_me={})


def test_no_other_file_of_spark_has_the_secret(render):
    for path in (ROLES / "spark/templates").iterdir():
        if path.name != "spark-defaults.conf.j2":
            assert SECRET not in render("spark", path.name)


def test_hdfs_site_binds_to_the_nodes_own_address(render):
    root = ET.fromstring(render("hdfs", "hdfs-site.xml.j2"))
    found = {p.findtext("name"): p.findtext("value") for p in root.iter("property")}
    assert found["dfs.datanode.address"] == "10.0.0.2:9866"
    assert found["dfs.namenode.rpc-bind-host"] == "10.0.0.1"
    assert found["dfs.replication"] == "3"
    # A silent DataNode is lost after 2 * recheck + 10 * heartbeat.
    recheck, heartbeat = (
        int(found["dfs.namenode.heartbeat.recheck-interval"]),
        int(found["dfs.heartbeat.interval"]),
    )
    assert 2 * recheck / 1000 + 10 * heartbeat == defaults()["hdfs_dead_after_s"]


@pytest.mark.parametrize(
    ("role", "unit"),
    [
        ("hdfs", "hdfs-namenode"),
        ("hdfs", "hdfs-datanode"),
        ("spark", "spark-master"),
        ("spark", "spark-worker"),
        ("spark", "spark-history"),
    ],
)
def test_units_are_guarded_sandboxed_and_well_formed(render, role, unit):
    text = render(role, f"{unit}.service.j2")
    lines = text.replace("\\\n", " ").splitlines()
    for line in lines:
        assert re.fullmatch(r"(#.*|\[\w+\]|\w+=[^=]*.*|)", line), line
        assert line.count("ReadWritePaths=") <= 1
    assert [line for line in lines if line.startswith("[")] == ["[Unit]", "[Service]", "[Install]"]
    for wanted in (
        "Requires=mammoctl-guard.service",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "Restart=on-failure",
        "WantedBy=multi-user.target",
    ):
        assert wanted in lines, wanted
    after = next(line for line in lines if line.startswith("After="))
    assert "mammoctl-guard.service" in after


def test_the_guard_names_its_ports_only(render):
    text = render("guard", "guard.nft.j2")
    assert "elements = { 7077, 7200-7216 }" in text
    assert "elements = { 10.0.0.1, 10.0.0.2, 192.0.2.0/24 }" in text
    assert "elements = { fd00::3 }" in text
    assert "flush" not in text
    assert text.index("tcp dport != @ports accept") < text.index("drop")
    tables = re.findall(r"table (\w+ \w+)", text)
    assert set(tables) == {"inet mammoctl"}


def test_a_cluster_without_ipv6_has_an_empty_set(render):
    text = render("guard", "guard.nft.j2", _guard_addresses=["10.0.0.1"])
    assert re.search(r"set nodes6 \{\s+type ipv6_addr\s+flags interval\s+auto-merge\s+\}", text)


def test_hosts_resolve_without_dns(render):
    lines = render("common", "hosts.j2").splitlines()
    assert "127.0.0.1 localhost" in lines
    assert "10.0.0.2 n2 n2.example.org" in lines


def test_only_the_master_may_use_the_key(render):
    text = render("ssh", "authorized_keys.j2")
    assert text.splitlines()[1] == 'restrict,from="10.0.0.1" ssh-ed25519 PUB mammoctl@test'
    known = render("ssh", "known_hosts.j2").splitlines()
    assert "n2,10.0.0.2 ssh-ed25519 KEYn2" in known
    assert "[n3]:2222,[fd00::3]:2222 ssh-ed25519 KEYn3" in known
    config = render("ssh", "config.j2").split("Host ")
    assert ["Port" in host for host in config] == [False, False, False, True]
    assert "  HostName fd00::3\n  Port 2222\n  User mammoctl\n" in config[3]
    assert len(known) == 1 + 2 * len(NODES)


def test_the_command_of_hdfs_is_a_shell_script(render, tmp_path):
    import subprocess

    path = tmp_path / "hdfs"
    path.write_text(render("hdfs", "hdfs.j2"))
    subprocess.run(["sh", "-n", path], check=True)
    done = subprocess.run(["sh", path, "bogus"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: hdfs dfs|")


@pytest.mark.parametrize("unit", ["worker", "history"])
def test_storage_without_hdfs_can_be_written(render, unit):
    options = {"_hdfs_used": False, "_spark_local_storage": "/srv/mammoctl"}
    text = render("spark", f"spark-{unit}.service.j2", **options)
    lines = text.splitlines()
    assert "ReadWritePaths=/srv/mammoctl" in lines
    assert "ReadWritePaths=/var/lib/spark" in lines
    assert all(line.count("=") == 0 or "Paths" not in line.partition("=")[2] for line in lines)
