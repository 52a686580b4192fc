import pytest

from mammoctl.ansible import events
from mammoctl.ansible.render import PlainLines, live_view


def add_up(recorded):
    run = events.Run()
    for event in recorded:
        run.add(event)
    return run


@pytest.mark.parametrize(
    "line",
    ["", "not json", "[1]", '{"v": 2, "t": 1, "event": "ok"}', '{"v": 1, "t": "x", "event": "ok"}',
     '{"v": 1, "t": 1}', b"\xff\xfe"],
)  # fmt: skip
def test_foreign_lines_are_passed_over(line):
    assert events.parse(line) is None


def test_unknown_events_change_nothing(recorded):
    run = add_up(recorded)
    before = repr(run)
    run.add(events.Event("novelty", recorded[-1].time, "lab1", "none", {"x": 1}))
    assert repr(run) == before


def test_counts(recorded):
    run = add_up(recorded)
    assert {host: (s.ok, s.changed, s.failed, s.skipped) for host, s in run.hosts.items()} == {
        "lab1": (4, 2, 0, 2),  # two of them ignored failures; the rescued one is none
        "lab2": (4, 1, 1, 1),
    }
    assert [(host, str(task)) for host, task in run.changed] == [
        ("lab2", "demo : Write a file"),
        ("lab1", "demo : Write a file"),
        ("lab1", "demo : Restart it"),
    ]


def test_only_the_last_failure_of_a_failed_host_lasts(recorded):
    (failure,) = add_up(recorded).lasting_failures()
    assert failure.host == "lab2"
    assert str(failure.task) == "demo : Loop"
    assert failure.task.path == "/srv/project/roles/demo/tasks/main.yml:28"
    assert failure.message.startswith("item b: One or more items failed\nnon-zero return code")
    assert "Could not get lock" in failure.message


def test_a_run_that_broke_off_tells_all_it_knows(recorded):
    run = add_up(event for event in recorded if event.kind != "stats")
    assert {failure.host for failure in run.lasting_failures()} == {"lab1", "lab2"}
    assert not run.complete


def test_seconds_per_role_cover_the_run(recorded):
    run = add_up(recorded)
    assert list(run.groups) == ["Check every host", "demo"]
    assert run.groups["Check every host"] == pytest.approx(2.53, abs=0.01)
    assert run.groups["demo"] == pytest.approx(20.95, abs=0.01)
    assert sum(run.groups.values()) == pytest.approx(run.seconds, abs=0.1)


def test_a_role_whose_arguments_alone_were_checked_did_not_run():
    run, said = events.Run(), []
    plain = PlainLines(run, said.append)
    for at, (role, preliminary) in enumerate([("java", True), ("spark", True), ("spark", False)]):
        data = {"name": "x", "role": role, "preliminary": preliminary}
        event = events.Event("task_start", 10.0 + at, "", str(at), data)
        run.add(event)
        plain.show(event)
    run.add(events.Event("stats", 14.0, "", "", {"hosts": {}}))
    assert run.groups == {"spark": 2.0}
    assert said == ["spark:"]


def test_hidden_values_stay_hidden(recorded):
    assert not any("topsecret" in str(event) for event in recorded)
    hidden = [e for e in recorded if e.kind == "item" and "no_log" in str(e.data)]
    assert len(hidden) == 4


def test_plain_lines(recorded):
    said: list[str] = []
    run = events.Run()
    lines = PlainLines(run, said.append)
    for event in recorded:
        run.add(event)
        lines.show(event)
    lines.finish()
    assert said == [
        "Check every host:",
        "  Check every host: 2.6 s, 0 changed",
        "demo:",
        "[lab2] demo : Write a file\n--- before\n+++ after: /srv/project/y-lab2\n"
        "@@ -0,0 +1 @@\n+hello lab2",
        "  changed: [lab2] Write a file",
        "[lab1] demo : Write a file\n--- before\n+++ after: /srv/project/y-lab1\n"
        "@@ -0,0 +1 @@\n+hello lab1",
        "  changed: [lab1] Write a file",
        "  waiting: [lab2] Wait for it (1/3)",
        "  waiting: [lab2] Wait for it (2/3)",
        "  waiting: [lab1] Wait for it (1/3)",
        "  waiting: [lab1] Wait for it (2/3)",
        "  failed: [lab1] Fail first: non-zero return code",
        "  failed: [lab2] Fail first: non-zero return code",
        "  failed: [lab2] Loop: One or more items failed",
        "  changed: [lab1] Restart it",
        "  demo: 20.9 s, 3 changed",
    ]


def test_live_view_shows_every_host(recorded):
    from rich.console import Console

    run = add_up(recorded[:20])
    screen = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    screen.print(live_view(run, "provision", ["lab1", "lab2", "lab3"], 12))
    text = screen.export_text()
    assert "demo" in text
    assert "Wait for it" in text
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["lab1", "lab2", "lab3"]
