from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from mammoctl import console
from mammoctl.errors import ConnectionFailed, JobError, RemoteError
from mammoctl.jobs import follow
from mammoctl.jobs.render import View

JOB = "train-20261121-104512-ab12"


class Nodes:
    """Answers each connection with the next of the prepared scripts."""

    def __init__(self, *scripts: list[Any]) -> None:
        self.cluster = SimpleNamespace(vars={}, master=SimpleNamespace(name="lab1"))
        self.scripts = list(scripts)
        self.offsets: list[int] = []

    def follow(self, host: str, argv: list[str], *, sudo: str) -> Iterator[str]:
        assert (host, sudo) == ("lab1", "spark")
        self.offsets.append(int(argv[-1]))
        for item in self.scripts.pop(0):
            if isinstance(item, Exception):
                raise item
            yield item if isinstance(item, str) else json.dumps(item)

    def close(self) -> None:
        raise AssertionError("not silent")


def event(n: int) -> dict[str, Any]:
    return {"offset": n * 10, "event": {"n": n}}


END = {"end": {"state": "succeeded"}}


def collect(nodes: Nodes, troubles: list[str] | None = None) -> list[dict[str, Any]]:
    found = troubles if troubles is not None else []
    return list(
        follow.events(nodes, JOB, on_trouble=found.append, sleep=lambda _: None)  # type: ignore[arg-type]
    )


def test_events_come_in_order_and_then_the_end() -> None:
    nodes = Nodes([event(1), {"beat": True}, "garbage", event(2), END])
    assert collect(nodes) == [{"n": 1}, {"n": 2}, END]
    assert nodes.offsets == [0]


def test_reconnects_where_it_stopped() -> None:
    broken = ConnectionFailed("gone")
    nodes = Nodes([event(1), event(2), broken], [broken], [event(3), END])
    troubles: list[str] = []
    assert collect(nodes, troubles) == [{"n": 1}, {"n": 2}, {"n": 3}, END]
    assert nodes.offsets == [0, 20, 20]
    assert len(troubles) == 2
    assert "the job goes on" in troubles[0]
    assert troubles[1] == "connected again"


def test_a_follower_that_ends_early_is_a_broken_connection() -> None:
    nodes = Nodes([event(1)], [END])
    assert collect(nodes) == [{"n": 1}, END]


def test_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "GIVE_UP", -1.0)
    nodes = Nodes([ConnectionFailed("gone")], [ConnectionFailed("gone")])
    with pytest.raises(JobError, match="cannot reach the master again") as caught:
        collect(nodes)
    assert caught.value.exit_code == 125
    assert f"jobs attach {JOB}" in caught.value.hint


def test_unknown_job() -> None:
    with pytest.raises(JobError, match="cannot follow"):
        collect(Nodes([RemoteError("no such file")]))


EVENTS: list[dict[str, Any]] = [
    {"event": "stage_started", "stage": "read"},
    {"event": "message", "level": "info", "text": "60 images"},
    {"event": "stage_finished", "stage": "read", "ok": True, "seconds": 3.25},
    {"event": "stage_started", "stage": "features", "done": 0, "total": 60},
    {"event": "stage_progress", "stage": "features", "done": 20, "total": 60},
    {"event": "stage_progress", "stage": "features", "done": 40, "total": 60},
    {"event": "stage_progress", "stage": "features", "done": 60, "total": 60},
    {"event": "stage_started", "stage": "train", "total": 2},
    {"event": "message", "level": "info", "text": "epoch 1/2: loss 0.5"},
    {"event": "epoch", "stage": "train", "done": 1, "total": 2, "loss": 0.5, "val_auc": 0.75},
    {"event": "message", "level": "error", "text": "bad"},
    {"event": "stage_finished", "stage": "train", "ok": False, "seconds": 1},
    {"event": "from the future"},
]


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 1.0, 5.0, 12.0, 13.0, 14.0])
    view = View(None, clock=lambda: next(times))
    for item in EVENTS:
        view.event(item)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "==> reading the data set",
        "    60 images",
        "    done in 3.2 s",
        "==> features on the workers",
        "    features on the workers: 40 of 60",
        "    features on the workers: 60 of 60",
        "==> training",
        "    epoch 1 of 2  loss 0.500  val auc 0.750",
        "the job says: bad",
        "    failed in 1.0 s",
    ]


def test_bars_follow_the_stages(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress() as bars:
        view = View(bars)
        for item in EVENTS[:5]:
            view.event(item)
        assert [(task.completed, task.total) for task in bars.tasks] == [(20, 60)]
        for item in EVENTS[5:10]:
            view.event(item)
        assert [(task.completed, task.total) for task in bars.tasks] == [(60, 60), (1, 2)]
    assert "reading the data set: done in 3.2 s" in capsys.readouterr().err
