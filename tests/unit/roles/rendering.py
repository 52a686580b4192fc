"""Renders the roles' templates with the variables of a small cluster."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLES = ROOT / "roles"
VERSIONS = ROOT / "playbooks" / "group_vars" / "all" / "versions.yml"
NODES = {"n1": "10.0.0.1", "n2": "10.0.0.2", "n3": "fd00::3"}
SECRET = "s3cr3t"


def defaults():
    values = {}
    for path in ROLES.glob("*/defaults/main.yml"):
        values.update(yaml.safe_load(path.read_text()))
    return values


def renderer():
    """Return render(role, template, **other variables) for node n2 of a small cluster."""
    hosts = {
        name: {
            "mammoctl_address": address,
            "mammoctl_outer_address": address,
            "ansible_facts": {
                "mammoctl": {
                    "hostname": f"{name}.example.org",
                    "ssh_port": 2222 if name == "n3" else 22,
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
        "mammoctl_outer_address": "10.0.0.2",
        "mammoctl_wireguard": False,
        "mammoctl_wireguard_subnet": "10.119.0.0/16",
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
        "_lockdown_ssh_from": [],
        "_lockdown_ssh_ports": [22],
        "_guard_outer": list(NODES.values()),
        "_wireguard_program": True,
        "_wireguard_key_file": "/etc/mammoctl/wireguard.key",
        "_wireguard_mtu": 1420,
        "_spark_secret": SECRET,
        "_spark_scratch": "/var/lib/mammoctl/scratch",
        "_spark_master_url": "spark://n1:7077",
        "_spark_storage": "hdfs://n1:8020/mammoctl",
        "_spark_executor": {"cores": 2, "memory_mb": 1060},
        "_spark_me": {"cores": 2, "memory_mb": 3360},
        "_spark_budget": {"reserved": 2784, "executor": 3360},
        "_hdfs_used": True,
        "_sbt_root": "/opt/mammoctl/sbt",
        "_sbt_cached": True,
        "_sbt_repository": {"sha256": "5" * 64},
        "mammoctl_versions": yaml.safe_load(VERSIONS.read_text())["mammoctl_versions"],
    }

    def render(role: str, name: str, **other: object) -> str:
        environment = jinja2.Environment(  # noqa: S701  no HTML here
            loader=jinja2.FileSystemLoader(ROLES / role / "templates"),
            trim_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        environment.tests["match"] = lambda value, pattern: bool(re.match(pattern, value))
        # As Ansible does it: the file's last line break is put back, an included file's is not.
        text = environment.get_template(name).render({**context, **other})
        return text if text.endswith("\n") else text + "\n"

    return render
