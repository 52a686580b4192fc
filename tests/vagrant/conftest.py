"""Virtual machines with `vagrant up`, and everything that it needs on this machine.

Only `make test-vagrant` comes here. Nothing that was not there before stays: not even the libvirt
daemons, when it is the tests that started them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from mammoctl import paths

REPO = Path(__file__).resolve().parents[2]
NAME = "vagranttest"
PREFIX = "MAMMOCTL_VAGRANT_"
URI = "qemu:///system"
POOL = "default"  # where vagrant-libvirt keeps images
PACKAGES = {
    **{"vagrant": "vagrant vagrant-libvirt", "virsh": "libvirt-clients"},
    **{"libvirtd": "libvirt-daemon-system", "virtlogd": "libvirt-daemon-system"},
    **{"dnsmasq": "dnsmasq-base", "qemu-system-x86_64": "qemu-system-x86"},
    **{"qemu-img": "qemu-utils", "extlinux": "extlinux", "mmdebstrap": "mmdebstrap"},
}
# An emulated processor is ten times slower; the settings are those of docs/vagrant.md.
SETTINGS = {
    **{"NODES": "3", "MEMORY_MB": "3840", "MASTER_MEMORY_MB": "6144", "CPUS": "2"},
    **{"SUBNET": "192.168.60", "EMULATION": "1"},
}
VARIABLES = {
    **{"spark_timeout_s": 1800, "hdfs_timeout_s": 1800, "mammoctl_verify_timeout_s": 1800},
    "spark_extra_settings": {"spark.rpc.askTimeout": "600s"},
}
HOUR = 3600.0

FIGURES: list[tuple[str, float]] = []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "vagrant: boots virtual machines; make test-vagrant")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("seconds of each step")
    for what, seconds in FIGURES:
        terminalreporter.write_line(f"{seconds:8.0f}  {what}")


@dataclass
class Finished:
    """What a command left: exit code, both streams together, wall-clock seconds."""

    rc: int
    text: str
    seconds: float

    def json(self) -> Any:
        return json.loads(self.text)


def run(
    what: str,
    argv: list[str],
    *,
    env: dict[str, str] | None = None,
    rc: int | None = 0,
    timeout: float = HOUR,
    separate: bool = False,
) -> Finished:
    """Run ``argv`` in the project's folder; with ``separate`` keep standard output alone."""
    began = time.monotonic()
    process = subprocess.Popen(
        argv,
        cwd=REPO,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if separate else subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        text, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)
        text, _ = process.communicate()
        pytest.fail(f"{what} took over {timeout:.0f} s\n{text[-6000:]}")
    done = Finished(process.returncode, text, time.monotonic() - began)
    FIGURES.append((what, done.seconds))
    if rc is not None:
        assert done.rc == rc, f"{what} ended with status {done.rc}\n{text[-6000:]}"
    return done


def virsh(*args: str) -> list[str]:
    """Return the non-empty lines that virsh prints."""
    argv = ["virsh", "--connect", URI, "--quiet", *args]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def volumes() -> set[str]:
    if POOL not in virsh("pool-list", "--name"):
        return set()
    virsh("pool-refresh", POOL)
    return {line.split()[0] for line in virsh("vol-list", POOL)}


def links() -> set[str]:
    shown = subprocess.run(["ip", "-j", "link"], capture_output=True, text=True, check=True)
    # A lab's cables come and go beside us.
    return {link["ifname"] for link in json.loads(shown.stdout) if link["ifname"][:2] != "ml"}


def left_behind() -> dict[str, set[str]]:
    """Return what machines consist of outside this folder."""
    return {
        "domains": set(virsh("list", "--all", "--name")),
        "networks": set(virsh("net-list", "--all", "--name")),
        "volumes": volumes(),
        "links": links(),
    }


@pytest.fixture(scope="session", autouse=True)
def needed() -> None:
    """End at once, with the line that installs it, when something is not here."""
    if os.geteuid() != 0:
        pytest.exit("libvirt and the box need root: run `sudo make test-vagrant`", returncode=2)
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = sorted({pkg for tool, pkg in PACKAGES.items() if not shutil.which(tool, path=path)})
    if missing:
        line = f"apt-get install --no-install-recommends {' '.join(missing)} fdisk"
        pytest.exit(f"programs are missing: {line}", returncode=2)


def _daemon(program: str, folder: Path) -> int:
    """Start a daemon of libvirt that leaves its process number in ``folder``."""
    pid = folder / f"{program}.pid"
    subprocess.run([f"/usr/sbin/{program}", "--daemon", "--pid-file", str(pid)], check=True)
    return int(pid.read_text())


def _answers() -> bool:
    argv = ["virsh", "--connect", URI, "version"]
    return subprocess.run(argv, capture_output=True, timeout=120, check=False).returncode == 0


def tables() -> set[str]:
    """Return the packet filter's tables, such as ``ip nat``, the lab's own aside."""
    shown = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True)
    names = {line.removeprefix("table ").strip() for line in shown.stdout.splitlines()}
    return {name for name in names if "mammoctl_lab_" not in name}


def cgroup_folders() -> set[Path]:
    """Return the control groups that libvirt makes for all its machines together."""
    return {path for path in Path("/sys/fs/cgroup").glob("**/machine") if path.is_dir()}


def stop_daemons(pids: list[int], had_tables: set[str], had_folders: set[Path]) -> None:
    """End the daemons, and remove the empty chains and control groups that they leave."""
    for pid in reversed(pids):
        os.kill(pid, signal.SIGTERM)
    time.sleep(5)
    for table in tables() - had_tables:
        rules = subprocess.run(
            ["nft", "list", "table", *table.split()], capture_output=True, text=True, check=True
        ).stdout
        if "LIBVIRT_" in rules:
            subprocess.run(["nft", "delete", "table", *table.split()], check=True)
    for folder in cgroup_folders() - had_folders:
        folder.rmdir()


@pytest.fixture(scope="session")
def libvirt(needed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have libvirt answer: the machine's own, else one for the time of the tests."""
    started: list[int] = []
    had_tables, had_folders = tables(), cgroup_folders()
    if not _answers():
        folder = tmp_path_factory.mktemp("libvirt")
        started = [_daemon(program, folder) for program in ("virtlogd", "libvirtd")]
        end = time.monotonic() + 120
        while not _answers():
            assert time.monotonic() < end, "libvirtd was started and does not answer"
            time.sleep(1)
    had_pool = POOL in virsh("pool-list", "--all", "--name")
    try:
        yield
    finally:
        if not had_pool and POOL in virsh("pool-list", "--all", "--name"):
            virsh("pool-destroy", POOL)
            virsh("pool-undefine", POOL)
        if started:
            stop_daemons(started, had_tables, had_folders)


@dataclass
class Vagrant:
    """``vagrant`` and ``mammoctl`` for the machines of the tests."""

    env: dict[str, str]
    machines: list[str] = field(default_factory=list)

    @property
    def inventory(self) -> Path:
        return REPO / "inventory" / NAME

    def __call__(self, *args: str, rc: int | None = 0, timeout: float = HOUR) -> Finished:
        argv = ["vagrant", *args]
        return run(" ".join(argv), argv, env=self.env, rc=rc, timeout=timeout)

    def mammoctl(self, *args: str, rc: int | None = 0, timeout: float = HOUR) -> Finished:
        argv = [str(Path(sys.executable).parent / "mammoctl"), *args]
        what = f"mammoctl {' '.join(args[:2])}"
        return run(what, argv, env=self.env, rc=rc, timeout=timeout, separate=True)

    def ssh(self, machine: str, command: str, *, rc: int | None = 0) -> str:
        """Run a command over SSH with the inventory's key, user and known_hosts."""
        host = yaml.safe_load((self.inventory / "hosts.yml").read_text())["all"]["hosts"][machine]
        argv = [
            *("ssh", "-i", host["ansible_ssh_private_key_file"], "-o", "BatchMode=yes"),
            *("-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=/dev/null"),
            *("-o", f"UserKnownHostsFile={self.inventory / 'known_hosts'}"),
            *("-o", "ConnectTimeout=20", f"vagrant@{host['ansible_host']}", command),
        ]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
        if rc is not None:
            assert done.returncode == rc, f"{machine}: {command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()


def made_box() -> Path:
    """Return the box, made once for each text of the script that makes it."""
    script = REPO / "scripts" / "vagrant-box"
    folder = paths.cache_dir() / "boxes"
    folder.mkdir(parents=True, exist_ok=True)
    box = folder / f"debian12-{hashlib.sha256(script.read_bytes()).hexdigest()[:12]}.box"
    if not box.is_file():
        run("scripts/vagrant-box", [str(script), "-o", str(box)])
    return box


@pytest.fixture(scope="session")
def vagrant(libvirt: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vagrant]:
    """Return Vagrant in a home of its own, with the box made here; remove all of it at the end."""
    home = tmp_path_factory.mktemp("vagrant")
    variables = home / "variables.yml"
    variables.write_text(yaml.safe_dump(VARIABLES))
    given = {k.removeprefix(PREFIX): v for k, v in os.environ.items() if k.startswith(PREFIX)}
    own = {"NAME": NAME, "VARS": str(variables), "BOX": "mammoctl/debian12"}
    settings = {**SETTINGS, **given, **own}
    env = {k: v for k, v in os.environ.items() if not k.startswith((PREFIX, "VAGRANT_"))}
    env |= {PREFIX + key: value for key, value in settings.items()}
    env |= {"VAGRANT_HOME": str(home / "home"), "VAGRANT_DOTFILE_PATH": str(home / "state")}
    env |= {"VAGRANT_CHECKPOINT_DISABLE": "1", "VAGRANT_DEFAULT_PROVIDER": "libvirt"}
    env |= {"VAGRANT_NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
    machines = [f"mammo{n}" for n in range(1, int(settings["NODES"]) + 1)]
    session = Vagrant(env, machines)
    before = volumes()
    session("box", "add", "--name", own["BOX"], str(made_box()))
    try:
        yield session
    finally:
        session("destroy", "--force", rc=None)
        # vagrant-libvirt keeps the box's image for the next machine.
        for volume in volumes() - before:
            if re.match(r"mammoctl-VAGRANTSLASH-debian12_vagrant_box_image_", volume):
                virsh("vol-delete", "--pool", POOL, volume)
        shutil.rmtree(home, ignore_errors=True)


@dataclass
class Up:
    """What was there before `vagrant up`, and what it said."""

    before: dict[str, set[str]]
    done: Finished


@pytest.fixture(scope="session")
def up(vagrant: Vagrant) -> Up:
    """Bring the machines up: booted, provisioned, verified."""
    before = left_behind()
    return Up(before, vagrant("up", timeout=3 * HOUR))
