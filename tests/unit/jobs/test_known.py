"""Which job a word means, and which of the old ones may go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mammoctl.errors import UsageError
from mammoctl.jobs import known, prune
from mammoctl.ssh import Result

FIRST = "train-20261101-104512-ab12"
SECOND = "train-20261120-104512-cd34"
COUNT = "count-20261121-104512-ef56"
NODES: Any = SimpleNamespace(cluster=SimpleNamespace(name="ward"))


def record(job: str, state: str, ended: float) -> dict[str, Any]:
    return {"spec": {"id": job}, "state": {"id": job, "state": state, "finished_at": ended}}


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    jobs = [
        record(FIRST, "succeeded", 100.0),
        record(SECOND, "running", 0),
        record(COUNT, "failed", 900.0),
    ]
    for module in (known, prune):
        monkeypatch.setattr(module, "list_jobs", lambda _nodes: jobs)
    return jobs


@pytest.mark.parametrize(
    ("word", "job"),
    [
        ("latest", COUNT),
        ("cd34", SECOND),
        ("count", COUNT),
        ("train-20261101", FIRST),
        # a whole id is asked for as it is
        ("gone-20261121-104512-0000", "gone-20261121-104512-0000"),
    ],
)
def test_what_a_word_means(jobs: Any, word: str, job: str) -> None:
    assert known.resolve(NODES, word) == job


def test_words_that_mean_none_or_several(jobs: list[Any]) -> None:
    with pytest.raises(UsageError, match="any of 2 jobs") as caught:
        known.resolve(NODES, "train")
    assert caught.value.details == [FIRST, SECOND]
    with pytest.raises(UsageError, match="there is no job") as caught:
        known.resolve(NODES, "trian-20261120-104512-cd34x")
    assert caught.value.hint == f"did you mean {SECOND}?"
    jobs.clear()
    with pytest.raises(UsageError, match="there are no jobs"):
        known.resolve(NODES, "latest")


def test_ages() -> None:
    ages = [prune.seconds(age) for age in ("90m", "12h", "30D", "2w", "0d")]
    assert ages == [5400, 43200, 30 * 86400, 14 * 86400, 0]
    for age in ("", "30", "d", "-1d", "1y"):
        with pytest.raises(UsageError):
            prune.seconds(age)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "_sizes", lambda _nodes: {FIRST: 4096})


def test_which_jobs_may_go(jobs: Any, sizes: None) -> None:
    def chosen(age: float, keep: int) -> list[str]:
        return [one.job for one in prune.candidates(NODES, age, keep, now=1000.0)]

    assert chosen(500, 0) == [FIRST]
    assert chosen(0, 0) == [FIRST, COUNT]  # never one that is at work
    assert chosen(0, 1) == [FIRST]
    assert chosen(0, 3) == []
    assert chosen(0, 5) == []  # more than there are
    assert chosen(901, 0) == []
    assert prune.candidates(NODES, 500, 0, now=1000.0)[0].size == 4096


def test_what_goes_with_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[str] = []
    ran: list[str] = []

    class Storage:
        def __init__(self, *_: Any) -> None:
            pass

        def change(self, *steps: tuple[str, str]) -> None:
            assert not ran  # the record goes last
            assert {verb for verb, _ in steps} == {"remove"}
            removed.extend(uri for _, uri in steps)

    def run(_host: Any, line: str, *, sudo: bool) -> Result:
        assert sudo
        ran.append(line)
        return Result("n1", line, "", "", 0)

    monkeypatch.setattr(prune, "Storage", Storage)
    nodes: Any = SimpleNamespace(run=run, cluster=SimpleNamespace(master="n1"))
    deployment: Any = SimpleNamespace(
        paths=SimpleNamespace(results="hdfs://m/r"), storage=SimpleNamespace(uri="hdfs://m/")
    )
    prune.remove(nodes, deployment, [FIRST])
    assert removed == [f"hdfs://m/r/{FIRST}", f"hdfs://m/checkpoints/{FIRST}"]
    assert ran == [f"rm -rf -- /var/lib/mammoctl/jobs/{FIRST}"]
    with pytest.raises(UsageError):
        prune.remove(nodes, deployment, ["../../etc"])
