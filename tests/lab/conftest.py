"""One lab of three real machines for all tests here, driven as a user would: by commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from .command import Cli, Finished
from .own_lab import OwnLab, Ward, own_lab

LAB = "mmtest"
SUBNET = "10.213.7.0/24"
NODES = ("mmtest1", "mmtest2", "mmtest3")
REPO = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("MAMMOCTL_TEST_DATA", REPO.parent / "shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a lab without root here rather than in the middle of the first test."""
    if os.geteuid() != 0 and any(item.get_closest_marker("lab") for item in items):
        pytest.exit("the lab's tests need root: run `make test-lab`", returncode=2)


@pytest.fixture(scope="session")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """Return the command line in an empty folder, as on a machine that has just installed it."""
    return Cli(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="session")
def lab(cli: Cli) -> Iterator[str]:
    """Bring up three bare machines and remove them at the end; return the lab's name."""
    cli("lab", "down", "--name", LAB)
    try:
        cli("lab", "up", "--name", LAB, "--subnet", SUBNET, "--nodes", "3", timeout=900)
        yield LAB
    finally:
        cli("lab", "down", "--name", LAB)


@pytest.fixture(scope="session")
def inventory(cli: Cli, lab: str) -> Path:
    return cli.cwd / "inventory" / lab


@dataclass
class Provisioning:
    """The runs that brought the lab from bare to provisioned, kept for the tests to look at."""

    check: Finished
    first: Finished
    second: Finished


@pytest.fixture(scope="session")
def provisioned(cli: Cli, inventory: Path) -> Provisioning:
    """Provision the lab: predicted first (check mode on bare nodes), then done, then done again."""
    check = cli("provision", "-i", LAB, "--check", "--diff", "--json", timeout=1500)
    first = cli("provision", "-i", LAB, "--json", timeout=900)
    second = cli("provision", "-i", LAB, "--json", timeout=300)
    return Provisioning(check, first, second)


@pytest.fixture(scope="session")
def ward(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """Bring up a lab beside the first one, for modules that would spoil it: bare, provisioned."""
    with own_lab(cli, "mmward", "10.213.15.0/24", "--nodes", "3") as lab:
        ward = Ward(lab, tmp_path_factory.mktemp("ward"))
        ward.keep("bare")
        lab.run("provision", "--json")
        ward.keep("provisioned")
        yield ward


@pytest.fixture(scope="module")
def own_cluster(ward: Ward) -> OwnLab:
    """Return a lab of three nodes as `provision` left it, to be done with as a module likes."""
    return ward.back_to("provisioned")


@pytest.fixture(scope="session")
def synthetic(cli: Cli) -> Path:
    """Return a folder with the small synthetic data set that the demo uses."""
    folder = cli.cwd / "synthetic"
    cli("data", "synthesize", str(folder))
    return folder


@pytest.fixture(scope="session")
def node(cli: Cli, lab: str) -> Any:
    """Return a function that runs a shell command on a node and returns its standard output."""

    def run(name: str, command: str, *, rc: int | None = 0, timeout: float = 60) -> str:
        config = cli.cwd / "inventory" / lab
        hosts = yaml.safe_load((config / "hosts.yml").read_text())
        address = _find_address(hosts, name)
        argv = [
            *("ssh", "-i", str(config / "id_ed25519"), "-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={config / 'known_hosts'}", "-o", "ConnectTimeout=10"),
            *("-o", "GlobalKnownHostsFile=/dev/null"),
            *(f"admin@{address}", f"sudo -n sh -c {_quote(command)}"),
        ]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
        if rc is not None:
            assert done.returncode == rc, f"{name}: {command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    return run


def _quote(command: str) -> str:
    return "'" + command.replace("'", "'\\''") + "'"


def _find_address(tree: Any, name: str) -> str:
    if isinstance(tree, dict):
        found = tree.get(name)
        if isinstance(found, dict) and "ansible_host" in found:
            return str(found["ansible_host"])
        for value in tree.values():
            if address := _find_address(value, name):
                return address
    return ""


def wait_until(check: Any, *, seconds: float, every: float = 2) -> None:
    """Wait until ``check()`` is true; fail after ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return
        time.sleep(every)
    pytest.fail(f"not so after {seconds} s: {check.__doc__ or check}")


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pack an interpreter of this machine; skip where there is none that can be packed."""
    if not shutil.which("patchelf"):
        pytest.skip("patchelf is not installed: scripts/bootstrap dev installs it")
    given = os.environ.get("MAMMOCTL_TEST_INTERPRETER")
    own = sorted(Path.home().glob(".pyenv/versions/3.1[123].*/bin/python3.1[123]"))
    preferred = [path for path in own if path.name == "python3.12"] + own
    if not given and not preferred:
        pytest.skip("no interpreter built from source here; name one in MAMMOCTL_TEST_INTERPRETER")
    target = tmp_path_factory.mktemp("interpreter") / "python.tar.gz"
    argv = [REPO / "scripts" / "interpreter-archive", given or preferred[0], "-o", target]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="session")
def mammograms() -> Path:
    """Return the folder of real mammograms; skip where it is absent."""
    folder = SHARED / "data" / "rsna-mammograms"
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"no real mammograms at {folder} (set MAMMOCTL_TEST_DATA to their parent)")
    return folder


@pytest.fixture(scope="session")
def vgg16_weights() -> Path:
    """Return the file of VGG16's ImageNet weights; skip where it is absent."""
    path = SHARED / "weights" / "vgg16_notop_imagenet.weights.h5"
    if not path.is_file():
        pytest.skip(f"no VGG16 weights at {path} (set MAMMOCTL_TEST_DATA to their parent)")
    return path
