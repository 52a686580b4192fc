"""The log that a command leaves of what it said."""

from __future__ import annotations

import re
import stat

import pytest
from typer.testing import CliRunner

from mammoctl import console, runlog
from mammoctl.cli import app
from mammoctl.errors import MammoctlError, UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MAMMOCTL_LOG_DIR", str(tmp_path / "log"))
    monkeypatch.setattr("sys.argv", ["mammoctl", "data", "push", "--token", "hunter22"])
    yield tmp_path / "log"
    runlog.begin("")


def test_what_is_said_is_kept_with_times_and_without_secrets(folder, capsys):
    runlog.begin("data push")
    console.set_volume(quiet=True, verbose=False)
    console.step("Reading")
    console.detail("n1: ls: followed")
    console.note("12 images, password=hunter22")
    console.warn("slow")
    console.result("done")
    console.set_volume(quiet=False, verbose=False)
    (file,) = folder.iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}-\d+-data-push\.console\.log", file.name)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = file.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in lines)
    assert [line[20:] for line in lines] == [
        "$ mammoctl data push --token [removed]", "==> Reading", "n1: ls: followed",
        "12 images, password=[removed]", "warning: slow", "done",
    ]  # fmt: skip
    console.error(MammoctlError("broke", hint="again", details=["here"]))
    assert [line[20:] for line in file.read_text().splitlines()][-3:] == [
        "error: broke", "  here", "hint: again"
    ]  # fmt: skip
    assert f"log: {file}" in capsys.readouterr().err


def test_a_name_that_is_no_text_breaks_nothing_off(folder, monkeypatch):
    monkeypatch.setattr("sys.argv", ["mammoctl", "data", "push", "/scans/M\udcfcller"])
    runlog.begin("data push")
    console.error(MammoctlError("cannot read M\udcfcller/1.png"))
    (file,) = folder.iterdir()
    assert [line[20:] for line in file.read_text().splitlines()][:2] == [
        "$ mammoctl data push '/scans/M\\udcfcller'", "error: cannot read M\\udcfcller/1.png"
    ]  # fmt: skip


def test_what_only_looks_or_cannot_begin_leaves_none(folder):
    for command in ("status", "data list", ""):
        runlog.begin(command)
        console.note("hello")
    runlog.begin("submit")
    console.error(UsageError("there is no program"))
    assert runlog.path() is None
    assert not folder.exists()
    for words in (["submit", "--help"], ["status", "--help"]):
        assert CliRunner().invoke(app, words).exit_code == 0
    assert not folder.exists()


def test_a_command_begins_its_own(folder, monkeypatch):
    done = CliRunner().invoke(app, ["data", "push", "/none", "--name", "x", "--inventory", "/none"])
    assert done.exit_code != 0
    assert runlog._run.name == "data push"


def test_every_command_of_the_list_is_one():
    import typer

    def all_of(command, path=()):
        for name, sub in getattr(command, "commands", {}).items():
            yield " ".join((*path, name))
            yield from all_of(sub, (*path, name))

    assert set(all_of(typer.main.get_command(app))) >= runlog.COMMANDS


def test_the_last_fifty_stay(folder):
    folder.mkdir()
    for number in range(60):
        (folder / f"20200101-{number:06}-1-submit.console.log").touch()
    runlog.begin("submit")
    runlog.say("hello")
    assert len(list(folder.iterdir())) == runlog.KEPT


def test_a_full_disk_breaks_nothing_off(folder, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runlog, "new", full)
    runlog.begin("submit")
    console.note("goes on")
    assert runlog.path() is None
