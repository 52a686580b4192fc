"""The templates, rendered with the variables of a small cluster."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import jinja2
import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
NODES = {"n1": "10.0.0.1", "n2": "10.0.0.2", "n3": "fd00::3"}
SECRET = "s3cr3t"


def defaults():
    values = {}
    for path in ROLES.glob("*/defaults/main.yml"):
        values.update(yaml.safe_load(path.read_text()))
    return values


@pytest.fixture
def render():
    hosts = {
        name: {
            "mammoctl_address": address,
            "ansible_facts": {
                "mammoctl": {
                    "hostname": f"{name}.example.org",
                    "host_keys": [f"ssh-ed25519 KEY{name}", f"ssh-rsa RSA{name}"],
                }
            },
        }
        for name, address in NODES.items()
    }
    hosts["n1"]["_ssh_pair"] = {"public_key": "ssh-ed25519 PUB mammoctl@test"}
    context = {
        **defaults(),
        "ansible_managed": "managed",
        "inventory_hostname": "n2",
        "hostvars": hosts,
        "groups": {"spark_master": ["n1"], "spark_workers": ["n1", "n2", "n3"]},
        "mammoctl_nodes": list(NODES),
        "mammoctl_master": "n1",
        "mammoctl_address": "10.0.0.2",
        "mammoctl_is_master": False,
        "mammoctl_node_memory_mb": 6144,
        "common_cluster": "test",
        "java_home": "/usr/lib/jvm/java-17-openjdk-amd64",
        "hdfs_replication": 3,
        "spark_default_cores": 3,
        "_python_env": "/opt/mammoctl/env",
        "_python_site": "/opt/mammoctl/env/lib/python3.11/site-packages",
        "_guard_unit": "Requires=mammoctl-guard.service",
        "_guard_ports": ["7077", "7200-7216"],
        "_guard_addresses": [*NODES.values(), "192.0.2.0/24"],
        "_spark_secret": SECRET,
        "_spark_master_url": "spark://n1:7077",
        "_spark_storage": "hdfs://n1:8020/mammoctl",
        "_spark_executor": {"cores": 2, "memory_mb": 1060},
        "_spark_me": {"cores": 2, "memory_mb": 3360},
        "_spark_budget": {"reserved": 2784, "executor": 3360},
        "_hdfs_used": True,
    }

    def render(role: str, name: str, **other: object) -> str:
        environment = jinja2.Environment(  # noqa: S701  no HTML here
            loader=jinja2.FileSystemLoader(ROLES / role / "templates"),
            trim_blocks=True,
            keep_trailing_newline=True,
            undefined=jinja2.StrictUndefined,
        )
        environment.tests["match"] = lambda value, pattern: bool(re.match(pattern, value))
        return environment.get_template(name).render({**context, **other})

    return render


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
    assert len(ports) == 4


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
    assert len(known) == 1 + 2 * len(NODES)


def test_the_command_of_hdfs_is_a_shell_script(render, tmp_path):
    import subprocess

    path = tmp_path / "hdfs"
    path.write_text(render("hdfs", "hdfs.j2"))
    subprocess.run(["sh", "-n", path], check=True)
    done = subprocess.run(["sh", path, "bogus"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: hdfs dfs|")
