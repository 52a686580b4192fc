"""Data sets on the lab's HDFS: verified, damaged, removed; their names on Tab."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .command import Cli
from .conftest import LAB, NODES, Provisioning

pytestmark = pytest.mark.lab

MASTER = NODES[0]
HDFS = "/opt/mammoctl/bin/hdfs dfs"
ROOT = "/mammoctl/data"


@pytest.fixture(scope="module")
def pushed(cli: Cli, provisioned: Provisioning, synthetic: Path) -> str:
    cli("data", "push", str(synthetic), "--name", "kept", "-i", LAB)
    return "kept"


def test_what_was_sent_is_there(cli: Cli, pushed: str) -> None:
    done = cli("data", "verify", pushed, "-i", LAB, "--json").json()
    [one] = done["data"]
    assert done["ok"]
    assert (one["name"], one["parts"], one["findings"]) == ("kept", 1, [])
    assert one["bytes"] > 0
    assert "kept: good" in cli("data", "verify", "-i", LAB, rc=None).stdout


@pytest.mark.slow
def test_damage_is_found_and_mended_by_a_new_push(
    cli: Cli, pushed: str, synthetic: Path, node: Any
) -> None:
    part = f"{ROOT}/{pushed}/part-00000.parquet"
    spoil = f"{HDFS} -cat {part} | head -c -7 > /tmp/part && {HDFS} -put -f /tmp/part {part}"
    node(MASTER, f"runuser -u spark -- sh -c '{spoil}'")
    done = cli("data", "verify", pushed, "-i", LAB, rc=1)
    assert "part-00000.parquet is damaged" in done.stdout
    cli("data", "remove", pushed, "-i", LAB, "--yes")
    cli("data", "push", str(synthetic), "--name", pushed, "-i", LAB)
    cli("data", "verify", pushed, "-i", LAB)


@pytest.mark.slow
def test_two_pushes_of_one_name(cli: Cli, provisioned: Provisioning, synthetic: Path) -> None:
    """One of two at once is refused, and what the other brings is whole."""
    process = cli.start("data", "push", str(synthetic), "--name", "twice", "-i", LAB)
    second = cli("data", "push", str(synthetic), "--name", "twice", "-i", LAB, rc=None)
    _, stderr = process.communicate(timeout=120)
    codes = [process.returncode, second.rc]
    # the second may also have come late enough to find it there
    assert sorted(codes) in ([0, 0], [0, 2]), stderr + second.stderr
    if 2 in codes:
        assert "the data set twice is being changed by" in stderr + second.stderr
    cli("data", "verify", "twice", "-i", LAB)
    cli("data", "remove", "twice", "-i", LAB, "--yes")


def test_unknown_names_and_no_confirmation(cli: Cli, pushed: str) -> None:
    assert "did you mean kept?" in cli("data", "verify", "kpet", "-i", LAB, rc=2).stderr
    assert "did you mean kept?" in cli("data", "remove", "kepd", "-i", LAB, rc=2).stderr
    assert "--yes" in cli("data", "remove", pushed, "-i", LAB, rc=2).stderr
    cli("data", "verify", pushed, "-i", LAB)


def test_names_on_tab(cli: Cli, pushed: str) -> None:
    def offered(line: str) -> list[str]:
        words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
        done = subprocess.run(
            cli.argv(),
            cwd=cli.cwd,
            env={**os.environ, **cli.env, **words, "_MAMMOCTL_COMPLETE": "complete_bash"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout.split()

    assert LAB in offered("mammoctl data list -i ")
    assert offered(f"mammoctl data remove -i {LAB} ke") == ["kept"]
    assert "latest" in offered(f"mammoctl jobs show -i {LAB} ")


@pytest.mark.slow
def test_a_data_set_in_use_is_not_removed(cli: Cli, pushed: str, node: Any) -> None:
    job = cli(
        *("submit", "-i", LAB, "--data", pushed, "--weights", "none", "--detach"),
        *("--backbone", "mobilenet_v2_035", "--epochs", "20000"),
    ).stdout.strip()
    try:
        done = cli("data", "remove", pushed, "-i", LAB, "--yes", rc=2)
        assert f"used by {job}" in done.stderr
    finally:
        cli("jobs", "kill", job, "-i", LAB)
    cli("data", "remove", pushed, "-i", LAB, "--yes")
    assert pushed not in node(MASTER, f"{HDFS} -ls -C {ROOT}")
    assert node(MASTER, f"ls /var/lib/mammoctl/datasets/{pushed} 2>&1 || true").endswith(
        "No such file or directory"
    )
