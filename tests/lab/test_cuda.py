"""Role cuda without a GPU: simulated PCI devices, packages with the real names, a real node."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import nvidia_repository as repository
from .command import Cli
from .conftest import REPO
from .nvidia_repository import DISTRIBUTION, KERNEL, NEWER, PINNED, Repositories
from .own_lab import OwnLab, own_lab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

LAB, SUBNET, GATEWAY = "mmcuda", "10.213.23.0/24", "10.213.23.1"
NODE = f"{LAB}1"
NVIDIA, DEBIAN = "nvidia.test", "debian.test"  # apt tells repositories apart by their hosts
T4, K80 = "0x1eb8", "0x102d"
SOURCES = "/etc/apt/sources.list.d"
# Every boot shows the cards of /srv/pci, if there are any, where the kernel shows those of the bus.
PCI_UNIT = """
[Unit]
DefaultDependencies=no
Before=sysinit.target
ConditionPathExists=/srv/pci
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mount --bind /srv/pci /sys/bus/pci/devices
[Install]
WantedBy=sysinit.target
"""
INITRAMFS = """#!/bin/sh
echo "$*" >> /var/log/update-initramfs
cat /dev/null /etc/modprobe.d/*.conf > /boot/initrd.img-$(uname -r) 2>/dev/null
true
"""


@dataclass
class Run:
    """What ansible-playbook did."""

    rc: int
    text: str

    @property
    def changed(self) -> int:
        found = re.search(r"changed=(\d+)", self.text.partition("PLAY RECAP")[2])
        assert found, self.text[-3000:]
        return int(found[1])

    def of(self, role: str) -> list[tuple[str, str]]:
        """Return (task, outcome) of a role's tasks on the node: ok, changed, skipping, fatal."""
        found = re.findall(rf"^TASK \[{role} : (.+?)\] \*+\n(\w+):", self.text, re.M)
        return [pair for pair in found if not pair[0].startswith(("Check", "Validating"))]


@dataclass
class Bench:
    """The lab's one node and the repositories."""

    lab: OwnLab
    repositories: Repositories
    bundle: Path

    def on(self, command: str, **rest: object) -> str:
        return self.lab.on(NODE, command, **rest)  # type: ignore[arg-type]

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        self.on(f"mkdir -p $(dirname {path}); cat > {path}; chmod {mode} {path}", stdin=text)

    def play(self, playbook: str, *arguments: str, rc: int | None = 0, **settings: object) -> Run:
        """Run a playbook of the project as anybody would; settings are the role's variables."""
        values = {"mammoctl_bundle_file": str(self.bundle), **settings}
        command = [
            *(str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.lab.inventory)),
            *(str(REPO / "playbooks" / playbook), "-e", json.dumps(values), *arguments),
        ]
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
        }
        done = subprocess.run(
            command,
            cwd=REPO,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        run = Run(done.returncode, done.stdout + done.stderr)
        assert rc is None or run.rc == rc, run.text[-5000:]
        return run

    def cuda(self, *arguments: str, rc: int | None = 0, **settings: object) -> Run:
        """Run the preflight and role cuda; NVIDIA's repository is ours, signed with our key."""
        own = {
            "cuda_mirror": f"{self.repositories.address(NVIDIA)}/nvidia",
            "cuda_keyring": str(self.repositories.keyring),
            "cuda_keyring_sha256": self.repositories.keyring_sha256,
        }
        return self.play(
            "provision.yml", "--tags", "cuda", *arguments, rc=rc, **{**own, **settings}
        )

    def insert(self, *devices: str) -> None:
        """Put cards into the node; none takes them out."""
        lines = ["umount /sys/bus/pci/devices 2>/dev/null || true", "rm -rf /srv/pci"]
        for number, device in enumerate(devices):
            folder = f"/srv/pci/0000:{0x18 + number:02x}:00.0"
            lines.append(f"mkdir -p {folder}")
            values = {"vendor": "0x10de", "class": "0x030200", "device": device}
            lines += [f"echo {value} > {folder}/{name}" for name, value in values.items()]
        if devices:
            lines.append("systemctl restart pci.service")
        self.on("\n".join(lines))

    def installed(self) -> dict[str, str]:
        """Return name -> version of the packages that are installed."""
        text = self.on("dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\\n'")
        rows = (line.split() for line in text.splitlines())
        return {row[1]: row[2] for row in rows if row[0] == "installed"}

    def tensorflow_lists(self, *devices: str, environment: str = "one") -> None:
        """Make the node's environment one whose TensorFlow lists these devices."""
        folder = f"/opt/mammoctl/envs/{environment}"
        self.write(f"{folder}/bin/python", f"#!/bin/sh\necho '{json.dumps(devices)}'\n", "0755")
        self.on(f"ln -sfn {folder} /opt/mammoctl/env")


@pytest.fixture(scope="module")
def bench(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("nvidia")
    made = repository.make(folder)
    bundle = folder / "bundle.json"
    record = {
        "schema": 1,
        "key": "0" * 16,
        "store": str(folder),
        "target": {"python": "3.11", "arch": "x86_64", "variants": ["cpu", "gpu"]},
        "requirements": {v: {"name": v, "sha256": "0" * 64, "path": v} for v in ("cpu", "gpu")},
        # What the preflight of the other roles looks for; nothing of it is pushed here.
        "files": [
            {"kind": kind, "name": kind, "sha256": "0" * 64, "variants": ["cpu", "gpu"]}
            for kind in ("sbt", "environment")
        ],
    }
    bundle.write_text(json.dumps(record))
    options = ("--nodes", "1", "--image", "debian12", "--memory", "6g")
    with (
        own_lab(cli, LAB, SUBNET, *options) as lab,
        repository.served(made, GATEWAY) as repositories,
    ):
        bench = Bench(lab, repositories, bundle)
        bench.write("/etc/systemd/system/pci.service", PCI_UNIT)
        bench.write("/usr/sbin/update-initramfs", INITRAMFS, "0755")
        bench.on(f"echo 127.0.0.1 localhost {NODE} >> /etc/hosts")
        bench.on(f"echo {GATEWAY} {NVIDIA} {DEBIAN} >> /etc/hosts")
        bench.write("/etc/apt/keyrings/local.asc", made.key.read_text())
        bench.write(
            f"{SOURCES}/local.sources",
            f"Types: deb\nURIs: {made.address(DEBIAN)}/debian\nSuites: bookworm\n"
            "Components: main contrib non-free non-free-firmware\n"
            "Signed-By: /etc/apt/keyrings/local.asc\n",
        )
        bench.on("mkdir -p /boot && : > /boot/initrd.img-$(uname -r)")
        bench.on("apt-get -q update && systemctl daemon-reload && systemctl enable pci.service")
        lab.snapshot("bare")
        yield bench


@pytest.fixture
def bare(bench: Bench) -> Bench:
    """Return the node as it was before the first test, with two cards in it."""
    bench.lab.restore("bare")
    bench.insert(T4, T4)
    bench.tensorflow_lists("/physical_device:GPU:0", "/physical_device:GPU:1")
    return bench


def test_a_node_without_a_gpu_costs_nothing_and_stays_as_it_is(bench: Bench) -> None:
    bench.insert()
    before = bench.installed()
    run = bench.cuda()
    tasks = run.of("cuda")
    assert len(tasks) >= 5
    assert {outcome for _task, outcome in tasks} == {"skipping"}, tasks
    assert run.changed == 0
    assert bench.installed() == before
    assert (
        bench.on(
            "find / -xdev -path '*mammoctl*' -newer /etc/machine-id -type f | grep -v view || true"
        )
        == ""
    )


def test_cards_without_a_driver_for_the_pinned_tensorflow_are_refused_first(bench: Bench) -> None:
    bench.insert(K80)
    run = bench.cuda(rc=2)
    assert "generation 'kepler'" in run.text
    assert "cuda_install: never" in run.text
    assert run.of("cuda") == []
    assert bench.cuda(cuda_install="never").changed == 0
    bench.insert()
    assert "cuda_install is 'always'" in bench.cuda(cuda_install="always", rc=2).text


def test_nvidias_repository_from_bare_to_torn_down(bare: Bench) -> None:
    before, units = (
        bare.installed(),
        bare.on("systemctl list-unit-files --type service --no-legend | cut -d' ' -f1"),
    )
    chosen = {"cuda_driver": "nvidia-repo"}

    predicted = bare.cuda("--check", "--diff", **chosen)
    assert predicted.changed > 0
    assert "+nvidia-kernel-open-dkms" in predicted.text
    assert "blacklist nouveau" in predicted.text
    assert bare.installed() == before
    assert bare.on("find /etc -name '*mammoctl*'") == ""

    first = bare.cuda(**chosen)
    assert first.changed > 0
    installed = bare.installed()
    driver = {"nvidia-kernel-open-dkms", "nvidia-driver-cuda", "libcuda1", "nvidia-persistenced",
              "nvidia-modprobe"}  # fmt: skip
    assert {installed.get(name) for name in driver} == {f"{PINNED}-1"}, "not the pinned version"
    assert {f"linux-headers-{KERNEL}"} <= set(installed)
    assert "nvidia-kernel-dkms" not in installed
    assert set(bare.on("apt-mark showhold").split()) == driver
    assert "blacklist nouveau" in bare.on("cat /boot/initrd.img-$(uname -r)")
    assert bare.on("systemctl is-enabled mammoctl-gpu") == "enabled"
    assert bare.on("cat /run/nvidia-smi.asked") == "-pm 1"
    told = json.loads(bare.on("/opt/mammoctl/bin/gpu-discovery"))
    assert told == {"name": "gpu", "addresses": ["0", "1"]}
    marker = json.loads(bare.on("cat /var/lib/mammoctl/gpu.json"))
    assert [gpu["driver"] for gpu in marker["gpus"]] == [PINNED, PINNED]

    again = bare.cuda(**chosen)
    assert again.changed == 0, again.text
    assert bare.cuda("--check", "--diff", **chosen).changed == 0

    bare.on("apt-get -q update && apt-get -q -y upgrade")
    assert bare.installed()["nvidia-driver-cuda"] == f"{PINNED}-1", "an upgrade moved the driver"
    newer = bare.cuda(**chosen, cuda_driver_version=NEWER)
    assert newer.changed > 0
    assert {bare.installed()[name] for name in driver} == {f"{NEWER}-1"}
    bare.cuda(**chosen)
    assert {bare.installed()[name] for name in driver} == {f"{PINNED}-1"}

    bare.cuda(**chosen, cuda_toolkit="12.5")
    installed = bare.installed()
    assert (installed["cuda-toolkit-12-5"], installed["libcudnn9-cuda-12"]) == (
        "12.5.1-1",
        "9.3.0.75-1",
    )
    assert bare.on("sh -lc 'echo $CUDA_HOME'") == "/usr/local/cuda-12.5"

    bare.play("teardown.yml", "-e", "teardown_data=true", "-e", "teardown_force=true")
    assert bare.installed() == before
    assert bare.on("apt-mark showhold") == ""
    assert bare.on("cat /boot/initrd.img-$(uname -r)").count("nouveau") == 0
    assert bare.on("systemctl list-unit-files --type service --no-legend | cut -d' ' -f1") == units
    left = bare.on("find / -xdev -path '*mammoctl*' | grep -v -e ^/run -e ^/opt/mammoctl || true")
    assert left == ""


def test_the_distributions_driver_is_the_default(bare: Bench) -> None:
    run = bare.cuda()
    assert run.changed > 0
    installed = bare.installed()
    assert installed["nvidia-smi"] == installed["nvidia-kernel-dkms"] == f"{DISTRIBUTION}-99"
    assert "nvidia-driver-cuda" not in installed
    assert bare.on(f"ls {SOURCES}").count("mammoctl") == 0, "the host's own sources have the driver"
    assert bare.cuda().changed == 0


def test_a_driver_that_works_is_left_alone(bare: Bench) -> None:
    bare.write(
        "/usr/local/bin/nvidia-smi", repository.NVIDIA_SMI.replace("{version}", "550.54.15"), "0755"
    )
    bare.on("ln -s /usr/local/bin/nvidia-smi /usr/bin/nvidia-smi")
    before = bare.installed()
    bare.cuda()
    assert bare.installed() == before
    assert bare.on("apt-mark showhold") == ""
    assert json.loads(bare.on("cat /var/lib/mammoctl/gpu.json"))["gpus"][0]["driver"] == "550.54.15"
    assert bare.cuda().changed == 0


def test_a_run_fails_where_tensorflow_does_not_list_the_gpus(bare: Bench) -> None:
    bare.tensorflow_lists("/physical_device:GPU:0", environment="half")
    run = bare.cuda(rc=2)
    assert "TensorFlow lists 1 of 2 GPUs" in run.text
    bare.tensorflow_lists("/physical_device:GPU:0", "/physical_device:GPU:1", environment="whole")
    bare.cuda()
    bare.tensorflow_lists(environment="other")
    assert "TensorFlow lists 0 of 2 GPUs" in bare.cuda(rc=2).text


def test_a_card_that_the_driver_does_not_list_fails_the_run(bare: Bench) -> None:
    bare.insert(T4, T4, T4)
    assert "lists 2 of the 3 GPUs" in bare.cuda(rc=2).text


def test_reboots_are_the_users_decision(bare: Bench) -> None:
    bare.on("touch /etc/driver-needs-reboot")
    boot = "cut -d ' ' -f 22 /proc/1/stat"
    started = bare.on(boot)
    refused = bare.cuda(rc=2)
    assert "need a reboot" in refused.text
    assert "cuda_reboot: when_needed" in refused.text
    assert bare.on(boot) == started
    done = bare.cuda(cuda_reboot="when_needed")
    assert bare.on(boot) != started
    assert ("Reboot the host, one at a time", "changed") in done.of("cuda")
    assert bare.on("systemctl is-active mammoctl-gpu") == "active"
    assert bare.cuda(cuda_reboot="when_needed").changed == 0
