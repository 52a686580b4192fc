"""A job waits until the cluster has room for it, and says for what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mammoctl.jobs.remote import queue, records, turn

NEEDS = {"executors": 3, "cores": 2, "memory_mb": 1024, "driver_mb": 1700, "page": "http://m/json/"}
MINE = {"id": "mine", "state": "queued", "queued_at": 100.0}


def worker(used: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "state": "ALIVE",
        **{"cores": 2, "coresused": used, "memory": 3072, "memoryused": 1024 * (used > 0)},
        **more,
    }


def page(*used: int, apps: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"workers": [worker(one) for one in used], "activeapps": apps or [], "completedapps": []}


def other(state: str, at: float, name: str = "other") -> dict[str, Any]:
    key = "queued_at" if state == "queued" else "started_at"
    return {"id": name, "state": state, key: at}


def why(
    found: dict[str, Any],
    *others: dict[str, Any],
    needs: dict[str, Any] | None = None,
    free: int = 9000,
) -> str | None:
    wanted = {**NEEDS, **(needs or {})}
    return turn.why_not(MINE, wanted, others, found, free_mb=free, now=1000.0)


def test_an_empty_cluster_has_room() -> None:
    assert why(page(0, 0, 0)) is None


def test_busy_cores_are_waited_for_and_their_user_is_named() -> None:
    apps = [{"name": "train-x", "cores": 4}, {"name": "waits", "cores": 0}]
    reason = why(page(2, 2, 0, apps=apps))
    assert reason == (
        "it needs 3 x 2 cores and 1024 MiB, there is room for 1; train-x uses 4 cores"
    )
    assert why(page(2, 2, 0, apps=apps), needs={"executors": 1}) is None


def test_a_dead_worker_is_not_waited_for() -> None:
    found = page(0, 0)
    found["workers"].append(worker(state="DEAD"))
    assert why(found) is None
    assert why({**found, "workers": [worker(state="DEAD")]}) == "no worker is up"


def test_memory_counts_as_cores_do() -> None:
    found = {"workers": [worker(memoryused=2500)]}
    assert "room for 0" in str(why(found))
    assert "no worker that is up has" in str(why(found, needs={"memory_mb": 4096}))


def test_first_come_first_served() -> None:
    found = page(0, 0, 0)
    assert why(found, other("queued", 99.0)) == "other came first"
    assert why(found, other("queued", 101.0)) is None
    # the same second: the id decides, so that exactly one of both begins
    assert why(found, other("queued", 100.0, "a")) == "a came first"
    assert why(found, other("queued", 100.0, "z")) is None
    two = (other("queued", 98.0, "b"), other("queued", 99.0))
    assert why(found, *two) == "b and 1 more came first"


def test_one_starts_at_a_time() -> None:
    assert why(page(0, 0, 0), other("running", 990.0)) == "other is just starting"
    seen = page(0, 0, 0, apps=[{"name": "anything", "cores": 2, "starttime": 993_000}])
    assert why(seen, other("running", 990.0)) is None
    over = {**page(0, 0, 0), "completedapps": seen["activeapps"]}
    assert why(over, other("running", 990.0)) is None
    before = page(0, 0, 0, apps=[{"name": "older", "cores": 2, "starttime": 900_000}])
    assert why(before, other("running", 990.0)) == "other is just starting"
    # a program that never asks for executors holds nobody up for ever
    assert why(page(0, 0, 0), other("running", 1000.0 - turn.SETTLE_S - 1)) is None


def test_two_drivers_must_fit_the_master() -> None:
    old = other("running", 1.0)
    assert "1700 MiB on the master, 900 are free (other at work)" in str(
        why(page(0, 0, 0), old, free=900)
    )
    assert why(page(0, 0, 0), free=900) is None  # alone it may try


def test_available_memory() -> None:
    assert turn.available_mb("MemTotal: 9 kB\nMemAvailable:    2097152 kB\n") == 2048
    assert turn.available_mb("") == 0


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(queue, "POLL", 0.0)
    monkeypatch.setattr(queue, "unit_active", lambda _job: True)
    monkeypatch.setattr(turn, "memory", lambda: 9000)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "spec.json").write_text(json.dumps({"needs": NEEDS}))
    record = {"id": "mine", "state": "submitted", "boot_id": "b"}
    (folder / "state.json").write_text(json.dumps(record))
    return tmp_path


def pages(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> list[Any]:
    left = list(answers)

    def ask(address: str) -> Any:
        assert address == "http://m/json/"
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(turn, "ask", ask)
    return left


def events(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "progress.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in ("v", "t")} for line in lines]


def test_a_waiting_job_says_why_once_and_then_runs(
    jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = page(2, 2, 2)
    left = pages(monkeypatch, busy, busy, OSError("refused"), page(0, 0, 0))
    queue.take_turn(jobs / "mine", jobs)
    assert not left
    told = events(jobs / "mine")
    assert [event["event"] for event in told] == ["queued", "queued", "began"]
    assert "room for 0" in told[0]["text"]
    assert told[1]["text"] == "the Spark master does not answer"
    state = records.read_state(jobs / "mine")
    assert (state["state"], state["reason"]) == ("running", "")
    assert state["queued_at"] <= state["started_at"]


def test_a_job_that_has_room_at_once_says_nothing(
    jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages(monkeypatch, page(0, 0, 0))
    queue.take_turn(jobs / "mine", jobs)
    assert [event["event"] for event in events(jobs / "mine")] == ["began"]


def test_no_job_begins_while_a_node_is_to_become_idle(
    jobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spark would give it the cores there that others have just given back."""
    mark = tmp_path / "leaving"
    mark.write_text("ward4\n")
    monkeypatch.setattr(queue, "LEAVING", mark)
    left = pages(monkeypatch, page(0, 0, 0), page(0, 0, 0))
    ask = turn.ask

    def gone_with_the_second(address: str) -> Any:
        if len(left) == 1:
            mark.unlink()
        return ask(address)

    monkeypatch.setattr(turn, "ask", gone_with_the_second)
    queue.take_turn(jobs / "mine", jobs)
    told = events(jobs / "mine")
    assert [event["event"] for event in told] == ["queued", "began"]
    assert told[0]["text"].startswith("ward4 is being taken out of the cluster")


def test_who_has_gone_away_keeps_no_job_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "leaving"
    mark.write_text("ward4\n")
    monkeypatch.setattr(queue, "LEAVING", mark)
    written = mark.stat().st_mtime
    assert queue.leaving(written + 30) == "ward4"
    assert queue.leaving(written + 61) == ""


def test_only_jobs_that_live_are_waited_for(jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, boot in (("first", "b"), ("rebooted", "old"), ("gone", "b")):
        (jobs / name).mkdir()
        record = {"id": name, "state": "queued", "boot_id": boot, "queued_at": 1.0}
        (jobs / name / "state.json").write_text(json.dumps(record))
    (jobs / "torn").mkdir()
    (jobs / "torn" / "state.json").write_text("{")
    monkeypatch.setattr(queue, "unit_active", lambda job: job != "gone")
    asked = []

    def ask(_page: str) -> dict[str, Any]:
        asked.append(1)
        if len(asked) == 2:
            (jobs / "first" / "state.json").unlink()
        return page(0, 0, 0)

    monkeypatch.setattr(turn, "ask", ask)
    queue.take_turn(jobs / "mine", jobs)
    assert [event.get("text") for event in events(jobs / "mine")] == ["first came first", None]
    assert len(asked) == 2


def test_a_master_that_stays_silent_ends_the_wait(
    jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "UNANSWERED_S", -1.0)
    pages(monkeypatch, OSError("refused"))
    with pytest.raises(TimeoutError, match="http://m/json/"):
        queue.take_turn(jobs / "mine", jobs)
