"""Starting and stopping: who is asked, what is waited for, what is refused."""

from __future__ import annotations

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from status_support import JMX, JOB, SPARK, WORKER, FakeNodes, answer, look
from typer.testing import CliRunner

from mammoctl import services
from mammoctl.cli import app
from mammoctl.cluster import NotProvisioned
from mammoctl.errors import ConnectionFailed, UsageError

OFF = {"hdfs_datanode": "inactive", "spark_worker": "inactive"}
ALL_OFF = OFF | {
    "hdfs_namenode": "inactive",
    "spark_master": "inactive",
    "spark_history": "inactive",
}
RUNNING = {"spec": {"id": "train-2"}, "state": {"state": "running"}}


class Playbooks:
    """Takes down what was run."""

    def __init__(self):
        self.ran = []

    def __call__(self, verb, limit):
        self.ran.append((verb, limit))
        return SimpleNamespace(log=f"/log/{verb}")


def looks(*states):
    """Return one state after the other, the last for ever."""
    queue = list(states)
    return lambda: queue.pop(0) if len(queue) > 1 else queue[0]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(services, "_PAUSE_S", 0)


def test_start_of_all_waits_until_the_whole_works():
    playbooks = Playbooks()
    registering = {**SPARK, "workers": SPARK["workers"][:1]}
    half = look(pages={"json": registering, "jmx": {"beans": []}})
    outcome = services.run(
        look(n1=answer(**ALL_OFF), n2=answer(**WORKER | OFF)),
        ["n1", "n2"], "start", playbooks, looks(half, look()),
    )  # fmt: skip
    assert playbooks.ran == [("start", None)]
    assert outcome.changed["n2"] == ["hdfs-datanode", "spark-worker"]
    assert outcome.after.ok
    value = json.loads(json.dumps(outcome.as_json()))
    assert value["nodes"][1]["running"] == ["mammoctl-guard", "hdfs-datanode", "spark-worker"]
    assert value["logs"] == ["/log/start"]


def test_start_of_one_node_does_not_wait_for_another():
    playbooks = Playbooks()
    down = ConnectionFailed("n1 is down")
    outcome = services.run(
        look(n1=down, n2=answer(**WORKER | OFF)),
        ["n2"], "start", playbooks, looks(look(n1=down)),
    )  # fmt: skip
    assert playbooks.ran == [("start", "n2")]
    assert outcome.changed == {"n2": ["hdfs-datanode", "spark-worker"]}


def test_what_does_not_come_up_is_told():
    failed = look(n2=answer(**WORKER | {"spark_worker": "failed"}))
    with pytest.raises(services.NotSo) as caught:
        services.run(look(), ["n1", "n2"], "start", Playbooks(), looks(failed), wait_s=0)
    assert caught.value.message == "not everything came up"
    assert caught.value.details[0] == "n2: spark-worker failed (3 restarts)"


def test_a_full_disk_or_lost_data_does_not_keep_a_start_from_ending():
    full = look(n2=answer(disk="100000 95000 5000 /", **WORKER))
    lost = look(pages={"json": SPARK, "jmx": {"beans": [{**JMX, "NumberOfMissingBlocks": 4}]}})
    for state in (full, lost):
        assert not state.ok
        services.run(look(), ["n1", "n2"], "start", Playbooks(), looks(state), wait_s=0)


def test_stop_leaves_the_guard():
    playbooks = Playbooks()
    off = look(n1=answer(**ALL_OFF), n2=answer(**WORKER | OFF))
    outcome = services.run(look(), ["n1", "n2"], "stop", playbooks, looks(look(), off))
    assert playbooks.ran == [("stop", None)]
    assert services.running(outcome.after, "n2") == ["mammoctl-guard"]
    assert outcome.changed["n2"] == ["hdfs-datanode", "spark-worker"]
    with pytest.raises(services.NotSo, match="still run") as caught:
        services.run(look(), ["n2"], "stop", playbooks, looks(look()), wait_s=0)
    assert caught.value.details == ["n2: hdfs-datanode still runs", "n2: spark-worker still runs"]


def test_restart_stops_first():
    playbooks = Playbooks()
    outcome = services.run(look(), ["n2"], "restart", playbooks, looks(look()))
    assert playbooks.ran == [("stop", "n2"), ("start", "n2")]
    assert outcome.changed == {"n2": ["hdfs-datanode", "spark-worker"]}


def test_nothing_is_done_where_nodes_are_silent():
    down = ConnectionFailed("n1 is down", hint="power?")
    with pytest.raises(ConnectionFailed) as caught:
        services.require(look(n1=down), ["n1", "n2"], "stop")
    assert caught.value.message == "1 of 2 nodes do not answer: n1"
    assert caught.value.details == ["n1 is down", "power?"]
    assert caught.value.hint.endswith("mammoctl stop --node n2")
    services.require(look(n1=down), ["n2"], "stop")
    with pytest.raises(ConnectionFailed) as caught:
        services.require(look(n1=down), ["n1", "n2"], "stop", option="-i ward")
    assert caught.value.hint.endswith("mammoctl stop --node n2 -i ward")


def test_nothing_is_done_on_bare_hosts():
    with pytest.raises(NotProvisioned, match="n2: not provisioned"):
        services.require(look(n2=answer(None)), ["n1", "n2"], "start")


def test_work_that_a_stop_would_break_off():
    idle = {**SPARK, "activeapps": []}
    pages = {"json": idle, "jmx": {"beans": []}}
    assert services.work(look(pages=pages)) == []
    assert services.work(look()) == ["application train"]
    assert services.work(look(jobs=[JOB, RUNNING])) == ["job train-2"]  # whose the application is


@pytest.fixture
def command(monkeypatch):
    """`mammoctl start|stop|restart` with cluster and Ansible replaced."""
    fake = FakeNodes({"n1": answer(), "n2": answer(**WORKER)})
    fake.ran = []

    def run_playbook(verb, cluster, *, limit, title):
        fake.ran.append((verb, limit))
        states = OFF if verb == "stop" else {}
        for name in limit.split(",") if limit else cluster.hosts:
            own = {} if name == "n1" else WORKER
            more = ALL_OFF if states and name == "n1" else states
            fake.answers[name] = answer(**own | more)
        return SimpleNamespace(log="/log")

    monkeypatch.setattr(FakeNodes, "__enter__", lambda self: self, raising=False)
    monkeypatch.setattr(FakeNodes, "__exit__", lambda self, *_: None, raising=False)
    monkeypatch.setattr("mammoctl.inventory.load", lambda _selector: fake.cluster)
    monkeypatch.setattr("mammoctl.ssh.Nodes", lambda *_a, **_k: fake)
    monkeypatch.setattr("mammoctl.ansible.runner.run_playbook", run_playbook)
    monkeypatch.setattr("mammoctl.lock.held", lambda *_a, **_k: nullcontext())

    def call(*arguments):
        done = CliRunner().invoke(app, arguments)
        done.ran = fake.ran
        return done

    return call


def test_a_stop_asks_where_work_runs(command):
    done = command("stop")  # standard input is no terminal
    assert isinstance(done.exception, UsageError)
    assert done.ran == []
    done = command("stop", "--yes")
    assert done.exit_code == 0
    assert done.ran == [("stop", None)]
    assert "ward: 7 services stopped" in done.stdout


def test_restart_of_a_node_as_json(command):
    done = command("restart", "--node", "n2", "--yes", "--json")
    value = json.loads(done.stdout)
    assert (value["schema"], value["action"], value["cluster"]) == (1, "restart", "ward")
    assert value["nodes"][0]["changed"] == ["hdfs-datanode", "spark-worker"]
    assert done.ran == [("stop", "n2"), ("start", "n2")]
