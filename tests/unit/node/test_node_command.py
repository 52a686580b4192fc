"""`mammoctl node add` and `remove`, from the inventory's text to the provision."""

from __future__ import annotations

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

from mammoctl import cluster as clusters
from mammoctl import inventory, lock, provision
from mammoctl.bundle import carried
from mammoctl.cli import app
from mammoctl.commands import provision as command
from mammoctl.errors import BundleError, PlaybookFailed, RemoteError, UsageError
from mammoctl.init import keys
from mammoctl.init.keys import HostKey
from mammoctl.node import join, leave

pytestmark = pytest.mark.programs

HOSTS = """\
# our ward
all:
  hosts:
    n1: {ansible_host: 10.0.0.1}
    # the old one
    n2:
      ansible_host: 10.0.0.2
    n3: {ansible_host: 10.0.0.3}
  children:
    spark_master: {hosts: {n1: }}
    spark_workers:
      hosts:
        n1:
        n2:  # slow
        n3:
  vars:
    ansible_user: admin
    ansible_ssh_common_args: -o "ProxyCommand=ssh -p 22 -l me -W %h:%p gate"
"""


@pytest.fixture
def ward(tmp_path, monkeypatch):
    """An inventory on disk, read by Ansible; nodes, lock and provision are replaced."""
    folder = tmp_path / "inventory" / "ward"
    folder.mkdir(parents=True)
    (folder / "hosts.yml").write_text(HOSTS)
    (folder / "hosts.yml").chmod(0o640)
    (folder / "known_hosts").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAMMOCTL_CACHE_DIR", str(tmp_path / "cache"))
    there = SimpleNamespace(file=folder / "hosts.yml", did=[], fails=None, prepared=[], held=[])

    class Nodes:
        def __init__(self, cluster):
            self.cluster = cluster

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def run(self, host, line, *, sudo, timeout):
            there.did.append((host, line))

        def run_all(self, _line, *, hosts, timeout):
            newcomer = next(iter(hosts))
            assert self.cluster.hosts[newcomer].ssh_options["ProxyCommand"].startswith("ssh -p 22")
            assert self.cluster.hosts[newcomer].user in ("admin", "root")
            return {name: SimpleNamespace(stdout="") for name in hosts}

    workers = {f"n{n}": {"address": f"10.0.0.{n}", "cores": 1, "memory_mb": 1} for n in (1, 2, 3)}
    record = SimpleNamespace(
        cluster="ward", workers=workers, storage=SimpleNamespace(kind="hdfs"),
        master=SimpleNamespace(host="n1"),
    )  # fmt: skip
    machine = SimpleNamespace(pretty="Debian 13", cores=8, memory_mb=2048)

    def copy_blocks(_nodes, _record, name, *, wait_s, told):
        if there.fails:
            raise there.fails
        told("9 blocks to copy")
        there.did.append(f"copied {name}")

    def apply(cluster, *_, **_options):
        there.did.append(f"provisioned {' '.join(cluster.hosts)}")
        return SimpleNamespace(as_json=dict)

    def prepare(cluster, _extra, given, *, progress):
        there.prepared.append((list(cluster.hosts), given))
        assert there.did == []

    monkeypatch.setattr("mammoctl.ssh.Nodes", Nodes)
    monkeypatch.setattr("mammoctl.ssh.require_all", lambda said: said)
    monkeypatch.setattr("mammoctl.init.look.parse", lambda _: machine)
    monkeypatch.setattr(clusters, "read", lambda _: record)
    monkeypatch.setattr(lock, "held", lambda *_a, **_k: nullcontext())
    monkeypatch.setattr("mammoctl.status.gather.gather", lambda *_a, **_k: SimpleNamespace())
    monkeypatch.setattr(leave, "require", lambda *_: None)
    monkeypatch.setattr(leave, "require_room", lambda *_: None)
    monkeypatch.setattr(leave, "blocks", lambda *_: {})
    monkeypatch.setattr(leave, "work_on", lambda *_: 0)
    monkeypatch.setattr(leave, "hold_back", lambda _, name: there.held.append(name))
    monkeypatch.setattr(leave, "let_in", lambda _: there.held.append("let in"))
    monkeypatch.setattr(leave, "let_spark_go", lambda *_: there.did.append("let go") or "")
    monkeypatch.setattr(leave, "copy_blocks", copy_blocks)
    monkeypatch.setattr(leave, "keep_all", lambda _: there.did.append("kept"))
    monkeypatch.setattr(provision, "prepare", prepare)
    monkeypatch.setattr(provision, "apply", apply)
    monkeypatch.setattr(keys, "fetch", lambda drafts, _: [
        HostKey(draft.name, draft.address, "ssh-ed25519", "QUFBQQ==") for draft in drafts
    ])  # fmt: skip
    monkeypatch.setattr(command, "provision", lambda **options: there.did.append(options))
    there.call = lambda *words: CliRunner().invoke(app, ["node", *words])
    return there


def test_a_node_leaves_step_by_step(ward):
    done = ward.call("remove", "n2", "--yes")
    assert done.exit_code == 0, done.output
    disabled = ["systemctl", "disable", "--now", "spark-worker.service", "hdfs-datanode.service"]
    assert ward.did == ["let go", "copied n2", ("n2", disabled), "kept", "provisioned n1 n3"]
    text = ward.file.read_text()
    assert "n2" not in text
    assert "the old one" not in text
    assert text.startswith("# our ward\n")
    assert ward.file.stat().st_mode & 0o777 == 0o640
    assert "ward: n2 has left" in done.stdout


def test_jobs_wait_while_a_node_is_to_become_idle(ward, monkeypatch):
    cores = [4, 2, 0]
    monkeypatch.setattr(leave, "work_on", lambda *_: cores.pop(0))
    monkeypatch.setattr(command.time, "sleep", lambda _: None)
    assert ward.call("remove", "n2", "--yes").exit_code == 0
    assert ward.held == ["n2", "n2", "n2", "let in"]


def test_jobs_begin_again_when_it_does_not_become_idle(ward, monkeypatch):
    monkeypatch.setattr(leave, "work_on", lambda *_: 4)
    done = ward.call("remove", "n2", "--yes", "--wait", "0")
    assert isinstance(done.exception, leave.NotDrained)
    assert ward.held == ["n2", "let in"]


def test_what_is_not_drained_stays_in_the_inventory(ward):
    ward.fails = leave.NotDrained("n2: 5 blocks are still to be copied")
    done = ward.call("remove", "n2", "--yes")
    assert done.exception is ward.fails
    assert ward.file.read_text() == HOSTS
    assert ward.did == ["let go"]


def test_what_the_others_need_is_had_before_the_node_is_touched(ward, monkeypatch):
    def prepare(*_a, **_k):
        raise BundleError("cannot reach the index")

    monkeypatch.setattr(provision, "prepare", prepare)
    done = ward.call("remove", "n2", "--yes")
    assert isinstance(done.exception, BundleError)
    assert ward.did == []
    assert ward.file.read_text() == HOSTS


def test_a_bundle_that_was_carried_here_is_taken_for_both(ward, monkeypatch):
    monkeypatch.setattr(carried, "of_cluster", lambda _: "abcd")
    assert ward.call("remove", "n2", "--yes").exit_code == 0
    assert ward.prepared == [(["n1", "n3"], "abcd")]
    assert ward.call("add", "n4=10.0.0.4", "--accept-new-host-keys", "--yes").exit_code == 0
    assert ward.did[-2]["bundle"] == "abcd"


def test_a_bundle_that_is_named_is_taken(ward, monkeypatch):
    monkeypatch.setattr(carried, "named", lambda text: text)
    assert ward.call("remove", "n2", "--yes", "--bundle", "site.tar").exit_code == 0
    assert ward.prepared == [(["n1", "n3"], "site.tar")]
    ward.call("add", "n4=10.0.0.4", "--accept-new-host-keys", "--bundle", "site.tar")
    assert ward.did[-2]["bundle"] == "site.tar"


def test_no_such_bundle_is_told_before_the_inventory_is_edited(ward):
    done = ward.call("add", "n4=10.0.0.4", "--accept-new-host-keys", "--bundle", "./none.tar")
    assert isinstance(done.exception, UsageError)
    assert ward.file.read_text() == HOSTS


def test_it_goes_on_where_the_others_have_not_forgotten_the_node_yet(ward, monkeypatch):
    works = provision.apply

    def fails(*_a, **_k):
        raise PlaybookFailed("failed")

    monkeypatch.setattr(provision, "apply", fails)
    assert isinstance(ward.call("remove", "n2", "--yes").exception, PlaybookFailed)
    assert "n2" not in ward.file.read_text()
    assert ward.did[-1] == "kept"  # HDFS would go on keeping its address out
    ward.did.clear()
    monkeypatch.setattr(provision, "apply", works)
    assert isinstance(ward.call("remove", "n2").exception, UsageError)  # asks, too
    assert ward.call("remove", "n2", "--yes").exit_code == 0
    assert ward.did == ["kept", "provisioned n1 n3"]


def test_ctrl_c_says_how_to_go_on(ward):
    ward.fails = KeyboardInterrupt()
    done = ward.call("remove", "n2", "--yes")
    assert "go on: mammoctl node remove n2" in done.exception.hint
    assert ward.file.read_text() == HOSTS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["remove", "n2"], "this needs a confirmation"),
        (["remove", "n9"], "ward has no node n9"),
        (["remove", "n1", "--yes"], "n1 is the master, and a cluster has one"),
        (["add", "n2=10.0.0.9"], "ward has n2 already"),
        (["add", "n4=10.0.0.2"], "ward has n2 already at 10.0.0.2"),
        (["add", "n4=10.0.0.4"], "the host keys have not been confirmed"),
    ],
)
def test_refused_before_anything_is_done(ward, words, message):
    done = ward.call(*words)
    assert isinstance(done.exception, UsageError)
    assert done.exception.message == message
    assert ward.file.read_text() == HOSTS
    assert ward.did == []


def test_a_node_joins(ward):
    done = ward.call("add", "n4=10.0.0.4", "--accept-new-host-keys", "--yes")
    assert done.exit_code == 0, done.output
    document = yaml.safe_load(ward.file.read_text())["all"]
    assert document["hosts"]["n4"] == {"ansible_host": "10.0.0.4"}
    assert list(document["children"]["spark_workers"]["hosts"]) == ["n1", "n2", "n3", "n4"]
    assert "# Debian 13, 8 cores, 2.0 GiB\n    n4:" in ward.file.read_text()
    assert (ward.file.parent / "known_hosts").read_text() == "10.0.0.4 ssh-ed25519 QUFBQQ==\n"
    expected = {"inventory": None, "bundle": None, "yes": True, "as_json": False}
    assert ward.did == [expected, "kept"]


def test_who_is_not_provisioned_all_the_same_is_in_the_inventory(ward, monkeypatch):
    """Refused at the question, or locked out by another operator: that is told then."""

    def refuse(**_options):
        raise UsageError("not confirmed; nothing was done")

    monkeypatch.setattr(command, "provision", refuse)
    done = ward.call("add", "n4=10.0.0.4", "-i", "ward", "--accept-new-host-keys")
    (told,) = done.exception.details
    assert told.startswith("the inventory has n4 by now: mammoctl provision -i ward brings")
    assert "n4" in ward.file.read_text()


def test_a_node_joins_the_inventory_alone(ward):
    done = ward.call(
        "add", "root@10.0.0.4:2222", "--accept-new-host-keys", "--no-provision", "--json"
    )
    assert json.loads(done.stdout)["added"] == ["node1"]
    hosts = yaml.safe_load(ward.file.read_text())["all"]["hosts"]
    assert hosts["node1"] == {
        "ansible_host": "10.0.0.4", "ansible_port": 2222, "ansible_user": "root"
    }  # fmt: skip
    assert ward.did == []


def test_an_edit_that_is_not_what_was_meant_is_taken_back(ward):
    cluster = inventory.load("ward")
    with pytest.raises(UsageError, match="does not say what it should"):
        join.rewrite(cluster, HOSTS, HOSTS.replace("n3", "n5"), {"n2"})
    assert ward.file.read_text() == HOSTS
    with pytest.raises(UsageError):
        join.rewrite(cluster, HOSTS, "all: [", {"n2"})
    assert ward.file.read_text() == HOSTS


def test_a_service_that_does_not_stop_keeps_the_node_in(ward, monkeypatch):
    def run(_self, _host, _line, *, sudo, timeout):
        raise RemoteError("systemctl failed")

    monkeypatch.setattr("mammoctl.ssh.Nodes.run", run)
    assert ward.call("remove", "n2", "--yes").exit_code == 1
    assert ward.file.read_text() == HOSTS
