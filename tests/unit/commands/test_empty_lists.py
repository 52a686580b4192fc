"""Lists with nothing in them say so, and how to get something."""

from __future__ import annotations

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from mammoctl import cluster, inventory
from mammoctl.cli import app


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["data", "list"], "there is no data set yet: mammoctl data push FOLDER --name NAME"),
        (["jobs", "list"], "there is no job yet: mammoctl submit starts one"),
        (["jobs", "list", "--state", "running"], "no job is running: mammoctl submit starts one"),
    ],
)
def test_nothing_to_list(monkeypatch, words, told):
    monkeypatch.setattr(inventory, "load", lambda _: SimpleNamespace(name="ward"))
    monkeypatch.setattr(cluster, "read", lambda _: None)
    monkeypatch.setattr("mammoctl.ssh.Nodes", nullcontext)
    monkeypatch.setattr("mammoctl.data.push.list_data", lambda *_: [])
    monkeypatch.setattr("mammoctl.jobs.notify.settle", lambda _: None)
    monkeypatch.setattr("mammoctl.jobs.known.list_jobs", lambda _: [])
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", f"{told}\n")
    as_json = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(as_json.stdout)[words[0]] == []
