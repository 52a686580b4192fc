"""What is asked of hosts, and what is made of the answers."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from mammoctl import findings
from mammoctl.ansible.events import Task, TaskFailure
from mammoctl.bundle.model import Target
from mammoctl.check import look, roles, run
from mammoctl.check.look import Look, Peer
from mammoctl.cli import app
from mammoctl.errors import BundleError, ConnectionFailed, NoRoot, PlaybookFailed
from mammoctl.inventory import Cluster, Host

PEERS = {"n1": Peer("10.0.0.1", 7077), "n2": Peer("10.0.0.2", 7078)}
PROBE = (
    "id=debian\nversion=12\npretty=Debian GNU/Linux 12 (bookworm)\narch=x86_64\npython=3.11\n"
    "glibc=2.36\ncores=4\nmemory_kb=8192000\nfree_kb=50000000\nfree_kb=50000000\nsystemd=1\n"
    "time_service=systemd-timesyncd.service\n"
)


FOLDER = Path("/nonexistent/ward")


def told(found):
    return "\n".join(findings.lines(found))


def of_host(*, master=False, **seen):
    return told(look.of_host("n1", Look(**seen), master=master, lock_wait_s=300))


def test_the_script_runs_under_any_sh():
    peers = {"open": Peer("127.0.0.1", 1), "far": Peer("192.0.2.1", 7078)}
    done = subprocess.run(
        ["sh", "-c", look.script(peers)],
        capture_output=True, text=True, check=True, timeout=50,
    )  # fmt: skip
    seen = look.parse(done.stdout)
    assert "peer=open 127.0.0.1 1 ok" in done.stdout  # refused: the network lets it through
    assert "open" not in seen.unreached
    assert set(seen.names) == {"open", "far"}
    assert run.probe.parse(done.stdout).cores >= 1


def test_parse():
    seen = look.parse(
        "machine=abc\npackages=1\nbroken=1\nunattended=1\nnoexec=/opt\n"
        "noexec=/var/lib\nforwarding=no\nproxy=http://proxy:3128\nmirror= deb.example.org 80 ok\n"
        "mirror= security.example.org 80 unresolved\nname=n1 10.0.0.1\nname=n2 \n"
        "peer= n1 10.0.0.1 7077 ok\npeer= n2 10.0.0.2 7078 no\n"
    )
    assert seen == Look(
        machine="abc", packages=True, broken=True, unattended=True,
        noexec=("/opt", "/var/lib"), forwarding=False, proxy="http://proxy:3128",
        mirrors={"deb.example.org port 80": "ok", "security.example.org port 80": "unresolved"},
        names={"n1": "10.0.0.1", "n2": ""}, unreached=("n2",),
    )  # fmt: skip
    assert look.parse("") == Look()


def test_a_host_with_nothing_in_the_way():
    assert of_host(master=True, mirrors={"deb.example.org port 80": "ok"}) == ""


def test_everything_that_speaks_against_a_host():
    lines = of_host(
        master=True, broken=True, noexec=("/opt", "/var/lib"), forwarding=False,
        mirrors={"a port 80": "unresolved", "b port 443": "no"},
    )  # fmt: skip
    assert "n1: packages are half installed (dpkg --audit)" in lines
    assert "/opt is mounted noexec: programs of the cluster lie there" in lines
    assert (
        "/var/lib is mounted noexec: executors run there, and Java unpacks native code there"
        in lines
    )
    assert "forbids forwarding" in lines
    assert "a port 80 cannot be used: its name does not resolve" in lines
    assert "b port 443 cannot be used: no answer" in lines


def test_a_tmp_where_nothing_runs_is_no_finding():
    """Java's native code is unpacked below /var/lib (role spark), not there."""
    folders = look.script({}).partition("findmnt")[0].rpartition("for path in")[2]
    assert folders.split("\n")[0].split() == ["/opt", "/var/lib;", "do"]


def test_what_does_not_stand_in_the_way():
    (one,) = look.of_host("n1", Look(unattended=True), master=False, lock_wait_s=60)
    assert (one.grave, "60 s" in one.mend) == (False, True)
    assert of_host(forwarding=False) == ""  # only the master is asked through it
    gone = {"a port 80": "no"}
    assert of_host(proxy="http://proxy", mirrors=gone) == ""
    (one,) = look.of_host("n1", Look(packages=True, mirrors=gone), master=False, lock_wait_s=60)
    assert not one.grave
    (one,) = look.of_host("n1", Look(mirrors=gone), master=False, lock_wait_s=60)
    assert one.grave
    bundled = look.of_host("n1", Look(mirrors=gone), master=False, lock_wait_s=60, brought=True)
    assert list(bundled) == []


def test_between_hosts():
    looks = {
        "n1": Look(machine="m", unreached=("n1", "n2"), names={"n1": "127.0.1.1", "n2": ""}),
        "n2": Look(machine="m", names={"n1": "10.0.0.1", "n2": "10.0.0.2"}),
    }
    lines = told(look.of_cluster(looks, PEERS, hosts_managed=True))
    assert "n1: does not reach n2 (10.0.0.2 port 7078)" in lines
    assert "does not reach n1" not in lines
    assert "n1, n2: have the same /etc/machine-id" in lines
    assert "leads to" not in lines
    lines = told(look.of_cluster(looks, PEERS, hosts_managed=False))
    assert "n1: the name n1 leads to 127.0.1.1, not 10.0.0.1" in lines
    assert "n1: the name n2 leads to nothing, not 10.0.0.2" in lines
    assert "n2: the name" not in lines


def test_the_roles_report_is_taken_apart():
    message = (
        "3 things to mend first:\n"
        "ports in use by others: 8080 (java, tomcat.service) ; needed: these ports for the "
        "cluster. Stop that program, or choose other ports (docs/roles.md lists the variables).\n"
        "3000 MiB of memory; needed: 3500 MiB. Add memory.\nsomething in words of its own"
    )
    first, second, third = roles.parse("n1", message)
    assert first.seen.endswith("needed: these ports for the cluster")
    assert first.mend.startswith("Stop that program")
    assert (second.seen, second.mend) == ("3000 MiB of memory; needed: 3500 MiB", "Add memory.")
    assert third.seen == "something in words of its own"
    (other,) = roles.parse("n1", "MODULE FAILURE\ntraceback")
    assert other.seen.startswith("MODULE FAILURE")


def test_the_bundle_is_described_before_it_is_made():
    value = roles.description(Target("3.12", "x86_64", ("cpu", "gpu")), "2.17")
    assert set(value["requirements"]) == {"cpu", "gpu"}
    assert value["target"]["python"] == "3.12"
    kinds = {file["kind"]: file for file in value["files"]}
    assert {"environment", "hdfs"} <= set(kinds)
    assert "interpreter" not in kinds


class FakeNodes:
    """Hosts that answer with text or an error; without root where the answer is a pair."""

    def __init__(self, **answers):
        hosts = {n: Host(n, f"10.0.0.{i}") for i, n in enumerate(answers, 1)}
        first = next(iter(hosts.values()))
        self.cluster = Cluster(
            "ward", FOLDER, FOLDER / "hosts.yml", hosts, first, list(hosts.values())
        )
        self.answers = answers

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        pass

    def each(self, function):
        outcomes = {}
        for name, host in self.cluster.hosts.items():
            try:
                outcomes[name] = function(host)
            except ConnectionFailed as exc:
                outcomes[name] = exc
        return outcomes

    def run(self, host, line, *, sudo=False, timeout):
        said = self.answers[host.name]
        if isinstance(said, Exception):
            raise said
        if isinstance(said, tuple) and sudo:
            raise NoRoot("user admin cannot become root on n2", hint="allow it")
        return SimpleNamespace(stdout=said[0] if isinstance(said, tuple) else said)


@pytest.fixture
def preflight(monkeypatch):
    """Replace Ansible and the store; returns the runs, whose last says what it found."""
    runs = SimpleNamespace(count=0, failures=[], warnings=[], room=None)

    def playbook(name, cluster, *, extra_vars, extra_args, title):
        assert name == "preflight"
        assert extra_vars["common_apt_lock_timeout_s"] == 0  # a look does not wait
        with open(extra_vars["mammoctl_bundle_file"]) as stream:  # noqa: PTH123
            runs.target = json.load(stream)["target"]
        runs.count += 1
        if runs.failures:
            error = PlaybookFailed("preflight failed")
            error.failures, error.warnings = runs.failures, runs.warnings
            raise error
        return SimpleNamespace(warnings=runs.warnings)

    def room(target):
        if runs.room:
            raise runs.room

    monkeypatch.setattr("mammoctl.ansible.runner.run_playbook", playbook)
    monkeypatch.setattr("mammoctl.bundle.resolve.require_room", room)
    return runs


def test_a_cluster_with_nothing_in_the_way(preflight):
    report = run.check(FakeNodes(n1=PROBE, n2=PROBE))
    assert told(report.findings) == ""
    assert report.ok
    assert report.roles_checked
    assert preflight.target == {"python": "3.11", "arch": "x86_64", "variants": ["cpu"]}
    value = json.loads(json.dumps(report.as_json()))
    assert value["hosts"][1] | {"name": "n2", "reached": True, "cores": 4} == value["hosts"][1]


def test_what_the_roles_find_is_told_per_host(preflight):
    task = Task("Refuse hosts", "common", "Preflight")
    preflight.failures = [
        TaskFailure("n2", task, "1 thing to mend first:\nno key; needed: a key. Make one.")
    ]
    report = run.check(FakeNodes(n1=PROBE, n2=PROBE))
    assert [one.as_json() for one in report.findings] == [
        {"host": "n2", "seen": "no key; needed: a key", "mend": "Make one.", "grave": True}
    ]
    assert not report.ok


def test_what_the_roles_warn_of_is_told_and_in_nobodys_way(preflight):
    boot = "Secure Boot is on: the kernel refuses the module. On the host: 'sudo mokutil'; reboot."
    preflight.warnings = [
        ("n1", "n1: no time service runs. Switch one on."),
        ("n2", "n2: no time service runs. Switch one on."),
        ("n2", boot),
    ]
    expected = (
        "n1, n2: no time service runs\n    mend: Switch one on.\n"
        "n2: Secure Boot is on: the kernel refuses the module\n"
        "    mend: On the host: 'sudo mokutil'; reboot."
    )
    report = run.check(FakeNodes(n1=PROBE.replace("time_service=", "x="), n2=PROBE))
    assert (told(report.findings), report.ok) == (expected, True)
    preflight.failures = [TaskFailure("n1", Task("t", "r", "p"), "it broke")]
    report = run.check(FakeNodes(n1=PROBE, n2=PROBE))
    assert expected in told(report.findings)
    assert not report.ok


def test_one_silent_host_hides_nothing_of_the_others(preflight):
    report = run.check(
        FakeNodes(n1=PROBE.replace("python=3.11", "python="), n2=ConnectionFailed("n2 is down"))
    )
    lines = told(report.findings)
    assert "n2 is down" in lines
    assert "n1: python3 is missing\n    mend: sudo apt-get install python3" in lines
    assert not report.roles_checked
    assert preflight.count == 0
    assert report.as_json()["hosts"][1] == {"name": "n2", "address": "10.0.0.2", "reached": False}


def test_without_root_the_rest_is_still_looked_at(preflight):
    report = run.check(FakeNodes(n1=PROBE, n2=("broken=1\n" + PROBE,)))
    lines = told(report.findings)
    assert "n2: user admin cannot become root on n2\n    mend: allow it" in lines
    assert "n2: packages are half installed" in lines
    assert not report.roles_checked


def test_no_room_here(preflight):
    preflight.room = BundleError("not enough space for the bundle", hint="free some")
    report = run.check(FakeNodes(n1=PROBE))
    assert told(report.findings) == "not enough space for the bundle\n    mend: free some"


def test_what_a_carried_bundle_is_for_is_what_is_looked_at(preflight, monkeypatch):
    def room(_target):
        raise AssertionError("nothing is made here")

    monkeypatch.setattr("mammoctl.bundle.resolve.require_room", room)
    bundle = SimpleNamespace(key="k", target=Target("3.11", "x86_64", ("cpu", "gpu")), files=())
    monkeypatch.setattr("mammoctl.bundle.carried.named", lambda text: {"site.tar": bundle}[text])
    report = run.check(FakeNodes(n1=PROBE), given="site.tar")
    assert (report.ok, report.target) == (True, bundle.target)
    assert preflight.target["variants"] == ["cpu", "gpu"]
    report = run.check(FakeNodes(n1=PROBE.replace("3.11", "3.13")), given="site.tar")
    assert told(report.findings) == "n1: Python 3.13\n    mend: the bundle is for 3.11"


def test_the_command(preflight, monkeypatch):
    def call(nodes, *arguments):
        monkeypatch.setattr("mammoctl.inventory.load", lambda _selector: nodes.cluster)
        monkeypatch.setattr("mammoctl.ssh.Nodes", lambda _cluster: nodes)
        return CliRunner().invoke(app, ["check", *arguments])

    done = call(FakeNodes(n1=PROBE, n2=PROBE))
    assert done.exit_code == 0
    assert "ward: nothing is in the way; Python 3.11, x86_64, cpu" in done.stdout
    done = call(FakeNodes(n1="unattended=1\nbroken=1\n" + PROBE))
    assert done.exit_code == 1
    assert "ward: 1 thing to mend; nothing was changed" in done.stdout
    assert "not in the way, but worth knowing:" in done.stdout
    done = call(FakeNodes(n1=ConnectionFailed("n1 is down")), "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["findings"][0]["seen"] == "n1 is down"


def test_secrets_that_others_can_read_are_found_before_anything_is_changed(
    preflight, monkeypatch, tmp_path
):
    nodes = FakeNodes(n1=PROBE)
    nodes.cluster = replace(nodes.cluster, path=tmp_path)
    monkeypatch.setattr("mammoctl.inventory.load", lambda _selector: nodes.cluster)
    monkeypatch.setattr("mammoctl.ssh.Nodes", lambda _cluster: nodes)
    (tmp_path / "secrets").mkdir(mode=0o700)
    secret = tmp_path / "secrets" / "spark_auth_secret"
    secret.write_text("s")
    secret.chmod(0o644)
    done = CliRunner().invoke(app, ["check"])
    assert done.exit_code == 1
    assert f"{secret} has mode 0644: 0600 at most" in done.stdout
    assert f"mend: chmod 0600 {secret}" in done.stdout
