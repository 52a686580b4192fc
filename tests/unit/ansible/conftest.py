from pathlib import Path

import pytest

from mammoctl.ansible import events
from mammoctl.inventory import Cluster, Host

STREAMS = Path(__file__).parent / "streams"


@pytest.fixture
def cluster(tmp_path):
    hosts = {name: Host(name, f"192.0.2.{i}") for i, name in enumerate(("lab1", "lab2"), 1)}
    return Cluster(
        name="lab", path=tmp_path, source=tmp_path / "hosts.yml", hosts=hosts,
        master=hosts["lab1"], workers=list(hosts.values()),
    )  # fmt: skip


@pytest.fixture
def recorded():
    """The events of a real run: ignored, hidden, retried, rescued and final failures."""
    lines = (STREAMS / "failed.jsonl").read_text().splitlines()
    return [event for line in lines if (event := events.parse(line))]
