"""What a check of the playbook comes to: from Ansible's events to what a user reads."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from mammoctl import plan
from mammoctl.ansible import events
from mammoctl.ansible.events import Change
from mammoctl.ansible.runner import PlaybookResult

pytestmark = pytest.mark.programs

ROOT = Path(__file__).resolve().parents[3]
PLAY = """\
- name: Provision
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Lay down files
      mammoctl_files:
        users: [{{name: mammoctl-nobody, home: /nonexistent}}]
        items:
          - {{path: {folder}/new, content: "x"}}
          - {{path: {folder}/old, content: "another text"}}
          - {{path: {folder}/gone, state: absent}}
          - {{path: {folder}/same, content: "same"}}
          - {{path: {folder}/secret, secret_content: "hush hush"}}
    - name: Tell nothing
      mammoctl_files:
        items: [{{path: {folder}/unseen, content: "x"}}]
      no_log: true
    - name: Do something else
      ansible.builtin.command: {{cmd: "true", creates: {folder}/none}}
"""


def checked(folder: Path, *options: str) -> tuple[events.Run, str]:
    """Check the play above; return what came of it and all that was sent."""
    (folder / "old").write_text("text")
    (folder / "gone").touch()
    (folder / "same").write_text("same")
    for name in ("old", "gone", "same"):
        (folder / name).chmod(0o644)
    play = folder / "play.yml"
    play.write_text(PLAY.format(folder=folder))
    reader, writer = os.pipe()
    done = subprocess.run(
        [
            Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-c", "local",
            "--check", *options, "-e", f"ansible_python_interpreter={sys.executable}", play,
        ],
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_CALLBACKS_ENABLED": "mammoctl_events",
            "MAMMOCTL_EVENTS_FD": str(writer),
        },
        cwd=ROOT, pass_fds=(writer,), capture_output=True, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == 0, done.stdout + done.stderr
    run = events.Run()
    with os.fdopen(reader) as stream:
        text = stream.read()
    for line in text.splitlines():
        if event := events.parse(line):
            run.add(event)
    return run, text


def test_each_change_comes_through_and_nothing_secret(tmp_path):
    run, sent = checked(tmp_path, "--diff")
    seen = [(c.kind, c.name.replace(str(tmp_path), ""), c.what) for c in run.changes]
    assert [one for one in seen if one[1] != "/same"][:5] == [  # its owner is who runs the test
        ("user", "mammoctl-nobody", "create"),
        ("file", "/new", "create"),
        ("file", "/old", "change"),
        ("file", "/gone", "remove"),
        ("file", "/secret", "create"),
    ]
    # what is hidden by no_log, and what a module tells nothing of, is a step by its task's name
    assert seen[-2:] == [("step", "Tell nothing", "run"), ("step", "Do something else", "run")]
    assert "hush" not in sent
    assert "unseen" not in sent
    assert any("+another text" in text for _host, _task, text in run.diffs)


def test_without_diff_there_are_no_texts(tmp_path):
    run, sent = checked(tmp_path)
    assert run.diffs == []
    assert "another text" not in sent
    assert len(run.changes) > 5


def change(host: str, kind: str, name: str, what: str) -> Change:
    return Change(host, "spark", kind, name, what)


CHANGES = [
    change("n1", "package", "nftables", "install"),
    change("n1", "user", "spark", "create"),
    change("n1", "group", "spark", "create"),
    change("n1", "file", "/etc/spark/a", "create"),
    change("n1", "file", "/etc/spark/b", "change"),
    change("n1", "artifact", "12", "send 30000000"),
    change("n1", "service", "spark-master.service", "enable, start"),
    change("n1", "service", "spark-worker.service", "restart"),
    change("n1", "step", "Format HDFS", "run"),
    change("n2", "service", "spark-worker.service", "restart"),
    change("n3", "service", "spark-worker.service", "restart"),
]
TASK = events.Task("Lay down", "spark", "spark")


def result(changes=CHANGES, diffs=()) -> PlaybookResult:
    return PlaybookResult("provision", {}, [], {}, 3.21, Path("/log"), [], changes, list(diffs))


def shown(what: plan.Plan) -> str:
    stream = io.StringIO()
    Console(file=stream, width=70).print(plan.view(what))
    return stream.getvalue()


def test_hosts_with_the_same_changes_are_told_together():
    found = plan.of(["n1", "n2", "n3", "n4"], result())
    text = shown(found)
    assert [line for line in text.splitlines() if not line.startswith((" ", "\n")) and line] == [
        "n1", "n2, n3", "n4",
    ]  # fmt: skip
    assert "  to be sent     12 artifacts, 30 MB" in text
    assert "  accounts       spark, group spark" in text
    assert "  changed files  /etc/spark/b" in text
    assert "  services       start spark-master, restart spark-worker" in text
    assert "  nothing to change" in text


def test_a_plan_in_a_sentence():
    found = plan.of(["n1", "n2", "n3"], result())
    assert plan.summary(found) == "11 changes on 3 hosts, 3 restarts of services"
    assert plan.summary(plan.of(["n1"], result(CHANGES[:1]))) == "1 change on 1 host"
    assert plan.summary(plan.of(["n1"], result([]))) == "nothing to change"


def test_only_what_runs_now_is_restarted():
    assert plan.restarts(CHANGES) == [
        ("n1", "spark-worker"), ("n2", "spark-worker"), ("n3", "spark-worker")
    ]  # fmt: skip


def test_equal_differences_are_told_once():
    diffs = [("n1", TASK, "+a"), ("n2", TASK, "+a"), ("n3", TASK, "+b")]
    found = plan.of(["n1", "n2", "n3"], result(diffs=diffs))
    assert found.diffs == [
        (["n1", "n2"], "spark : Lay down", "+a"),
        (["n3"], "spark : Lay down", "+b"),
    ]
    assert "n1, n2: spark : Lay down\n+a" in shown(found)
    value = json.loads(json.dumps(found.as_json()))
    assert value["changes"][0] == {
        "host": "n1", "role": "spark", "kind": "package", "name": "nftables", "what": "install"
    }  # fmt: skip
