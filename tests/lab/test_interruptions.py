"""A provision that is cut off anywhere can be repeated; then there is nothing left to change."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .command import Cli
from .own_lab import OwnLab, own_lab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

LAB, SUBNET = "mmkill", "10.213.12.0/24"
SEED = int(os.environ.get("MAMMOCTL_TEST_SEED", str(time.time_ns() % 10_000)))
# Seconds, counted from the start of Ansible; later ones are in what follows what is done by then.
KILLS = 4
INTERRUPTS = 2
LATEST_S = 75


@pytest.fixture(scope="module")
def bare(cli: Cli) -> Iterator[OwnLab]:
    with own_lab(cli, LAB, SUBNET, "--nodes", "2") as lab:
        yield lab


def ansible_below(pid: int) -> int:
    """Return the process group of the Ansible that a command of mammoctl has started, or 0."""
    for path in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        line = Path(f"/proc/{path}/cmdline").read_bytes()
        if b"ansible-playbook" in line:
            return os.getpgid(int(path))
    return 0


def cut_off(lab: OwnLab, seconds: float, number: signal.Signals) -> int:
    """Start a provision and cut it off; return its exit code.

    SIGKILL hits Ansible and all of its workers at once, as a crash of the control machine would;
    SIGINT hits the command, as Ctrl-C does.
    """
    process = lab.cli.start("provision", "-i", lab.name)
    try:
        while process.poll() is None and not (group := ansible_below(process.pid)):
            time.sleep(0.2)
        assert process.poll() is None, process.communicate()
        end = time.monotonic() + seconds
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.2)
        if process.poll() is None:
            if number is signal.SIGKILL:
                os.killpg(group, number)
            else:
                process.send_signal(number)
        process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode


def test_cut_off_anywhere(bare: OwnLab) -> None:
    moments = random.Random(SEED)  # noqa: S311  no secret
    numbers = [signal.SIGKILL] * KILLS + [signal.SIGINT] * INTERRUPTS
    moments.shuffle(numbers)
    told = []
    for number in numbers:
        seconds = moments.uniform(3, LATEST_S)
        code = cut_off(bare, seconds, number)
        told.append(f"{number.name} after {seconds:.0f} s: {code}")
        expected = 130 if number is signal.SIGINT else 1
        assert code in (0, expected), f"seed {SEED}: {told}"
    whole = bare.run("provision", "--json", rc=None)
    assert whole.rc == 0, f"seed {SEED}: {told}\n{whole.text[-4000:]}"
    again = bare.run("provision", "--json").json()
    assert again["changed"] == [], f"seed {SEED}: {told}"
    verdict = bare.run("verify", "--json", rc=None).json()
    assert verdict["ok"], [check for check in verdict["checks"] if check["outcome"] != "passed"]
    for node in bare.nodes:
        unfinished = "-name '*mammoctl-new*' -o -name '.mammoctl-*'"
        assert bare.on(node, f"find /opt/mammoctl /etc /usr/local {unfinished}") == ""
