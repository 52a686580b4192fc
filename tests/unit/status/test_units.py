"""The list of services is kept in three places for good reasons: they must agree."""

from __future__ import annotations

import yaml

from mammoctl import paths
from mammoctl.status import node

ROOT = paths.project_root() / "playbooks"


def units():
    text = (ROOT / "group_vars" / "all" / "main.yml").read_text()
    return [
        unit["name"].removesuffix(".service") for unit in yaml.safe_load(text)["mammoctl_units"]
    ]


def stopped():
    (play,) = yaml.safe_load((ROOT / "stop.yml").read_text())
    return [
        [unit["name"].removesuffix(".service") for unit in task["mammoctl_service"]["units"]]
        for task in play["tasks"]
    ]


def test_status_knows_every_service():
    assert set(node.UNITS) == {*node.KEPT, *units()}


def test_a_stop_leaves_none_out():
    flat = [unit for group in stopped() for unit in group]
    assert sorted(flat) == sorted(units())


def test_who_uses_a_service_stops_before_it():
    when = {unit: number for number, group in enumerate(stopped()) for unit in group}
    assert when["spark-worker"] < when["spark-master"] < when["hdfs-datanode"]
    assert when["spark-history"] < when["hdfs-datanode"] < when["hdfs-namenode"]
