"""What the modules decide, without a node."""

from __future__ import annotations

import os
import time

import pytest

SETTINGS = {
    "system": 384,
    "daemon": 300,
    "hdfs": 300,
    "history": 288,
    "driver": 1700,
    "python": 1600,
    "executor_overhead": 200,
    "executor_min": 512,
    "executor_max": 4096,
}


def host(memory_mb, *, master=False, worker=True, cores=2, **rest):
    return {
        "mammoctl_node_memory_mb": memory_mb,
        "mammoctl_node_cores": cores,
        "mammoctl_is_master": master,
        "mammoctl_is_worker": worker,
        **rest,
    }


def test_memory_is_divided_without_remainder(plugin):
    sizing = plugin("filter", "mammoctl_sizing")
    budget = sizing.node_budget(6144, is_master=True, is_worker=True, hdfs=True, settings=SETTINGS)
    assert budget == {"reserved": 5372, "executor": 772}
    worker = sizing.node_budget(4096, is_master=False, is_worker=True, hdfs=True, settings=SETTINGS)
    assert worker["executor"] == 4096 - 384 - 300 - 300 - 1600 - 200
    assert worker["executor"] + worker["reserved"] == 4096


def test_the_executor_fits_the_smallest_worker(plugin):
    sizing = plugin("filter", "mammoctl_sizing")
    hosts = {
        "a": host(6144, master=True),
        "b": host(16384, cores=8),
        "c": host(8192, cores=4, spark_worker_memory_mb=900),
        "d": host(2048, worker=False),
    }
    size = sizing.cluster_sizing(hosts, list(hosts), True, SETTINGS)
    assert size["workers"]["b"] == {"cores": 8, "memory_mb": 4096}
    assert size["workers"]["c"] == {"cores": 4, "memory_mb": 900}
    assert "d" not in size["workers"]
    assert size["executor"] == {"cores": 2, "memory_mb": 772}
    without = sizing.cluster_sizing(hosts, list(hosts), True, {**SETTINGS, "history": 0})
    assert without["executor"] == {"cores": 2, "memory_mb": 900}


def test_problems_are_lines_with_their_mend(plugin):
    check = plugin("action", "mammoctl_check")
    bad = {"ok": False, "seen": "2 GB", "needed": "4 GB", "mend": "Add memory."}
    assert check.problems([{**bad, "ok": True}, bad]) == ["2 GB; needed: 4 GB. Add memory."]


def test_a_unit_is_stale_when_a_file_is_newer_than_its_start(plugin, tmp_path):
    service = plugin("modules", "mammoctl_service")
    path = tmp_path / "conf"
    path.write_text("")
    now, monotonic = time.time(), 1000.0
    os.utime(path, (now - 50, now - 50))
    started = {"StateChangeTimestampMonotonic": str(int((monotonic - 60) * 1e6))}
    assert service.is_stale(started, [str(path)], now, monotonic)
    started = {"StateChangeTimestampMonotonic": str(int((monotonic - 40) * 1e6))}
    assert not service.is_stale(started, [str(path), str(tmp_path / "none")], now, monotonic)


def test_workers_are_compared_with_the_inventory(plugin):
    spark = plugin("modules", "mammoctl_spark")
    state = {
        "workers": [
            {"host": "a", "state": "ALIVE", "cores": 2, "memory": 1024},
            {"host": "b", "state": "DEAD", "cores": 2, "memory": 1024},
            {"host": "c", "state": "ALIVE", "cores": 4, "memory": 1024},
        ]
    }
    wanted = {name: {"cores": 2, "memory_mb": 1024} for name in "abc"}
    assert spark.differences(state, wanted) == [
        "b is not registered",
        "c has 4 cores and 1024 MiB, declared are 2 and 1024",
    ]


def test_a_folder_of_hdfs_gets_only_what_differs(plugin):
    hdfs = plugin("modules", "mammoctl_hdfs")
    wanted = {"owner": "spark", "group": "spark", "mode": "0750"}
    assert hdfs.wanted_changes(None, wanted) == ["create", "owner", "mode"]
    found = {"FileStatus": {"owner": "spark", "group": "spark", "permission": "750"}}
    assert hdfs.wanted_changes(found, wanted) == []
    found["FileStatus"]["permission"] = "755"
    assert hdfs.wanted_changes(found, wanted) == ["mode"]


def test_the_manifest_keeps_order_and_no_doubles(plugin, tmp_path):
    manifest = plugin("module_utils", "mammoctl_manifest")
    path = str(tmp_path / "var" / "manifest.json")
    manifest.record("files", ["/b", "/a"], path)
    manifest.record("files", ["/a", "/c"], path)
    assert manifest.load(path)["files"] == ["/b", "/a", "/c"]
    assert manifest.load(path)["packages"] == []


def test_what_stays_stays_with_its_parents(plugin, tmp_path):
    teardown = plugin("modules", "mammoctl_teardown")
    keep = [str(tmp_path / "var/jobs")]
    for name in ("var/jobs/1", "var/store/x"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "var/manifest").write_text("")
    teardown.clear(str(tmp_path / "var"), keep)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [
        "var",
        "var/jobs",
        "var/jobs/1",
    ]
    teardown.clear(str(tmp_path / "var"), [])
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize(
    ("told", "port"),
    [
        ("port 22\nlistenaddress [::]:22\nlistenaddress 0.0.0.0:22\n", 22),
        ("port 22\nport 2222\nlistenaddress 0.0.0.0:2222\nlistenaddress 0.0.0.0:22\n", 22),
        ("port 2222\nlistenaddress [::]:2222\nlistenaddress 0.0.0.0:2222\n", 2222),
        ("port 22\nlistenaddress 127.0.0.1:22\nlistenaddress 10.0.0.1:2200\n", 2200),
        ("", 22),
    ],
)
def test_the_port_of_the_ssh_server_is_asked_of_it(plugin, told, port):
    assert plugin("modules", "mammoctl_facts").listened(told) == port


def test_listening_ports_are_seen_with_their_owner(plugin):
    import socket

    facts = plugin("modules", "mammoctl_facts")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = facts.listening([f"{port}-{port + 1}"])
        assert [entry["port"] for entry in found if entry["port"] == port] == [port]
        assert found[0]["program"]
    assert facts.listening([str(port)]) == []
