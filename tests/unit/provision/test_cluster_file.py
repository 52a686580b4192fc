import json

import pytest

from mammoctl import cluster

RECORD = {
    "schema": 1,
    "cluster": "lab",
    "master": {"host": "lab1", "address": "192.0.2.1", "url": "spark://lab1:7077", "ui_port": 8080},
    "workers": {"lab1": {"cores": 2, "memory_mb": 3072}},
    "storage": {"kind": "hdfs", "uri": "hdfs://lab1:8020/mammoctl", "replication": 3},
    "paths": {name: f"hdfs://lab1:8020/mammoctl/{name}"
              for name in ("data", "features", "weights", "results", "events")},
    "python": "/opt/mammoctl/env/bin/python",
    "python_version": "3.11",
    "spark_home": "/opt/spark",
    "spark_version": "4.3.0",
    "java_home": "/usr/lib/jvm/java-17-openjdk-amd64",
    "executor": {"cores": 2, "memory_mb": 1024},
    "bundle": "0123456789abcdef",
    "tensorflow_variant": {"lab1": "cpu"},
}  # fmt: skip


def test_parse():
    found = cluster.parse(json.dumps(RECORD))
    assert found.master.url == "spark://lab1:7077"
    assert found.workers["lab1"].memory_mb == 3072
    assert found.paths.data.endswith("/data")


def test_keys_of_a_newer_version_are_left_alone():
    cluster.parse(json.dumps({**RECORD, "scala": "2.13"}))


@pytest.mark.parametrize(
    ("change", "said"),
    [({"schema": 2}, "schema"), ({"master": {}}, "master.host"), ({"storage": "hdfs"}, "storage")],
)
def test_another_schema(change, said):
    with pytest.raises(cluster.NotProvisioned) as caught:
        cluster.parse(json.dumps({**RECORD, **change}), where="/x on lab1")
    assert caught.value.message.startswith("/x on lab1 is not")
    assert any(line.startswith(said) for line in caught.value.details)
    assert "mammoctl provision" in caught.value.hint


def test_not_json():
    with pytest.raises(cluster.NotProvisioned):
        cluster.parse("{")
