"""The shell offers names on Tab: fresh ones, kept ones when the cluster is away, never errors."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mammoctl import completion


@pytest.fixture
def ward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    source = tmp_path / "inventory" / "ward" / "hosts.yml"
    source.parent.mkdir(parents=True)
    source.write_text("all: {}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAMMOCTL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("MAMMOCTL_INVENTORY", raising=False)
    return source


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return what is asked of the cluster; it knows two names."""
    asked: list[list[str]] = []

    def run(argv: list[str], **_options: Any) -> Any:
        asked.append(argv[3:])
        return SimpleNamespace(stdout="screening\npilot\n")

    monkeypatch.setattr(completion.subprocess, "run", run)
    return asked


def context(inventory: str | None = None) -> Any:
    return SimpleNamespace(params={"inventory": inventory})


def age(kind: Any, source: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(completion._path(source, kind), (then, then))


def test_a_cluster_is_asked_once_a_minute(ward: Path, asked: list[list[str]]) -> None:
    for _ in range(2):
        assert completion.data(context(), "") == ["screening", "pilot"]
    assert asked == [["names", "data", "-i", str(ward)]]
    assert completion.data(context("ward"), "pi") == ["pilot"]
    assert len(asked) == 1
    age("data", ward, completion.FRESH_S + 1)
    completion.data(context(), "")
    assert len(asked) == 2


def test_hosts_are_asked_for_when_the_inventory_has_changed(
    ward: Path, asked: list[list[str]]
) -> None:
    os.utime(ward, (1000, 1000))
    for _ in range(2):
        completion.hosts(context(), "")
    age("hosts", ward, 86400)
    completion.hosts(context(), "")
    assert len(asked) == 1
    os.utime(ward)
    completion.hosts(context(), "")
    assert len(asked) == 2


def test_a_cluster_that_is_away_offers_what_it_said_last(
    ward: Path, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    completion.jobs(context(), "")
    age("jobs", ward, 3600)

    def away(argv: list[str], **options: Any) -> Any:
        raise subprocess.TimeoutExpired(argv, options["timeout"])

    monkeypatch.setattr(completion.subprocess, "run", away)
    assert completion.jobs(context(), "") == ["screening", "pilot", "latest"]
    assert completion.jobs(context(), "la") == ["latest"]
    assert completion.data(context(), "") == []  # nothing kept, nothing said


def test_tab_is_no_place_for_an_error(ward: Path) -> None:
    assert completion.data(context("no such"), "") == []
    assert completion.inventories("w") == ["ward"]
    assert completion.inventories("x") == []


def test_the_shell_gets_names_through_the_command_line(ward: Path) -> None:
    """The whole way that bash goes, with names that were kept."""
    completion.keep(ward, "data", ["screening", "pilot"])
    env = {
        **os.environ,
        "_MAMMOCTL_COMPLETE": "complete_bash",
        "COMP_WORDS": "mammoctl data remove s",
        "COMP_CWORD": "3",
    }
    program = Path(sys.executable).parent / "mammoctl"
    done = subprocess.run([program], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["screening"], done.stderr


def test_hosts_and_groups_where_several_may_be_meant(ward: Path, asked: list[list[str]]) -> None:
    assert completion.targets(context(), "s") == ["screening", "spark_master", "spark_workers"]
    assert completion.places(context(), "p") == ["pilot:"]
    assert completion.places(context(), "pilot:/et") == []


def test_operators_to_revoke(ward: Path, asked: list[list[str]]) -> None:
    assert completion.operators(context(), "p") == ["pilot"]
    assert asked == [["names", "operators", "-i", str(ward)]]
