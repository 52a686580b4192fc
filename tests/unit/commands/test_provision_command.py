"""`mammoctl provision`: what is shown, who is asked, how it goes on after it was broken off."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from mammoctl import console, inventory, lock, provision
from mammoctl.ansible import events, runner
from mammoctl.ansible.events import Change, HostStats
from mammoctl.ansible.runner import PlaybookResult
from mammoctl.cli import app
from mammoctl.errors import Interrupted, PlaybookFailed, UsageError
from mammoctl.inventory import Cluster, Host

CHANGES = [
    Change("n1", "spark", "file", "/etc/spark/x", "change"),
    Change("n1", "spark", "service", "spark-master.service", "restart"),
]


@pytest.fixture
def ward(tmp_path, monkeypatch):
    """A cluster whose playbook is a record of calls; `fails` and `changes` steer it."""
    monkeypatch.setenv("MAMMOCTL_LOG_DIR", str(tmp_path / "log"))
    hosts = {
        name: Host(name, f"10.0.0.{n}", groups=frozenset({"all"}), vars={"a": 1})
        for n, name in enumerate(("n1", "n2"), 1)
    }
    cluster = Cluster(
        "ward", tmp_path, tmp_path / "hosts.yml", hosts, hosts["n1"], list(hosts.values())
    )
    there = SimpleNamespace(
        ran=[], locked=[], changes=CHANGES, fails=None, at="spark", work=[], terminal=False,
        installed=True,
        cluster=cluster,
    )  # fmt: skip

    def prepare(_cluster, _extra, _given, *, progress):
        facts = {
            name: SimpleNamespace(release="debian12", installed=there.installed) for name in hosts
        }
        return provision.Prepared(
            facts, "target", SimpleNamespace(path="/b.json", key="k" * 16), 1.5
        )

    def run_playbook(name, _cluster, *, watch=None, **options):
        there.ran.append(options)
        run = events.Run()
        run.add(events.Event("play_start", 1.0, data={"play": "Provision", "roles": True}))
        data = {"name": "x", "role": there.at}
        run.add(events.Event("task_start", 2.0, task="1", data=data))
        if watch:
            watch(run)
        if there.fails and not options["check"]:
            raise there.fails
        changed = [(c.host, events.Task("t", c.group, c.group)) for c in there.changes]
        stats = {"n1": HostStats(changed=len(changed)), "n2": HostStats()}
        return PlaybookResult(
            name, stats, changed, {"spark": 2.0}, 3.0, Path("/log"), [], there.changes, []
        )

    @contextmanager
    def held(_nodes, command, *, option):
        there.locked.append((command, option))
        yield
        there.locked.append("free")

    monkeypatch.setattr(inventory, "load", lambda _: there.cluster)
    monkeypatch.setattr(provision, "prepare", prepare)
    monkeypatch.setattr(provision, "at_work", lambda _: there.work)
    monkeypatch.setattr(runner, "run_playbook", run_playbook)
    monkeypatch.setattr(lock, "held", held)
    monkeypatch.setattr(console, "can_ask", lambda: there.terminal)

    def call(*words, answer=""):
        there.ran.clear()
        return CliRunner().invoke(app, ["provision", *words], input=answer)

    there.call = call
    return there


def checks(there):
    return [options["check"] for options in there.ran]


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_without_a_terminal_it_begins_at_once(ward, words):
    assert ward.call(*words).exit_code == 0
    assert checks(ward) == [False]
    assert ward.locked == [("provision", ""), "free"]


@pytest.mark.parametrize("words", [["--yes"], ["--json"]])
def test_who_says_yes_or_wants_json_is_not_asked_on_a_terminal_either(ward, words):
    ward.terminal = True
    assert ward.call(*words).exit_code == 0
    assert checks(ward) == [False]


def test_on_a_terminal_it_shows_the_plan_and_asks(ward):
    ward.terminal = True
    done = ward.call("-i", "ward", answer="y\n")
    assert done.exit_code == 0, done.output
    assert checks(ward) == [True, False]
    assert "changed files  /etc/spark/x" in done.stdout
    assert "ward: 2 changes on 1 host, 1 restart of services. Go on? [y/N]" in done.stderr
    assert ward.locked[0] == ("provision", "-i ward")
    assert "next: mammoctl verify -i ward" in done.stderr


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_a_no_changes_nothing(ward, answer):
    ward.terminal = True
    done = ward.call(answer=answer)
    assert isinstance(done.exception, UsageError)
    assert checks(ward) == [True]


def test_where_nothing_would_change_nothing_is_run(ward):
    ward.terminal, ward.changes = True, []
    done = ward.call()
    assert done.exit_code == 0
    assert checks(ward) == [True]
    assert done.stdout.strip() == "ward: nothing to change"


def test_work_that_a_restart_endangers_is_named(ward):
    ward.terminal, ward.work = True, ["job train-2"]
    assert "warning: job train-2: may fail when services restart" in ward.call().stderr
    ward.changes = CHANGES[:1]
    assert "train-2" not in ward.call().stderr


@pytest.mark.parametrize("words", [[], ["--yes"], ["--json"]])
def test_work_is_named_where_nobody_is_asked_too(ward, words):
    ward.work = ["job train-2"]
    told = "warning: job train-2: may fail where services restart"
    assert told in ward.call(*words).stderr
    assert checks(ward) == [False]
    ward.installed = False
    assert told not in ward.call(*words).stderr


def test_secrets_that_others_can_read_are_told_before_anything_is_changed(ward):
    secret = ward.cluster.path / "secrets" / "spark_auth_secret"
    secret.parent.mkdir(mode=0o700)
    secret.write_text("s")
    secret.chmod(0o644)
    for words in (["--yes"], ["--check"]):
        done = ward.call(*words)
        assert f"{secret} has mode 0644: 0600 at most. Mend: chmod 0600 {secret}" in done.stderr


def test_check_holds_no_lock(ward):
    done = ward.call("--check", "--json")
    assert json.loads(done.stdout)["check"] is True
    assert (checks(ward), ward.locked) == ([True], [])


def test_the_table_counts_what_was_changed_on_each_host(ward):
    lines = ward.call().stdout.splitlines()
    (row,) = [line.split() for line in lines if line.strip().startswith("n1")]
    # host, duty, system, tasks, packages, files, accounts, restarts
    assert row == ["n1", "master+worker", "debian12", "2", "0", "1", "0", "1"]


@pytest.mark.parametrize(
    "error", [PlaybookFailed("failed", hint="mend it"), Interrupted("interrupted", hint="again")]
)
def test_a_run_that_was_broken_off_goes_on_where_it_stopped(ward, error):
    ward.fails = error
    done = ward.call("-i", "ward", "-e", "x=1")
    assert done.exception is error
    assert error.hint.endswith("; to go on: mammoctl provision --resume -i ward")
    ward.fails, ward.terminal = None, True
    done = ward.call("--resume")
    assert done.exit_code == 0, done.output
    (options,) = ward.ran  # no plan, no question: it was agreed to before
    assert options["tags"] == "spark,scala,sbt"
    assert options["extra_args"] == ["x=1"]
    assert "finished before, and nothing has changed since: common, java, ssh" in done.stderr
    assert isinstance(ward.call("--resume").exception, UsageError)


def test_a_secret_of_e_is_not_written_down_and_asked_for_again(ward):
    given = ["-e", "x=1", "-e", "spark_auth_password=hunter22"]
    ward.fails = PlaybookFailed("failed")
    ward.call(*given)
    (record,) = (ward.cluster.path / "log").glob("unfinished-*.json")
    assert "hunter22" not in record.read_text()
    ward.fails = None
    refused = ward.call("--resume")
    assert isinstance(refused.exception, UsageError)
    assert "give all -e of that run again" in refused.exception.hint
    assert ward.ran == []
    done = ward.call("--resume", *given)
    assert ward.ran[0]["extra_args"] == ["x=1", "spark_auth_password=hunter22"]
    assert "finished before" in done.stderr
    assert not record.exists()


def test_a_resumed_run_that_fails_earlier_in_a_role_is_resumed_again(ward):
    ward.fails = PlaybookFailed("failed")
    ward.call()
    assert ward.call("--resume").exception is ward.fails
    ward.fails = None
    ward.call("--resume")
    assert ward.ran[0]["tags"] == "spark,scala,sbt"


def test_what_was_mended_in_the_inventory_counts_for_all_roles(ward):
    from dataclasses import replace

    ward.fails = PlaybookFailed("failed")
    ward.call()
    hosts = {name: replace(host, vars={"a": 2}) for name, host in ward.cluster.hosts.items()}
    ward.cluster, ward.fails = replace(ward.cluster, hosts=hosts), None
    done = ward.call("--resume")
    assert "something has changed since: all roles are gone through" in done.stderr
    assert ward.ran[0]["tags"] is None


def test_a_failure_before_any_role_leaves_nothing_to_resume_from(ward):
    ward.fails, ward.at = PlaybookFailed("failed", hint="mend it"), ""
    assert ward.call().exception.hint == "mend it"


def test_resume_keeps_tags_and_limit(ward):
    ward.fails = PlaybookFailed("failed")
    ward.call("--tags", "hdfs,spark", "--limit", "n2")
    ward.fails = None
    assert ward.call("--resume").exit_code == 0
    assert ward.ran[0]["tags"] == "hdfs,spark"
    assert ward.ran[0]["extra_vars"]["provision_hosts"] == "n2"
    refused = ward.call("--resume", "--tags", "spark")
    assert isinstance(refused.exception, UsageError)


def test_limit_means_nodes_of_the_inventory(ward):
    ward.call("--limit", "n*,n2")
    assert ward.ran[0]["extra_vars"]["provision_hosts"] == "n1,n2"
    refused = ward.call("--limit", "n3")
    assert refused.exception.hint == "it has n1, n2"
    assert ward.ran == []


def test_plan_alone(ward, monkeypatch):
    done = CliRunner().invoke(app, ["plan", "-i", "ward"])
    assert done.exit_code == 0, done.output
    assert "ward: 2 changes on 1 host, 1 restart of services; nothing was touched" in done.stdout
    assert "next: mammoctl provision -i ward" in done.stderr
    assert checks(ward) == [True]
    assert ward.locked == []
    as_json = CliRunner().invoke(app, ["plan", "--json", "--exit-code"])
    document = json.loads(as_json.stdout)
    assert (as_json.exit_code, document["schema"], len(document["changes"])) == (1, 1, 2)
