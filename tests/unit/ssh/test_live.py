"""A command on many nodes at once, and `mammoctl exec` and `ssh` over it."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mammoctl.errors import ConnectionFailed, UsageError
from mammoctl.ssh import Nodes, live, session

pytestmark = pytest.mark.programs

NAMES = ["ward1", "ward2", "ward3"]


@pytest.fixture
def nodes(ward):
    with Nodes(ward) as opened:
        yield opened


def gone(pid: int) -> bool:
    """Wait until a process has ended."""
    deadline = time.monotonic() + 10
    status = Path(f"/proc/{pid}/status")
    while time.monotonic() < deadline:
        try:
            if "\nState:\tZ" in status.read_text():
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_every_node_says_what_it_said(nodes):
    out = live.run(nodes, NAMES, "echo out; echo err >&2; exit 3")
    assert list(out) == NAMES
    assert all((o.rc, o.stdout, o.stderr) == (3, "out\n", "err\n") for o in out.values())


def test_lines_are_heard_as_they_come(nodes):
    heard = []
    began = time.monotonic()
    live.run(
        nodes, ["ward1"], "echo first; sleep 1; printf second >&2",
        heard=lambda *line: heard.append((*line, time.monotonic() - began)), keep=False,
    )  # fmt: skip
    assert [line[:3] for line in heard] == [("ward1", False, "first"), ("ward1", True, "second")]
    assert heard[1][3] - heard[0][3] > 0.7


def test_an_argv_arrives_as_it_is_and_there_is_no_input(nodes):
    out = live.run(nodes, ["ward1"], ["printf", "%s", "a b; $(false) 'c' \\"])["ward1"]
    assert out.stdout == "a b; $(false) 'c' \\"
    assert live.run(nodes, ["ward1"], "cat; echo end")["ward1"].stdout == "end\n"


def test_a_node_that_does_not_answer_is_told_beside_the_others(nodes, ward, make_cluster):
    broken = replace(ward.hosts["ward2"], port=1)
    with Nodes(make_cluster(ward.hosts["ward1"], broken)) as some:
        out = live.run(some, ["ward1", "ward2"], ["true"])
    assert out["ward1"].rc == 0
    assert isinstance(out["ward2"], ConnectionFailed)
    assert "refuses connections" in out["ward2"].message


def test_status_255_of_the_command_itself_is_its_own(nodes):
    assert live.run(nodes, ["ward1"], "echo no >&2; exit 255")["ward1"].rc == 255


def test_what_takes_too_long_is_ended_there(nodes, tmp_path):
    mark = tmp_path / "pid"
    line = f"sh -c 'echo $$ > {mark}; exec sleep 60'; true"  # a child of the command
    out = live.run(nodes, ["ward1"], line, timeout=3)["ward1"]
    assert isinstance(out, live.Overdue)
    assert "not ended after 3 s" in out.message
    assert gone(int(mark.read_text()))


def test_what_was_left_running_on_purpose_stays(nodes, tmp_path):
    mark = tmp_path / "pid"
    line = f"sh -c 'echo $$ > {mark}; exec sleep 60' >/dev/null 2>&1 & sleep 0.5"
    assert live.run(nodes, ["ward1"], line)["ward1"].rc == 0
    time.sleep(0.5)
    pid = int(mark.read_text())
    os.kill(pid, signal.SIGTERM)  # raises when it is not there any more


def test_ctrl_c_ends_the_command_on_the_nodes(nodes, tmp_path):
    def heard(_name, _is_error, line):
        Path(tmp_path / line).touch()
        if len(list(tmp_path.glob("[0-9]*"))) == len(NAMES):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        live.run(nodes, NAMES, "echo $$; exec sleep 60", heard=heard)
    pids = [int(path.name) for path in tmp_path.glob("[0-9]*")]
    assert len(pids) == len(NAMES)
    assert all(gone(pid) for pid in pids)


def test_another_thread_can_end_the_commands(nodes):
    running = live.Running()

    def heard(_name, _is_error, _line):
        threading.Timer(0.1, running.end).start()

    began = time.monotonic()
    live.run(nodes, ["ward1"], "echo up; sleep 60", heard=heard, running=running)
    assert time.monotonic() - began < 30
    late = live.run(nodes, ["ward1"], ["true"], running=running)["ward1"]
    assert "interrupted" in late.message


def test_exec_marks_each_line_and_returns_the_worst_code(command, tmp_path):
    line = f"mkdir {tmp_path}/first 2>/dev/null && exit 4; echo late >&2; exit 1"
    done = command("exec", "--", line)
    assert done.exit_code == 4
    assert sorted(set(done.stderr.splitlines()[:2])) != []
    assert done.stderr.count(": late") == 2
    assert "3 of 3 nodes failed (exit code): " in done.stderr
    ok = command("exec", "--", "echo", "a  b")
    assert ok.exit_code == 0
    assert sorted(ok.stdout.splitlines()) == [f"{name}: a  b" for name in NAMES]


def test_exec_on_one_node_leaves_the_output_as_it_is(command):
    done = command("exec", "ward2", "--", "printf 'x [red]y\\n:smile:\\n'; echo e >&2")
    assert (done.stdout, done.stderr, done.exit_code) == ("x [red]y\n:smile:\n", "e\n", 0)


def test_exec_in_groups_tells_the_same_once(command, tmp_path):
    done = command("exec", "-g", "--", f"mkdir {tmp_path}/one 2>/dev/null && echo other; echo same")
    assert done.exit_code == 0
    assert done.stdout.count("same") == 2
    assert done.stdout.count("--- ") == 2


def test_exec_as_json(command):
    done = command("exec", "--json", "ward[12]", "--", "echo out; exit 2")
    document = json.loads(done.stdout)
    assert done.exit_code == document["exit_code"] == 2
    assert document["command"] == ["echo out; exit 2"]
    assert [node["name"] for node in document["nodes"]] == ["ward1", "ward2"]
    assert {node["stdout"] for node in document["nodes"]} == {"out\n"}


def test_exec_with_sudo(command, sudo):
    assert command("exec", "--sudo", "ward1", "--", "echo hi").stdout == "hi\n"


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["exec", "uptime"], "no command", "mammoctl exec [NODE]... -- COMMAND"),
        (["exec", "wrad1", "--", "true"], "test has no node wrad1", "did you mean ward1?"),
        (["ssh", "wrad1"], "test has no node wrad1", "did you mean ward1?"),
        (["ssh", "ward*"], "ward* means 3 nodes: ward1, ward2, ward3", "name one"),
    ],
)
def test_who_is_not_there(command, words, message, hint):
    done = command(*words)
    assert isinstance(done.exception, UsageError)
    assert (done.exception.message, done.exception.hint) == (message, hint)


def test_ssh_asks_and_leaves_no_connection_behind(nodes):
    argv = session.argv(nodes, "ward2", None)
    assert argv[:3] == ["ssh", "-F", str(nodes.ssh_config)]
    assert {"BatchMode=no", "ControlPath=none"} < set(argv)
    assert argv[-1] == "ward2"
    assert session.argv(nodes, "ward2", ["df", "-h"])[-2:] == ["ward2", "df -h"]


def test_ssh_returns_the_code_of_the_command(nodes, capfd):
    assert session.run(nodes, "ward1", "echo here; exit 7") == 7
    assert capfd.readouterr().out == "here\n"
    assert session.run(nodes, "ward1", "exit 255") == 255


def test_ssh_to_a_node_that_is_off_ends_with_255(command, ward):
    object.__setattr__(ward, "hosts", {"ward1": replace(ward.hosts["ward1"], port=1)})
    done = command("ssh", "ward1", "--", "true")
    assert done.exit_code == 255
    assert "refuses connections" in done.stderr


def test_ssh_explains_why_a_node_is_not_reached(ward, make_cluster):
    broken = make_cluster(replace(ward.hosts["ward1"], port=1))
    with Nodes(broken) as nodes, pytest.raises(ConnectionFailed, match="refuses connections"):
        session.run(nodes, "ward1")
