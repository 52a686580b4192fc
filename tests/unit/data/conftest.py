"""What the tests of data sets on a storage share."""

from __future__ import annotations

from pathlib import Path

import pytest
from masters import Local, described

from mammoctl.cluster import ClusterFile
from mammoctl.data import claim
from mammoctl.data import push as pushing


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Local:
    monkeypatch.setattr(pushing, "IDS_ROOT", str(tmp_path / "datasets"))
    monkeypatch.setattr(claim, "FOLDER", str(tmp_path))
    (tmp_path / "storage" / "data").mkdir(parents=True)
    return Local(tmp_path)


@pytest.fixture
def deployment(tmp_path: Path) -> ClusterFile:
    return described(tmp_path)
