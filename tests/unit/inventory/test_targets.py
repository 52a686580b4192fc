"""Which nodes a user means."""

from __future__ import annotations

import pytest

from mammoctl import targets
from mammoctl.errors import UsageError
from mammoctl.inventory import Cluster, Host

WORKERS = frozenset({"all", "spark_workers"})
HOSTS = {
    "ward1": Host("ward1", "10.0.0.1", groups=frozenset({"all", "spark_master"})),
    "ward2": Host("ward2", "10.0.0.2", groups=WORKERS),
    "ward3": Host("ward3", "10.0.0.3", groups=WORKERS),
}
WARD = Cluster("ward", None, None, HOSTS, HOSTS["ward1"], [HOSTS["ward2"], HOSTS["ward3"]])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ([], ["ward1", "ward2", "ward3"]),
        (["ward3", "ward1"], ["ward1", "ward3"]),
        (["ward3", "ward3"], ["ward3"]),
        (["ward[23]"], ["ward2", "ward3"]),
        (["*3", "ward1"], ["ward1", "ward3"]),
        (["spark_workers"], ["ward2", "ward3"]),
        (["all"], ["ward1", "ward2", "ward3"]),
    ],
)
def test_names_patterns_and_groups(words, meant):
    assert targets.choose(WARD, words) == meant


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("wrad2", "did you mean ward2?"),
        ("zzz", "it has ward1, ward2, ward3"),
        ("x*", "it has ward1"),
    ],
)
def test_who_is_not_there(word, hint):
    with pytest.raises(UsageError) as caught:
        targets.choose(WARD, ["ward1", word])
    assert caught.value.message == f"ward has no node {word}"
    assert caught.value.hint.startswith(hint)


def test_one_node():
    assert targets.one(WARD, "ward2") == "ward2"
    assert targets.one(WARD, "spark_master") == "ward1"
    with pytest.raises(UsageError, match="spark_workers means 2 nodes: ward2, ward3"):
        targets.one(WARD, "spark_workers")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ([], []),
        (["ward3,ward1"], ["ward1", "ward3"]),
        (["ward3:ward1"], ["ward1", "ward3"]),
        (["ward3", "ward1"], ["ward1", "ward3"]),
        (["spark_workers:!ward2"], ["ward3"]),
        (["!ward2"], ["ward1", "ward3"]),
        (["!ward2", "spark_workers"], ["ward3"]),
        (["all:&spark_workers:!*3"], ["ward2"]),
        (["ward[23]"], ["ward2", "ward3"]),
    ],
)
def test_limits(words: list[str], meant: list[str]) -> None:
    assert targets.limited(WARD, words) == meant


@pytest.mark.parametrize(
    ("words", "said"),
    [
        # none would mean no limit, and so all of them
        (["ward2:!ward2"], "leaves no node"),
        (["ward1:&spark_workers"], "leaves no node"),
        (["!wrad2"], "has no node wrad2"),
        (["ward2:wrad3"], "has no node wrad3"),
    ],
)
def test_limits_that_mean_nobody(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        targets.limited(WARD, words)
