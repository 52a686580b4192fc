"""The notebook server's unit; that it runs cells is tried on a lab."""

from __future__ import annotations

import json
import stat
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_spec import RECORD
from typer.testing import CliRunner

from mammoctl import cluster as clusters
from mammoctl import inventory, notebook
from mammoctl.cli import app
from mammoctl.cluster import ClusterFile, parse
from mammoctl.commands import browser
from mammoctl.commands import notebook as command


@pytest.fixture
def lab() -> ClusterFile:
    return parse(json.dumps(RECORD))


def test_it_listens_on_loopback_and_no_secret_is_in_its_arguments(lab):
    argv = notebook.unit_argv(lab, "spark", "/var/spark")
    assert "--ip=127.0.0.1" in argv
    assert "--uid=spark" in argv
    assert not [word for word in argv if "TOKEN" in word or "token" in word]
    assert f"--property=EnvironmentFile={notebook._SECRET}" in argv


def test_its_packages_data_is_found_beside_them(lab):
    argv = notebook.unit_argv(lab, "spark", "/var/spark")
    site = "/opt/mammoctl/env/lib/python3.11/site-packages"
    assert f"--setenv=JUPYTERLAB_DIR={site}/share/jupyter/lab" in argv


def test_its_sandbox_is_that_of_jobs(lab):
    argv = notebook.unit_argv(lab, "spark", "/var/spark")
    given = {
        key: value
        for word in argv
        if word.startswith("--property=")
        for key, _, value in [word.removeprefix("--property=").partition("=")]
    }
    own = {"Type", "WorkingDirectory", "EnvironmentFile", "TimeoutStopSec", "ReadWritePaths"}
    jobs = set(notebook.driver.sandbox(lab, "/f", "/s")) - {"ReadWritePaths"}
    assert set(given) - own == jobs
    assert given["ReadWritePaths"] == f"{notebook.FOLDER} -/var/spark"


class Master:
    """A master on which the server runs, or not, and says what is in its file."""

    def __init__(self, *said: str, active: bool = True) -> None:
        self.said, self.active, self.lines = list(said), active, []
        self.cluster = SimpleNamespace(name="ward", master=SimpleNamespace(name="n1"), vars={})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def put(self, *_a, **_k):
        pass

    def tunnel(self, *_):
        return nullcontext(("127.0.0.1", 1234))

    def run(self, _host, line, **_options):
        self.lines.append(line)
        if "is-active" in line:
            return SimpleNamespace(stdout="active\n" if self.active else "inactive\n")
        if line[0] == "systemd-run":
            self.active = True
        out = self.said.pop(0) if "cat " in line else ""
        return SimpleNamespace(rc=0, stdout=out, ok=True)


SERVER = '{"port": 8888, "token": "t0ken&"}'


def test_a_file_that_is_being_written_is_no_server_yet():
    assert notebook.running(Master('{"port": 88')) is None
    assert notebook.running(Master(SERVER)).port == 8888


@pytest.mark.parametrize(("active", "words", "ended"), [
    (False, [], True),
    (False, ["--keep"], False),
    (True, [], False),
])  # fmt: skip
def test_it_ends_what_it_started_and_nobody_elses(lab, monkeypatch, active, words, ended):
    master = Master(SERVER, active=active)
    monkeypatch.setattr(inventory, "load", lambda _: master.cluster)
    monkeypatch.setattr("mammoctl.ssh.Nodes", lambda _: master)
    monkeypatch.setattr(clusters, "read", lambda _: lab)
    monkeypatch.setattr(command, "wait", lambda: None)
    done = CliRunner().invoke(app, ["notebook", "--no-browser", *words])
    assert done.exit_code == 0, done.output
    assert any("systemctl stop" in str(line) for line in master.lines) == ended
    assert ("still running" in done.stderr) == (not ended)


@pytest.mark.parametrize("active", [False, True])
def test_one_that_is_interrupted_while_it_starts_is_ended_by_who_started_it(
    lab, monkeypatch, active
):
    def interrupted(_seconds):
        raise KeyboardInterrupt

    master = Master(*["{"] * 3, active=active)
    monkeypatch.setattr(notebook.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        notebook.start(master, lab)
    assert any("systemctl stop" in str(line) for line in master.lines) == (not active)


def test_the_browsers_arguments_hold_no_token(monkeypatch):
    seen = []

    def open_(url):
        path = Path(url.removeprefix("file://"))
        seen.extend([url, path, stat.S_IMODE(path.stat().st_mode), path.read_text()])

    monkeypatch.setattr("webbrowser.open", open_)
    with browser.opened("http://127.0.0.1:1/lab?token=t0ken&x=1"):
        pass
    url, path, mode, text = seen
    assert "t0ken" not in url
    assert mode == 0o600
    assert "url=http://127.0.0.1:1/lab?token=t0ken&amp;x=1" in text
    assert not path.exists()
