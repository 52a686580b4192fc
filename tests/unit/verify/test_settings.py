"""The checks look where the inventory put things, and by the accounts that it names."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pytest

from mammoctl import paths

CHECKS = paths.project_root() / "tests" / "infra"


@pytest.fixture
def hdfs(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(CHECKS))
    yield importlib.import_module("test_hdfs")
    for name in set(sys.modules) - before:
        if name in {"test_hdfs", "infra_support", "probes"}:
            del sys.modules[name]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ("/var/lib/hdfs/data", 0o700, "hdfs", "hdfs")),
        (
            {"hdfs_data_dir": "/data/hdfs", "hdfs_user": "storage"},
            ("/data/hdfs", 0o700, "storage", "storage"),
        ),
    ],
)
def test_blocks_are_looked_for_where_they_are(
    hdfs: ModuleType, variables: dict[str, str], expected: tuple[object, ...]
) -> None:
    seen = []
    worker = SimpleNamespace(
        declared=SimpleNamespace(vars=variables), expect_file=lambda *what: seen.append(what)
    )
    hdfs.test_private(worker)
    assert seen == [expected]


def test_no_check_knows_an_account_by_its_usual_name() -> None:
    usual = re.compile(r"runuser -u (spark|hdfs|mammoctl)\b|user=\"(spark|hdfs)\"")
    found = [path.name for path in CHECKS.glob("*.py") if usual.search(path.read_text())]
    assert found == []
