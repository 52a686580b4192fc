"""What nodes say, what is made of it, and how it is shown."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import replace

import pytest
from status_support import JMX, RECORD, SPARK, WORKER, FakeNodes, answer, look
from typer.testing import CliRunner

from mammoctl import cluster as clusters
from mammoctl import columns, findings, spark_master
from mammoctl.cli import app
from mammoctl.errors import ConnectionFailed, RemoteError
from mammoctl.status import document, gather, judge, master, node, render


def told(state):
    return "\n".join(findings.lines(state.findings))


def test_the_script_runs_under_any_sh_and_tells_of_this_machine():
    line = node.script(["/var/lib/hdfs/data", "/a path"])
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    seen = node.parse(done.stdout)
    assert seen.cores >= 1
    assert seen.memory_mb > seen.memory_used_mb > 0
    assert seen.uptime_s > 0
    assert seen.disks[0].path
    assert 0 <= seen.disks[0].percent <= 100


def test_parse():
    gpu = "gpu=NVIDIA H200, 7, 1024, 143771, 595.71.05\ncard=1\ncard=1\nreboot=1\n"
    seen = node.parse(answer(extra=gpu))
    assert seen.record.master.host == "n1"
    assert (seen.env, seen.cores, seen.load) == ("c1a3320b9d29c8c1", 4, 0.42)
    assert (seen.memory_mb, seen.memory_used_mb) == (8000, 2000)
    assert seen.disks == (node.Disk("/", 97, 19, 78),)
    assert seen.gpus == (node.Gpu("NVIDIA H200", 7, 1024, 143771, "595.71.05"),)
    assert seen.cards == 2
    assert seen.reboot
    assert seen.java == {"/usr/lib/jvm/java-17": "17.0.21"}
    assert seen.units["spark-master"] == node.Unit("active", "running", "enabled", 3)


def test_a_node_that_says_nothing_or_nonsense():
    for text in ("", "bash: warning\nrecord={\ngpu=No devices were found\ndisk=- - - /x\n"):
        seen = node.parse(text)
        assert seen.record is None
        assert seen.gpus == ()
        assert seen.units == {}


def test_the_disks_are_those_of_each_host(monkeypatch):
    asked = {}

    class Asked(FakeNodes):
        def run(self, host, command, **rest):
            asked.setdefault(host, str(command))
            return super().run(host, command, **rest)

    nodes = Asked({"n1": answer(), "n2": answer(**WORKER)})
    second = replace(nodes.cluster.hosts["n2"], vars={"hdfs_data_dir": "/disk2/hdfs"})
    nodes.cluster.hosts["n2"] = second
    gather.gather(nodes)
    assert "/var/lib/hdfs/data" in asked["n1"]
    assert "/disk2/hdfs" in asked["n2"]
    assert "/var/lib/hdfs/data" not in asked["n2"]


def test_a_lock_down_is_among_the_services_where_it_is_declared_or_found():
    locked = {"variables": {"lockdown_enabled": True}}
    answers = {"n1": answer(mammoctl_lockdown="inactive"), "n2": answer(**WORKER)}
    state = gather.gather(FakeNodes(answers, **locked))
    assert "n1: mammoctl-lockdown is stopped" in told(state)
    assert "n2: the lock-down is declared and not there" in told(state)
    assert [one.host for one in state.findings if not one.grave] == ["n2"]
    running = gather.gather(FakeNodes({**answers, "n1": answer(mammoctl_lockdown="active")}))
    assert told(running) == ""
    off = {"variables": {"lockdown_enabled": "false"}}  # an inventory in INI
    assert told(gather.gather(FakeNodes({"n1": answer(), "n2": answer(**WORKER)}, **off))) == ""
    assert render._services("n1", running.nodes["n1"]) == "7 running"
    assert render._services("n2", running.nodes["n2"]) == "3 running"


def test_all_is_well():
    state = look()
    assert told(state) == ""
    assert state.ok
    assert [app.name for app in state.applications] == ["train"]
    assert [job.id for job in state.jobs] == ["train-1"]
    assert state.hdfs.live == ("n1", "n2")


def test_no_recent_jobs_are_asked_for(monkeypatch):
    kept = {"spec": {"id": "train-1"}, "state": {"state": "lost"}}
    monkeypatch.setattr("mammoctl.jobs.known.list_jobs", lambda _nodes: [kept])
    assert master.jobs(FakeNodes({}), 0) == []
    assert [job.id for job in master.jobs(FakeNodes({}), 5)] == ["train-1"]


def test_a_silent_node_hides_nothing_else():
    gone = ConnectionFailed("n2 (10.0.0.2 port 22) does not answer: timed out", hint="power?")
    state = look(n2=gone)
    # its worker and DataNode are still alive for the master: the node itself is what is told
    assert told(state) == ("n2 (10.0.0.2 port 22) does not answer: timed out\n    mend: power?")
    assert not state.ok
    assert state.spark.status == "ALIVE"


def test_a_silent_master_leaves_what_the_others_know():
    state = look(n1=ConnectionFailed("n1 is down"))
    assert state.record.master.host == "n1"
    assert (state.spark, state.hdfs, state.jobs) == (None, None, None)
    assert told(state) == "n1 is down"


def test_a_node_that_takes_the_connection_and_then_hangs(monkeypatch):
    monkeypatch.setattr(gather, "CONNECT_S", 0.1)
    nodes = FakeNodes({"n1": answer(), "n2": lambda: time.sleep(30)})
    began = time.monotonic()
    state = gather.gather(nodes, answer_s=0.2)
    assert time.monotonic() - began < 5
    assert "n2 does not answer: nothing in 0.5 s" in told(state)
    assert state.spark is not None


def test_services():
    state = look(
        n1=answer(spark_worker="failed", hdfs_datanode="inactive"),
        n2=answer(**WORKER | {"spark_worker": "absent"}),
    )
    lines = told(state)
    assert "n1: spark-worker failed (3 restarts)\n    mend: see why: journalctl -u" in lines
    assert "n1: hdfs-datanode is stopped\n    mend: mammoctl start --node n1" in lines
    assert "n2: spark-worker is not installed\n    mend: mammoctl provision" in lines
    assert "DataNode" not in lines  # told once


def test_the_guard_may_be_missing_on_a_private_network():
    halves = {"n1": answer(mammoctl_guard="failed"), "n2": answer(**WORKER)}
    assert "mammoctl-guard failed" in told(gather.gather(FakeNodes(halves)))
    private = FakeNodes(halves, variables={"mammoctl_private_network": True})
    assert told(gather.gather(private)) == ""


def test_what_the_master_says_of_its_workers():
    workers = [{**SPARK["workers"][0], "cores": 2}, {**SPARK["workers"][1], "state": "DEAD"}]
    jmx = {**JMX, "LiveNodes": '{"n1:9866": {}}', "NumberOfMissingBlocks": 4, "Safemode": "ON"}
    pages = {"json": {**SPARK, "workers": workers}, "jmx": {"beans": [jmx]}}
    lines = told(look(pages=pages))
    assert "n1: Spark's worker: 2 cores instead of 4" in lines
    assert "n2: Spark's worker: the master knows it as DEAD; it should be ALIVE" in lines
    assert "n1: HDFS is in safe mode" in lines
    assert "n1: HDFS misses 4 blocks" in lines
    assert "n2: its DataNode is not live" in lines


def test_a_master_whose_pages_do_not_answer():
    pages = {"json": RemoteError("no page"), "jmx": {"beans": []}}
    state = look(pages=pages)
    assert "n1: no page" in told(state)
    assert "n1: the NameNode's answer is not understood" in told(state)
    assert render.summary(state) == [
        "Spark: the master does not answer",
        "HDFS: the NameNode does not answer",
    ]
    stopped = look(n1=answer(spark_master="inactive", hdfs_namenode="inactive"), pages=pages)
    assert "no page" not in told(stopped)  # that its service is stopped says it all


def test_versions_and_disks(monkeypatch):
    old = {**RECORD, "spark_version": "4.2.0"}
    other = answer({**old, "bundle": "c" * 16}, disk="100000 95000 5000 /", **WORKER).replace(
        "c1a3320b9d29c8c1", "d" * 16
    )
    lines = told(look(n1=answer(old), n2=other))
    assert "the cluster has Spark 4.2.0; this mammoctl installs 4.3.0" in lines
    assert f"n2: has the bundle {'c' * 16}, others {'b' * 16}" in lines
    assert "n2: its Python environment differs: dddd" in lines
    assert "n2: the disk of / is 96 % full" in lines


def test_not_and_half_provisioned():
    bare = answer(None).replace("installed=1\n", "")
    state = look(n1=bare, n2=answer(None))
    assert [(f.host, f.seen) for f in state.findings] == [
        ("n1", "not provisioned"),
        ("n2", "half provisioned"),
    ]
    assert not state.ok


def test_inventory_and_cluster_differ():
    record = {**RECORD, "workers": {"n1": RECORD["workers"]["n1"], "n9": RECORD["workers"]["n2"]}}
    lines = told(look(n1=answer(record), n2=answer(record, **WORKER)))
    assert "n2: is in the inventory, not yet in the cluster" in lines
    assert "n9: is in the cluster, not in the inventory" in lines


def test_what_is_no_error_does_not_fail():
    state = look(n2=answer(extra="reboot=1\ncard=1\n", **WORKER))
    assert "n2: waits for a restart" in told(state)
    assert "n2: 1 NVIDIA GPU without a working driver" in told(state)
    assert state.ok
    gpu = {**RECORD, "tensorflow_variant": {"n1": "cpu", "n2": "gpu"}}
    assert not look(n1=answer(gpu), n2=answer(gpu, extra="card=1\n", **WORKER)).ok


def text_of(state, width=None):
    from rich.console import Console

    with Console(width=width or 200, record=True, file=open("/dev/null", "w")) as screen:  # noqa: PTH123
        screen.print(render.view(state, width))
    return "\n".join(line.rstrip() for line in screen.export_text().splitlines())


def test_the_screen(snapshot, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    state = look(n2=answer(spark_worker="failed", **WORKER))
    state.at, state.seconds = 0.0, 1.25
    assert text_of(state) == snapshot


@pytest.mark.parametrize("width", [30, 50, 70, 100])
def test_a_narrow_terminal_gets_fewer_columns(width):
    state = look()
    titles = [column.title for column in columns.fit(render.columns(state), width)]
    assert {"node", "state", "services"} <= set(titles)
    assert ("duty" in titles) == (width >= 70)
    assert ("load" in titles) == (width == 100)
    if width >= 50:
        assert all(len(line) <= width for line in text_of(state, width).splitlines()[3:7])


def test_the_document():
    state = look(n2=ConnectionFailed("n2 is down"))
    value = json.loads(json.dumps(document.document(state)))
    assert value["schema"] == 1
    assert value["ok"] is False
    assert [(n["name"], n["up"]) for n in value["nodes"]] == [("n1", True), ("n2", False)]
    assert value["nodes"][0]["units"]["spark-master"]["active"] == "active"
    assert value["nodes"][0]["disks"][0]["percent"] == 20
    assert value["findings"] == [{"host": "n2", "seen": "n2 is down", "mend": "", "grave": True}]
    assert value["jobs"][0]["state"] == "lost"
    silent = document.document(look(n1=ConnectionFailed("n1 is down")))
    assert (silent["spark"], silent["jobs"], silent["applications"]) == (None, None, None)


class _Command:
    """`mammoctl status` with the cluster replaced."""

    def __init__(self, monkeypatch, **answers):
        fake = FakeNodes({"n1": answer(), "n2": answer(**WORKER)} | answers)
        fake.__class__.__enter__ = lambda self: self
        fake.__class__.__exit__ = lambda self, *_: None
        monkeypatch.setattr("mammoctl.inventory.load", lambda _selector: fake.cluster)
        monkeypatch.setattr("mammoctl.ssh.Nodes", lambda *_a, **_k: fake)

    def __call__(self, *arguments):
        return CliRunner().invoke(app, ["status", *arguments])


def test_exit_codes(monkeypatch):
    command = _Command(monkeypatch)
    done = command()
    assert (done.exit_code, "all is well" in done.stdout) == (0, True)
    command = _Command(monkeypatch, n2=ConnectionFailed("n2 is down"))
    done = command("--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["ok"] is False


def test_watch_ends_well_with_ctrl_c(monkeypatch):
    command = _Command(monkeypatch)
    sleeps = []

    def sleep(seconds):
        sleeps.append(seconds)
        if len(sleeps) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("mammoctl.commands.status.time.sleep", sleep)
    done = command("--watch", "--json", "--every", "7")
    assert done.exit_code == 0
    assert [json.loads(line)["ok"] for line in done.stdout.splitlines()] == [True, True]
    assert sleeps == [7.0, 7.0]


def test_equal_findings_of_several_hosts_are_told_once():
    one = findings.Finding("a", "no", "do")
    assert findings.lines([one, replace(one, host="b")]) == ["a, b: no", "    mend: do"]


def test_duties_follow_the_storage():
    record = clusters.parse(json.dumps(RECORD))
    everything = clusters.parse(json.dumps({**RECORD, "wireguard": "mammoctl0"}))
    assert judge.duties(everything, "n1", locked=True) == list(node.UNITS)
    assert "mammoctl-lockdown" not in judge.duties(everything, "n1")
    assert "mammoctl-wireguard" not in judge.duties(record, "n1")
    assert judge.duties(record, "n2") == ["mammoctl-guard", "hdfs-datanode", "spark-worker"]
    shared = {**RECORD, "storage": {"kind": "shared", "uri": "file:///x"}}
    without = {**RECORD, "master": {**RECORD["master"], "history_port": None}}
    assert "spark-history" not in judge.duties(clusters.parse(json.dumps(without)), "n1")
    assert judge.duties(clusters.parse(json.dumps(shared)), "n2") == [
        "mammoctl-guard",
        "spark-worker",
    ]


def test_other_documents_are_refused():
    with pytest.raises(RemoteError, match="NameNode"):
        master.parse_hdfs({"beans": [{"Total": "x"}]})
    with pytest.raises(RemoteError):
        spark_master.parse([])
