"""How long the job of `mammoctl verify` may take, and what is said when it took longer."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mammoctl import paths


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(paths.project_root() / "tests" / "infra"))
    yield importlib.import_module("test_cluster")
    for name in set(sys.modules) - before:
        if name in {"test_cluster", "infra_support", "probes"}:
            del sys.modules[name]


class Master:
    """A node that notes what is run on it; every program runs out of time."""

    name = "n1"

    def __init__(self, **variables: Any) -> None:
        self.record = {
            "workers": {"n1": {}},
            "paths": {"results": "hdfs://n1/results"},
            "spark_home": "/opt/spark",
        }
        self.declared = SimpleNamespace(vars=variables)
        self.host = SimpleNamespace(run=self._run)
        self.ran: list[str] = []

    def text(self, command: str, *words: str) -> str:
        return "3.5\n" if "loadavg" in command else "/scratch/folder\n"

    def _run(self, command: str, *words: str) -> Any:
        self.ran.append(command % words if words else command)
        return SimpleNamespace(rc=124, stdout="", stderr="")


@pytest.mark.parametrize(
    ("variables", "seconds"), [({}, 150), ({"mammoctl_verify_timeout_s": 1800}, 1800)]
)
def test_slow_machines_get_the_time_that_the_inventory_gives_them(
    checks: ModuleType, monkeypatch: pytest.MonkeyPatch, variables: dict[str, Any], seconds: int
) -> None:
    alive = SimpleNamespace(alive=[SimpleNamespace(host="n1")], activeapps=[])
    monkeypatch.setattr(checks, "read_master", lambda _node: alive)
    master = Master(**variables)
    job = checks.run_job(master)
    assert job["rc"] == 124
    assert any(
        f"timeout -k 10 {seconds} /opt/spark/bin/spark-submit" in line for line in master.ran
    )
    with pytest.raises(checks.expect.__globals__["CheckFailed"], match=f"within {seconds} s"):
        checks.test_job(job, master)
