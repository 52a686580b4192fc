"""`vagrant up` to a working cluster, a reboot, the same again, and nothing left in the end.

The tests build on each other and run in this order.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from .conftest import FIGURES, HOUR, Up, Vagrant, left_behind

pytestmark = pytest.mark.vagrant

BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
MASTER_PAGE = """python3 -c 'import json, urllib.request as u
print(json.load(u.urlopen("http://mammo1:8080/json/"))["aliveworkers"])'"""


def test_each_machine_has_a_kernel_of_its_own(up: Up, vagrant: Vagrant) -> None:
    boots = {name: vagrant.ssh(name, BOOT_ID) for name in vagrant.machines}
    boots["here"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert len(set(boots.values())) == len(boots)
    for name in vagrant.machines:
        assert vagrant.ssh(name, "systemd-detect-virt --vm") in {"qemu", "kvm"}
        assert vagrant.ssh(name, "hostname") == name


def test_up_provisions_to_a_registered_and_verified_cluster(up: Up, vagrant: Vagrant) -> None:
    assert re.search(r"provisioned in \d+ s, [1-9]\d* changed", up.done.text), up.done.text[-3000:]
    assert vagrant.ssh("mammo1", MASTER_PAGE) == str(len(vagrant.machines))
    verdict = vagrant.mammoctl("verify", "-i", str(vagrant.inventory), "--json").json()
    assert verdict["ok"] is True
    assert verdict["failed"] == verdict["error"] == 0
    assert verdict["passed"] > 10 * len(vagrant.machines)


def test_small_job_uses_every_machine(up: Up, vagrant: Vagrant, tmp_path: Path) -> None:
    data, where = tmp_path / "synthetic", str(vagrant.inventory)
    vagrant.mammoctl("data", "synthesize", str(data))
    vagrant.mammoctl("data", "push", str(data), "--name", "synthetic", "-i", where)
    small = ("--backbone", "mobilenet_v2_035", "--weights", "none", "--epochs", "1")
    done = vagrant.mammoctl(
        *("submit", "-i", where, "--data", "synthetic", *small),
        *("--results", str(tmp_path / "results"), "--json"),
    )
    document = done.json()
    assert document["exit_code"] == 0
    assert set(document["timings"]["tasks_per_node"]) == set(vagrant.machines)
    assert list((tmp_path / "results").glob("*/model.keras"))


def test_rebooted_machine_rejoins(up: Up, vagrant: Vagrant) -> None:
    machine, began = vagrant.machines[-1], time.monotonic()
    boot = vagrant.ssh(machine, BOOT_ID)
    vagrant.ssh(machine, "sudo systemctl reboot", rc=None)
    while time.monotonic() - began < HOUR:
        time.sleep(10)
        again = vagrant.ssh(machine, BOOT_ID, rc=None)
        alive = vagrant.ssh("mammo1", MASTER_PAGE, rc=None)
        if again not in ("", boot) and alive == str(len(vagrant.machines)):
            break
    else:
        pytest.fail(f"{machine} did not come back: {again or 'no answer'}, {alive} workers")
    FIGURES.append((f"reboot of {machine} until registered", time.monotonic() - began))
    verdict = vagrant.mammoctl("verify", "-i", str(vagrant.inventory), "--json").json()
    assert verdict["ok"] is True


def test_provision_again_changes_nothing(up: Up, vagrant: Vagrant) -> None:
    said = vagrant("provision").text
    found = re.search(r"provisioned in \d+ s, (\d+) changed", said)
    assert found, said[-3000:]
    assert found[1] == "0", said[-3000:]


def test_destroy_leaves_nothing(up: Up, vagrant: Vagrant) -> None:
    assert vagrant.inventory.is_dir()
    vagrant("destroy", "--force")
    assert not vagrant.inventory.exists()
    now = left_behind()
    now["volumes"] = {v for v in now["volumes"] if "_vagrant_box_image_" not in v}
    before = {**up.before}
    before["volumes"] = {v for v in before["volumes"] if "_vagrant_box_image_" not in v}
    assert now == before
