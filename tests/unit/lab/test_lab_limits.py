from __future__ import annotations

import pytest

from mammoctl.errors import UsageError
from mammoctl.lab import limits


@pytest.mark.parametrize(
    ("text", "mib"), [("4g", 4096), ("1.5GiB", 1536), ("2048", 2048), (" 512 M ", 512)]
)
def test_memory_is_read_in_the_usual_units(text: str, mib: int) -> None:
    assert limits.parse_memory(text) == mib


@pytest.mark.parametrize("text", ["", "4t", "g", "-1g", "100m", "four"])
def test_memory_that_cannot_be_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        limits.parse_memory(text)
    assert "4g" in caught.value.hint


@pytest.mark.parametrize(("text", "cpus"), [("2", 2.0), ("0.6", 0.6)])
def test_cpus_may_be_fractions(text: str, cpus: float) -> None:
    assert limits.parse_cpus(text, 2) == cpus


@pytest.mark.parametrize("text", ["0", "3", "nan", "two", "-1", "inf"])
def test_cpus_beyond_the_machine_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"between 0\.05 and 2"):
        limits.parse_cpus(text, 2)


def test_one_value_is_for_all_nodes_and_a_list_for_each() -> None:
    assert limits.per_node("4g", 3, "--memory") == ["4g"] * 3
    assert limits.per_node("8g, 4g,4g", 3, "--memory") == ["8g", "4g", "4g"]
    with pytest.raises(UsageError, match="2 values for 3 nodes"):
        limits.per_node("8g,4g", 3, "--memory")


def test_default_memory_is_six_gib_or_a_fair_share() -> None:
    assert limits.default_memory_mb(3, 64 * 1024) == 6144
    assert limits.default_memory_mb(3, 10_000) == 3000
    assert limits.default_memory_mb(30, 1024) == limits.MIN_MEMORY_MB


def test_a_node_shows_whole_cores() -> None:
    assert [limits.visible_cores(cpus) for cpus in (0.05, 0.6, 1.0, 1.2, 2.0)] == [1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("cpus", "cores"),
    [
        ([1, 1], [[0], [1]]),
        ([2], [[0, 1]]),
        ([0.5, 0.5, 0.5, 0.5], [[0], [1], [0], [1]]),
        ([0.5, 1], [[0], [1]]),
        # three times 0.6 does not fit on two cores without one of them losing: nobody is pinned
        ([0.6, 0.6, 0.6], [[0, 1]] * 3),
        ([2, 2, 2], [[0, 1]] * 3),
    ],
)
def test_nodes_are_pinned_only_where_that_costs_no_node_its_share(
    cpus: list[float], cores: list[list[int]]
) -> None:
    assert limits.assign_cores(cpus, [0, 1]) == cores
