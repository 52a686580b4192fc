from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml

from mammoctl import files
from mammoctl.errors import InventoryError, LabError
from mammoctl.lab import inventory
from mammoctl.lab.plan import Request, plan
from mammoctl.lab.state import LabState


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabState:
    monkeypatch.setenv("MAMMOCTL_LAB_DIR", str(tmp_path / "labs"))
    monkeypatch.delenv("SUDO_UID", raising=False)
    lab = plan(Request("lab", nodes=2, memory="1g,2g", cpus="0.6,1"))
    lab.save()
    keys = {"lab1": "ssh-ed25519 AAA", "lab2": "ssh-ed25519 BBB"}
    files.write(lab.dir / "known_hosts", inventory.known_hosts(lab, keys))
    files.write(lab.dir / "id_ed25519", "private\n", mode=0o600)
    return lab


def test_hosts_have_addresses_and_limits_and_their_groups(lab: LabState) -> None:
    tree = yaml.safe_load(inventory.hosts_yaml(lab))["all"]
    assert tree["hosts"]["lab2"] == {
        "ansible_host": "10.177.33.12",
        "spark_node_cores": 1,
        "spark_node_memory_mb": 2048,
    }
    assert list(tree["children"]["spark_master"]["hosts"]) == ["lab1"]
    assert list(tree["children"]["spark_workers"]["hosts"]) == ["lab1", "lab2"]


def test_group_vars_pin_the_host_keys(lab: LabState) -> None:
    values = yaml.safe_load(inventory.group_vars_yaml(lab))
    assert values["ansible_user"] == "admin"
    assert values["ansible_ssh_private_key_file"] == "{{ inventory_dir }}/id_ed25519"
    assert values["ansible_ssh_common_args"] == (
        "-o UserKnownHostsFile={{ inventory_dir }}/known_hosts "
        "-o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes"
    )
    assert values["mammoctl_cluster"] == "lab"


def test_known_hosts_name_the_node_by_name_and_address(lab: LabState) -> None:
    lines = (lab.dir / "known_hosts").read_text().splitlines()
    assert lines == [
        "lab1,10.177.33.11 ssh-ed25519 AAA",
        "lab2,10.177.33.12 ssh-ed25519 BBB",
    ]


def test_what_was_written_is_removed_with_the_secrets_and_nothing_else(
    lab: LabState, tmp_path: Path
) -> None:
    folder = tmp_path / "inventory" / "lab"
    inventory.write(lab, folder)
    assert stat.S_IMODE((folder / "id_ed25519").stat().st_mode) == 0o600
    inventory.require_own(folder)
    (folder / "secrets").mkdir()
    (folder / "secrets" / "spark").write_text("s")
    inventory.remove(folder)
    assert not folder.exists()

    inventory.write(lab, folder)
    (folder / "notes.txt").write_text("mine")
    inventory.remove(folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_somebody_elses_inventory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all: {}\n")
    with pytest.raises(LabError, match="was not written by the lab"):
        inventory.require_own(tmp_path)


def test_a_lab_that_no_command_could_use_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="blank"):
        inventory.require_own(tmp_path / "my project" / "inventory" / "lab")
