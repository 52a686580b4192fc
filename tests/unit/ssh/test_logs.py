"""Journals of several nodes, merged by time; connections that break."""

from __future__ import annotations

import json
import queue
import threading
import time
from dataclasses import replace

import pytest

from mammoctl import logs
from mammoctl.errors import ConnectionFailed, UsageError
from mammoctl.ssh import Nodes, live

pytestmark = pytest.mark.programs

UNITS = ("spark-worker.service",)


def entry(when: float, message: object, **more: object) -> str:
    return json.dumps(
        {
            "__REALTIME_TIMESTAMP": str(int(when * 1e6)), "__CURSOR": f"c{when}",
            "_SYSTEMD_UNIT": "spark-worker.service", "PRIORITY": "6", "MESSAGE": message, **more,
        }
    )  # fmt: skip


def test_an_entry():
    line = logs.parse("n1", entry(12.5, "hello"))
    assert line == logs.Line(12.5, "n1", "spark-worker", 6, "hello", "c12.5")
    assert logs.parse("n1", entry(1, [104, 105, 255])).message == "hi�"
    assert logs.parse("n1", entry(1, None)).message == ""
    # what systemd says about a unit is said by another one
    assert (
        logs.parse("n1", entry(1, "x", UNIT="a.service", _SYSTEMD_UNIT="init.scope")).service == "a"
    )
    for text in ("", "-- No entries --", "[1]", "{}"):
        assert logs.parse("n1", text) is None


def test_nothing_steers_the_terminal():
    assert logs.plain("a\x1b[2Jb\rc\td\ne\x9b f") == "a�[2Jb�c\td\ne� f"


def test_services_by_name():
    assert logs.units(["spark-worker", "ssh.service"]) == ("spark-worker.service", "ssh.service")
    assert "hdfs-namenode.service" in logs.units([])
    with pytest.raises(UsageError) as caught:
        logs.units(["sparkworker"])
    assert caught.value.hint.startswith("did you mean spark-worker?")


def test_the_question_to_a_node():
    ask = logs.Question(UNITS, 5, since="today", priority="warning", grep="lost")
    line = ask.argv()
    assert line[0] == "journalctl"
    assert {"--unit=spark-worker.service", "--lines=5", "--since=today"} < set(line)
    assert {"--priority=warning", "--grep=lost"} < set(line)
    again = ask.argv(follow=True, cursor="c1")
    assert {"--after-cursor=c1", "--follow", "--no-tail"} < set(again)
    assert "--since=today" not in again
    assert logs.Question(UNITS, 0).argv(follow=True)[-3:] == [
        "--since=now",
        "--follow",
        "--no-tail",
    ]
    assert logs.Question(UNITS, None).argv()[-1] == "--unit=spark-worker.service"


@pytest.fixture
def journal(tmp_path, program, sudo):
    """The hosts' journalctl: prints a file of entries for each of the first questions."""
    program(
        "journalctl",
        f"n=1; while ! mkdir {tmp_path}/asked$n 2>/dev/null; do n=$((n+1)); done\n"
        f'echo "$@" > {tmp_path}/asked$n/argv\n'
        f"[ -f {tmp_path}/say$n ] && cat {tmp_path}/say$n\n"
        f"[ -f {tmp_path}/do$n ] && . {tmp_path}/do$n\n"
        "exit 0\n",
    )

    def say(number: int, *entries: str, then: str = "") -> None:
        (tmp_path / f"say{number}").write_text("".join(f"{one}\n" for one in entries))
        if then:
            (tmp_path / f"do{number}").write_text(then + "\n")

    return say


def test_all_nodes_in_the_order_of_time(command, journal):
    journal(1, entry(10, "one"), entry(30, "three"))
    journal(2, entry(20, "two"), entry(40, "four\nmore", PRIORITY="3"))
    done = command("logs", "-n", "3")
    assert done.exit_code == 0, done.output
    assert [line.split()[-1] for line in done.stdout.splitlines()] == [
        "two",
        "three",
        "four",
        "more",
    ]
    head = done.stdout.splitlines()[0].index("two")
    assert done.stdout.splitlines()[3] == " " * head + "more"


def test_a_line_of_json_per_entry(command, journal):
    journal(1, entry(10.25, "[red]one :smile:"))
    done = command("logs", "ward2", "--json")
    assert json.loads(done.stdout) == {
        "schema": 1, "time": 10.25, "node": "ward2", "service": "spark-worker", "priority": 6,
        "message": "[red]one :smile:",
    }  # fmt: skip


def test_a_node_that_does_not_answer_is_told(command, journal, ward, make_cluster):
    journal(1, entry(10, "one"))
    broken = replace(ward.hosts["ward2"], port=1)
    object.__setattr__(ward, "hosts", {"ward1": ward.hosts["ward1"], "ward2": broken})
    done = command("logs")
    assert done.exit_code == 1
    assert "one" in done.stdout
    assert "ward2 (127.0.0.1 port 1) refuses connections" in done.stderr


def test_what_journalctl_refuses_is_told(command, journal):
    journal(1, then="echo 'Failed to parse timestamp' >&2; exit 1")
    done = command("logs", "ward1", "--since", "yesteryear")
    assert done.exit_code == 1
    assert "Failed to parse timestamp" in done.stderr


def test_nothing_that_matches(command, journal):
    journal(1, then="exit 1")
    done = command("logs", "ward1", "-g", "none")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "nothing was logged that matches" in done.stderr


def test_a_broken_connection_is_made_again_without_loss(ward, journal, tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "_LONGEST_PAUSE_S", 0.1)
    journal(1, entry(2, "two"), entry(3, "three"), then="exit 1")
    journal(2, entry(4, "four"), then="exec sleep 60")
    troubles = []
    with Nodes(ward) as nodes:
        before = [logs.Line(1, "ward1", "spark-worker", 6, "one", "c1")]
        lines = logs.follow(
            nodes, ["ward1"], logs.Question(UNITS), after=before, on_trouble=troubles.append
        )
        assert [next(lines).message for _ in range(3)] == ["two", "three", "four"]
    assert "--after-cursor=c1 " in (tmp_path / "asked1" / "argv").read_text()
    assert "--after-cursor=c3 " in (tmp_path / "asked2" / "argv").read_text()
    assert troubles[0] == "ward1: journalctl ended there; connecting again"


def test_a_node_that_is_lost_and_comes_back_is_told_once(monkeypatch):
    outcomes = iter([ConnectionFailed("gone"), ConnectionFailed("gone"), "back"])
    heard: queue.SimpleQueue = queue.SimpleQueue()
    pauses = []

    class Enough(Exception):
        pass

    def run(_nodes, _names, _argv, *, heard, **_options):
        out = next(outcomes)
        if out == "back":
            heard("n1", False, entry(5, "here"))
            raise Enough
        return {"n1": out}

    monkeypatch.setattr(live, "run", run)
    with pytest.raises(Enough):
        logs._listen(
            None, "n1", logs.Question(UNITS), "", heard, running=live.Running(), sleep=pauses.append
        )
    said = [heard.get_nowait() for _ in range(3)]
    assert said[0] == "n1: gone; connecting again"
    assert said[1].message == "here"
    assert said[2] == "n1: connected again"
    assert pauses == [1.0, 2.0]


def test_what_came_while_a_silent_node_was_lost_is_asked_for(monkeypatch):
    asked = []

    def run(_nodes, _names, argv, **_options):
        asked.append(argv)
        if len(asked) == 2:
            raise InterruptedError
        return {"n1": ConnectionFailed("gone")}

    monkeypatch.setattr(live, "run", run)
    with pytest.raises(InterruptedError):
        heard: queue.SimpleQueue = queue.SimpleQueue()
        question = logs.Question(UNITS, 0)
        logs._listen(None, "n1", question, "", heard, running=live.Running(), sleep=id)
    assert "--since=now" in asked[0]
    assert {"--since=-1s", "--no-tail"} < set(asked[1])


def test_lines_that_come_late_are_put_in_order():
    heard: queue.SimpleQueue = queue.SimpleQueue()
    for when in (2.0, 1.0):
        heard.put(logs.Line(when, "n", "s", 6, str(when)))
    timer = threading.Timer(0.1, heard.put, [logs.Line(0.5, "n", "s", 6, "0.5")])
    timer.start()
    lines = logs._ordered(heard, print)
    assert [next(lines).message for _ in range(3)] == ["0.5", "1.0", "2.0"]


def test_following_ends_its_commands_when_it_is_no_longer_wanted(monkeypatch):
    begun, left = threading.Event(), []

    def run(_nodes, _names, _argv, *, heard, running, **_options):
        heard("n1", False, entry(5, "here"))
        begun.set()
        while not running.over:
            time.sleep(0.01)
        left.append(threading.current_thread())
        return {"n1": ConnectionFailed("ended")}

    monkeypatch.setattr(live, "run", run)
    lines = logs.follow(None, ["n1"], logs.Question(UNITS))
    assert next(lines).message == "here"
    lines.close()
    begun.wait()
    deadline = time.monotonic() + 5
    while not left and time.monotonic() < deadline:
        time.sleep(0.01)
    left[0].join(timeout=5)
    assert not left[0].is_alive()
