"""Which nodes `--limit` means: what an Ansible user would write works."""

from __future__ import annotations

import pytest

from mammoctl import provision
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
    assert provision.limited(WARD, words) == meant


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
        provision.limited(WARD, words)
