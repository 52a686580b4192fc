import json
import os
import signal
import stat
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mammoctl import paths
from mammoctl.ansible import hints, runner
from mammoctl.errors import Interrupted, PlaybookFailed

ANSIBLE = str(Path(sys.executable).with_name("ansible-playbook"))
ROOT = paths.project_root()


@pytest.fixture(autouse=True)
def logs(tmp_path, monkeypatch):
    monkeypatch.setenv("MAMMOCTL_LOG_DIR", str(tmp_path / "log"))
    return tmp_path / "log"


def test_argv(cluster):
    assert runner.argv("provision", cluster) == [
        ANSIBLE, "-i", str(cluster.source), f"{ROOT}/playbooks/provision.yml",
    ]  # fmt: skip


def test_argv_with_everything(cluster):
    line = runner.argv(
        "stop", cluster, extra_vars={"b": "x y", "a": 1}, extra_args=["spark_ui_port=1", "@f.yml"],
        limit="lab2", tags="spark,hdfs", check=True, diff=True,
    )  # fmt: skip
    assert line == [
        ANSIBLE, "-i", str(cluster.source),
        "-e", "spark_ui_port=1", "-e", "@f.yml", "-e", '{"a": 1, "b": "x y"}',
        "--limit", "lab2", "--tags", "spark,hdfs", "--check", "--diff",
        f"{ROOT}/playbooks/stop.yml",
    ]  # fmt: skip


def test_environment(cluster, monkeypatch):
    monkeypatch.setattr(os, "environ", {
        "PATH": "/bin", "LC_ALL": "de_DE", "LANG": "de_DE", "PYTHONPATH": "/x",
        "ANSIBLE_CALLBACKS_ENABLED": "timer",
    })  # fmt: skip
    strict = (
        f"-oUserKnownHostsFile={cluster.path}/known_hosts "
        "-oGlobalKnownHostsFile=/dev/null -oStrictHostKeyChecking=yes"
    )
    assert runner.environment(cluster, 9) == {
        "PATH": "/bin",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "ANSIBLE_CONFIG": f"{ROOT}/ansible.cfg",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_NOCOWS": "1",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
        "ANSIBLE_CALLBACKS_ENABLED": "timer,mammoctl_events",
        "MAMMOCTL_EVENTS_FD": "9",
        "ANSIBLE_SSH_COMMON_ARGS": strict,
    }


def test_known_hosts_of_the_inventory_are_left_to_it(cluster):
    hosts = {
        name: replace(host, ssh_options={"UserKnownHostsFile": "/k"})
        for name, host in cluster.hosts.items()
    }
    env = runner.environment(replace(cluster, hosts=hosts), 9)
    assert not [name for name in env if name.endswith("_ARGS")]


def test_strictness_is_not_lost_beside_other_arguments(cluster):
    hosts = {
        name: replace(host, vars={"ansible_ssh_common_args": "-C"})
        for name, host in cluster.hosts.items()
    }
    env = runner.environment(replace(cluster, hosts=hosts), 9)
    names = sorted(name for name in env if name.endswith("_ARGS"))
    assert names == [
        "ANSIBLE_SCP_EXTRA_ARGS", "ANSIBLE_SFTP_EXTRA_ARGS", "ANSIBLE_SSH_EXTRA_ARGS"
    ]  # fmt: skip
    assert "StrictHostKeyChecking=yes" in env["ANSIBLE_SSH_EXTRA_ARGS"]


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Replace ansible-playbook by a program of the test."""

    def install(source: str) -> None:
        program = tmp_path / "fake.py"
        program.write_text(
            "import json, os, signal, sys, time\n"
            "fd = int(os.environ['MAMMOCTL_EVENTS_FD'])\n"
            "def send(event, **data):\n"
            "    line = json.dumps({'v': 1, 't': time.time(), 'event': event, **data})\n"
            "    os.write(fd, line.encode() + b'\\n')\n" + textwrap.dedent(source)
        )
        monkeypatch.setattr(runner, "argv", lambda *a, **k: [sys.executable, str(program)])

    return install


def run(cluster):
    return runner.run_playbook("provision", cluster)


def test_a_run(cluster, fake, logs, capsys):
    fake(
        """
        print("the full output")
        send("play_start", play="Provision", roles=True)
        send("task_start", task="1", name="Write", role="spark", path="/x/main.yml:3")
        send("changed", host="lab1", task="1", seconds=1)
        send("ok", host="lab2", task="1", seconds=1)
        send("stats", hosts={"lab1": {"failures": 0}, "lab2": {"failures": 0}})
        """
    )
    result = run(cluster)
    assert result.hosts["lab1"].changed == 1
    assert result.hosts["lab2"].ok == 1
    assert list(result.roles) == ["spark"]
    assert result.log.parent == logs
    assert stat.S_IMODE(result.log.stat().st_mode) == 0o600
    assert "the full output" in result.log.read_text()
    out, err = capsys.readouterr()
    assert out == ""
    assert "changed: [lab1] Write" in err
    told = json.loads(json.dumps(result.as_json()))
    assert told["changed"] == [{"host": "lab1", "task": "spark : Write", "path": "/x/main.yml:3"}]


def test_the_head_of_a_log_has_no_password(cluster, fake, logs, monkeypatch):
    fake('send("stats", hosts={})')
    plain = runner.argv
    given = ["-e", "db_password=x7secret", "-e", '{"token": "x7secret", "a": 1}']
    monkeypatch.setattr(runner, "argv", lambda *a, **k: [*plain(*a, **k), *given])
    head = run(cluster).log.read_text().splitlines()[0]
    assert "x7secret" not in head
    assert head.startswith("$ ")
    assert '"a": 1' in head


def test_a_failure_tells_everything(cluster, fake, recorded):
    lines = (Path(__file__).parent / "streams" / "failed.jsonl").read_text()
    fake(f"os.write(fd, {lines.encode()!r}); sys.exit(2)")
    with pytest.raises(PlaybookFailed) as caught:
        run(cluster)
    error = caught.value
    assert error.message == "provision failed on lab2 (play: Provision)"
    assert error.details[:3] == [
        "lab2 failed: demo : Loop",
        "    at /srv/project/roles/demo/tasks/main.yml:28",
        "    item b: One or more items failed",
    ]
    assert error.details[-1].startswith("full log: ")
    assert "another package manager" in error.hint


def test_the_same_failure_on_several_hosts_is_told_once(cluster, fake):
    fake(
        """
        send("play_start", play="P", roles=True)
        send("task_start", task="1", name="Connect", role="common", path="/x:1")
        for host in ("lab1", "lab2"):
            send("unreachable", host=host, task="1", message="Connection timed out")
        sys.exit(4)
        """
    )
    with pytest.raises(PlaybookFailed) as caught:
        run(cluster)
    assert caught.value.details[0] == "lab1, lab2 unreachable at common : Connect"
    assert sum("timed out" in line for line in caught.value.details) == 1


def test_a_playbook_that_never_began(cluster, fake):
    fake(
        """
        print("some warning"); print("[ERROR]: the role 'x' was not found"); print("Origin: /y:3")
        sys.exit(1)
        """
    )
    with pytest.raises(PlaybookFailed) as caught:
        run(cluster)
    assert caught.value.message == "provision failed"
    assert caught.value.details[:2] == ["[ERROR]: the role 'x' was not found", "Origin: /y:3"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_stops_ansible_first(cluster, fake, tmp_path, number):
    mark = tmp_path / "stopped"
    fake(
        f"""
        def stop(*_):
            open({str(mark)!r}, "w").write("cleanly")
            sys.exit(99)
        signal.signal(signal.SIGINT, stop)
        open({str(tmp_path / "ready")!r}, "w").close()
        time.sleep(60)
        """
    )

    def press() -> None:
        deadline = time.monotonic() + 60
        while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(Interrupted) as caught:
        run(cluster)
    assert mark.read_text() == "cleanly"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert "again" in caught.value.hint


def test_what_does_not_stop_is_made_to(cluster, fake, monkeypatch):
    monkeypatch.setattr(runner, "_SECONDS_TO_STOP", 0.3)
    fake(
        """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        send("play_start", play="P", roles=True)
        time.sleep(60)
        """
    )
    monkeypatch.setattr(runner.events, "parse", _interrupt)
    began = time.monotonic()
    with pytest.raises(Interrupted):
        run(cluster)
    assert time.monotonic() - began < 10


def _interrupt(_line):
    raise KeyboardInterrupt


def test_old_logs_go(cluster, fake, logs):
    logs.mkdir()
    for number in range(60):
        (logs / f"20200101-{number:06}-1-provision-lab.ansible.log").touch()
    (logs / "other.txt").touch()
    fake("send('stats', hosts={})")
    run(cluster)
    assert len(list(logs.glob("*.ansible.log"))) == 50
    assert (logs / "other.txt").exists()


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1", "package"),
        ("No space left on device", "disk"),
        ("E: Unable to locate package openjdk-21-jdk-headless", "lists"),
        ("Err: Temporary failure resolving 'mirror'", "DNS"),
        ("Missing sudo password", "mammoctl -K"),
        ("Incorrect sudo password", "not the right one"),
        ("Arrived with a wrong checksum: x.whl", "mammoctl bundle verify"),
        ("MemoryError", "docs/roles.md"),
        ("Host key verification failed.", "known_hosts"),
        ("admin@192.0.2.1: Permission denied (publickey).", "ansible_user"),
        ("ssh: connect to host 192.0.2.1 port 22: No route to host", "reachable"),
        ("Timeout (12s) waiting for privilege escalation prompt: ", "sudo.ws"),
        ("/bin/sh: 1: /usr/bin/python3: not found", "python3"),
        ("'x_y' is undefined", "docs/roles.md"),
    ],
)
def test_hints(message, word):
    assert word in hints.hint_for(["nothing known", message])


def test_no_hint_for_the_unknown():
    assert hints.hint_for(["the dog ate it"]) == ""
