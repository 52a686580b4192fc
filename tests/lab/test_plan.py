"""What would change is told before; one operator at a time; a run that was broken off goes on."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from typing import Any

import pytest

from .command import Cli
from .conftest import LAB, NODES, wait_until

pytestmark = pytest.mark.lab

OTHER = ("-e", "spark_default_cores=2")
SETTINGS = "/etc/spark/spark-defaults.conf"


def test_a_provisioned_cluster_has_an_empty_plan(cli: Cli, provisioned: object) -> None:
    document = cli("plan", "-i", LAB, "--json", "--exit-code").json()
    assert (document["schema"], document["changes"]) == (1, [])
    assert "nothing to change; nothing was touched" in cli("plan", "-i", LAB).stdout


def test_a_plan_names_files_and_restarts_and_touches_nothing(
    cli: Cli, provisioned: object, node: Any
) -> None:
    before = {name: node(name, f"stat -c %Y {SETTINGS}") for name in NODES}
    document = cli("plan", "-i", LAB, *OTHER, "--diff", "--json", "--exit-code", rc=1).json()
    changed = [(c["host"], c["name"]) for c in document["changes"] if c["kind"] == "file"]
    assert set(changed) == {(name, SETTINGS) for name in NODES}
    restarted = {(c["host"], c["name"], c["what"]) for c in document["changes"]} - {
        (host, name, "change") for host, name in changed
    }
    assert restarted >= {(name, "spark-worker.service", "restart") for name in NODES}
    assert {name: node(name, f"stat -c %Y {SETTINGS}") for name in NODES} == before
    assert cli("status", "-i", LAB, "--json").json()["ok"]


def test_a_person_at_a_terminal_is_asked(cli: Cli, provisioned: object, node: Any) -> None:
    """The question comes after the plan; a no changes nothing."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        cli.argv("provision", "-i", LAB, *OTHER),
        cwd=cli.cwd, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        os.write(ours, b"n\n")
        stdout, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 2
    assert SETTINGS in stdout
    assert "Go on? [y/N]" in stderr
    assert "not confirmed; nothing was done" in stderr
    assert node(NODES[0], f"grep -c 'cores.max *2$' {SETTINGS}", rc=None) == "0"


def holder(cli: Cli) -> str:
    """Return what `unlock` says of the lock; with nobody to ask it ends nothing."""
    done = cli("unlock", "-i", LAB, rc=None)
    return done.stderr if "is being changed by" in done.stderr else ""


def test_one_operator_at_a_time(cli: Cli, provisioned: object) -> None:
    first = cli.start("provision", "-i", LAB)
    try:
        wait_until(lambda: holder(cli), seconds=60, every=0.5)
        began = time.monotonic()
        refused = cli("stop", "-i", LAB, "--yes", rc=1)
        assert time.monotonic() - began < 10
        assert f"{LAB} is being changed by " in refused.stderr
        assert "(provision, since " in refused.stderr
        assert f"mammoctl unlock -i {LAB}" in refused.stderr
        _out, said = first.communicate(timeout=600)
        assert first.returncode == 0, said
    finally:
        first.kill()
    wait_until(lambda: not holder(cli), seconds=10, every=0.5)
    assert cli("status", "-i", LAB, "--json").json()["ok"]


def test_a_lock_does_not_outlive_its_command_and_can_be_ended(
    cli: Cli, provisioned: object
) -> None:
    process = cli.start("provision", "-i", LAB)
    try:
        wait_until(lambda: holder(cli), seconds=60, every=0.5)
        ended = cli("unlock", "-i", LAB, "--yes", "--json").json()["ended"]
        assert ended["command"] == "provision"
        process.communicate(timeout=600)
        assert process.returncode == 0  # its work is not ended by that
        process = cli.start("provision", "-i", LAB)
        wait_until(lambda: holder(cli), seconds=60, every=0.5)
        process.send_signal(signal.SIGKILL)
        wait_until(lambda: not holder(cli), seconds=15, every=0.5)
    finally:
        process.kill()
        process.communicate()
    cli("provision", "-i", LAB, "--json")


@pytest.mark.slow
def test_a_run_that_was_broken_off_goes_on_where_it_stopped(cli: Cli, provisioned: object) -> None:
    process = cli.start("provision", "-i", LAB, *OTHER)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("hdfs:"):
                break
        process.send_signal(signal.SIGINT)
        _out, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert f"to go on: mammoctl provision --resume -i {LAB}" in said
    try:
        resumed = cli("provision", "-i", LAB, "--resume", "--json")
        roles = set(json.loads(resumed.stdout)["roles"])
        assert not roles & {"common", "java", "ssh", "guard", "python", "cuda"}
        assert roles >= {"hdfs", "spark", "sbt"}
        assert "nothing to resume" in cli("provision", "-i", LAB, "--resume", rc=2).stderr
        # the options of the broken run were those of the resumed one
        assert cli("plan", "-i", LAB, *OTHER, "--json").json()["changes"] == []
    finally:
        cli("provision", "-i", LAB, "--json")
    assert cli("status", "-i", LAB, "--json").json()["ok"]
