"""Programs of one's own on the lab; jobs that wait, are resumed, tell of their end, and go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from .command import Cli
from .conftest import LAB, NODES, Provisioning, wait_until

pytestmark = pytest.mark.lab

MASTER = NODES[0]
JOBS = "/var/lib/mammoctl/jobs"
COUNT = """
    import json, os, sys
    from pyspark.sql import SparkSession
    from {module} import double

    spark = SparkSession.builder.appName("a name of its own").getOrCreate()
    context = spark.sparkContext
    total = context.parallelize(range(100), 6).map(double).sum()
    hosts = context.parallelize(range(30), 30).map(lambda _: os.uname().nodename).distinct()
    out = os.environ["MAMMOCTL_RESULTS"]
    os.makedirs(out + "/deep")
    with open(out + "/deep/total.json", "w") as stream:
        json.dump({{"total": total, "arguments": sys.argv[1:], "hosts": hosts.collect()}}, stream)
    print("counted", total, flush=True)
    spark.stop()
    sys.exit(int(sys.argv[1]))
"""
SLEEP = """
    import sys, time
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.getOrCreate()
    spark.sparkContext.parallelize([1]).count()
    for second in range(int(sys.argv[1])):
        print("second", second, flush=True)
        time.sleep(1)
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    (folder / "count.py").write_text(textwrap.dedent(COUNT.format(module="helpers")))
    (folder / "helpers.py").write_text("def double(n):\n    return 2 * n\n")
    (folder / "sleep.py").write_text(textwrap.dedent(SLEEP))
    package = folder / "counting"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(textwrap.dedent(COUNT.format(module=".helpers")))
    (package / "helpers.py").write_text((folder / "helpers.py").read_text())
    return folder


def sleeping(cli: Cli, programs: Path, seconds: int, *more: str) -> str:
    done = cli(
        *("submit", str(programs / "sleep.py"), "-i", LAB, "--detach", *more, "--", str(seconds))
    )
    return done.stdout.strip()


def record(cli: Cli, job: str) -> dict[str, Any]:
    found: dict[str, Any] = cli("jobs", "show", job, "-i", LAB, "--json").json()
    return found


def until(cli: Cli, job: str, *states: str, seconds: float = 120) -> dict[str, Any]:
    seen: list[dict[str, Any]] = []

    def there() -> bool:
        seen.append(record(cli, job)["state"])
        return seen[-1]["state"] in states

    there.__doc__ = f"{job} is one of {states}"
    wait_until(there, seconds=seconds, every=1)
    return seen[-1]


def test_a_script_with_its_modules_arguments_and_settings(
    cli: Cli, provisioned: Provisioning, programs: Path
) -> None:
    done = cli(
        *("submit", str(programs / "count.py"), "-i", LAB, "--json"),
        *("--py-files", str(programs / "helpers.py"), "--executor-cores", "1"),
        *("--conf", "spark.sql.shuffle.partitions=3", "--", "0", "--two", "a b"),
        timeout=180,
    )
    document = done.json()
    assert document["job"]["state"] == "succeeded"
    folder = cli.cwd / document["results"]
    left = json.loads((folder / "deep" / "total.json").read_text())
    assert left["total"] == 9900
    assert left["arguments"] == ["0", "--two", "a b"]
    assert set(left["hosts"]) == set(NODES)
    assert "counted 9900" in done.stderr
    spec = record(cli, document["job"]["id"])["spec"]
    assert spec["conf"]["spark.sql.shuffle.partitions"] == "3"
    assert "deep/total.json" in document["files"]


@pytest.mark.slow
def test_a_package_and_the_program_s_own_exit_code(
    cli: Cli, provisioned: Provisioning, programs: Path
) -> None:
    done = cli("submit", str(programs / "counting"), "-i", LAB, "--", "7", rc=7, timeout=180)
    assert "counted 9900" in done.stderr
    assert "is failed: it ended with exit code 7" in done.stderr


def test_wrong_use_starts_nothing(cli: Cli, provisioned: Provisioning, programs: Path) -> None:
    before = len(cli("jobs", "list", "-i", LAB, "--json").json()["jobs"])
    for arguments, words in (
        ((str(programs / "coutn.py"),), "did you mean"),
        ((str(programs / "count.py"), "--executor-memory", "900g"), "no worker has"),
        ((str(programs / "count.py"), "--epochs", "3"), "--epochs: for the training"),
        (("--py-files", "x.py"), "for a program of your own"),
        ((str(programs / "count.py"), "--conf", "spark.master=local"), "cannot be given"),
        ((str(programs / "count.py"), "--notify", "ann@example.org"), "cannot send mail"),
    ):
        assert words in cli("submit", "-i", LAB, *arguments, rc=2).stderr
    assert len(cli("jobs", "list", "-i", LAB, "--json").json()["jobs"]) == before


@pytest.mark.slow
def test_a_job_that_does_not_fit_waits_and_says_for_what(
    cli: Cli, provisioned: Provisioning, programs: Path
) -> None:
    first = sleeping(cli, programs, 600)
    until(cli, first, "running")
    second = sleeping(cli, programs, 1)
    third = sleeping(cli, programs, 1, "--total-executor-cores", "1")
    waiting = until(cli, second, "queued")
    wait_until(lambda: "there is room for 0" in record(cli, second)["state"]["reason"], seconds=120)
    assert until(cli, third, "queued")["reason"]
    wait_until(lambda: second in record(cli, third)["state"]["reason"], seconds=30)
    process = cli.start("jobs", "attach", second, "-i", LAB)
    time.sleep(5)
    cli("jobs", "kill", first, "-i", LAB)
    _, stderr = process.communicate(timeout=180)
    assert process.returncode == 0, stderr
    assert "waiting for its turn: " in stderr
    assert "its turn has come" in stderr
    assert until(cli, third, "succeeded")["started_at"] > waiting["queued_at"]
    state = record(cli, second)["state"]
    assert state["started_at"] - state["queued_at"] > 3


@pytest.mark.slow
def test_two_small_jobs_run_beside_each_other(
    cli: Cli, provisioned: Provisioning, programs: Path
) -> None:
    jobs = [sleeping(cli, programs, 600, "--total-executor-cores", "1") for _ in range(2)]
    for job in jobs:
        until(cli, job, "running")
    assert [record(cli, job)["state"]["state"] for job in jobs] == ["running", "running"]
    done = cli("jobs", "kill", *(job[-4:] for job in jobs), "-i", LAB, "--json")
    assert [one["state"] for one in done.json()["jobs"]] == ["killed", "killed"]
    assert "had ended already: it is killed" in cli("jobs", "kill", jobs[0], "-i", LAB).stderr


def test_a_waiting_job_can_be_killed(cli: Cli, provisioned: Provisioning, programs: Path) -> None:
    first = sleeping(cli, programs, 600)
    until(cli, first, "running")
    second = sleeping(cli, programs, 1)
    until(cli, second, "queued")
    cli("jobs", "kill", second, first, "-i", LAB)
    state = record(cli, second)["state"]
    assert state["state"] == "killed"
    assert "started_at" not in state


@pytest.mark.slow
def test_following_a_log_survives_the_connection(
    cli: Cli, provisioned: Provisioning, programs: Path, node: Any
) -> None:
    job = sleeping(cli, programs, 40)
    until(cli, job, "running")
    process = cli.start("jobs", "logs", job, "-f", "-i", LAB)
    wait_until(lambda: "second 5" in node(MASTER, f"cat {JOBS}/{job}/job.log"), seconds=120)
    # later, so that it does not hit the session that asks for it
    node(MASTER, "systemd-run --on-active=1 pkill -u admin '^sshd'")
    stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 0, stderr
    assert "connected again" in stderr
    lines = [line for line in stdout.splitlines() if line.startswith("second ")]
    assert lines == [f"second {n}" for n in range(40)]
    assert f"job {job} is succeeded" in stderr


@pytest.mark.slow
def test_an_address_and_a_command_are_told(
    cli: Cli, provisioned: Provisioning, programs: Path, node: Any, tmp_path: Path
) -> None:
    server = """
        import http.server
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                open("/run/told", "ab").write(body + b"\\n")
                self.send_response(204)
                self.end_headers()
        http.server.HTTPServer(("127.0.0.1", 18999), Handler).serve_forever()
    """
    node(MASTER, f"cat > /run/server.py <<'END'\n{textwrap.dedent(server)}\nEND")
    node(MASTER, "systemd-run --unit=test-told python3 /run/server.py")
    out = tmp_path / "told"
    try:
        job = sleeping(
            cli,
            programs,
            1,
            *("--notify", "http://127.0.0.1:18999/hook?token=secret"),
            *("--notify", f'echo "$MAMMOCTL_JOB $MAMMOCTL_STATE" >> {out}'),
        )
        until(cli, job, "succeeded")
        wait_until(out.exists, seconds=60)
        told = [json.loads(line) for line in node(MASTER, "cat /run/told").splitlines()]
    finally:
        node(MASTER, "systemctl stop test-told")
    assert out.read_text() == f"{job} succeeded\n"
    assert [(one["job"], one["state"]) for one in told] == [(job, "succeeded")]
    shown = record(cli, job)
    target = "http://127.0.0.1:18999/..."
    assert shown["state"]["notified"] == [{"target": target, "ok": True, "error": ""}]
    assert "secret" not in json.dumps(shown)
    assert node(MASTER, f"stat -c %a {JOBS}/{job}/notify.json") == "600"


@pytest.mark.slow
def test_a_training_that_was_lost_goes_on_from_its_checkpoint(
    cli: Cli, provisioned: Provisioning, synthetic: Path, node: Any
) -> None:
    cli("data", "push", str(synthetic), "--name", "resumed", "-i", LAB)
    seed = str(time.time_ns() % 10**6)
    options = ("--backbone", "mobilenet_v2_035", "--weights", "none", "--seed", seed)
    job = cli(
        *("submit", "-i", LAB, "--data", "resumed", *options, "--epochs", "3000", "--detach")
    ).stdout.strip()
    progress = f"{JOBS}/{job}/progress.jsonl"

    def epochs() -> list[int]:
        lines = node(MASTER, f"cat {progress}").splitlines()
        events = [json.loads(line) for line in lines]
        return [event["done"] for event in events if event["event"] == "epoch"]

    wait_until(lambda: epochs() and epochs()[-1] >= 20, seconds=240, every=1)
    cli("lab", "stop", MASTER, "--name", LAB, "--kill")
    cli("lab", "start", MASTER, "--name", LAB)
    wait_until(
        lambda: cli("verify", "-i", LAB, rc=None, timeout=300).rc == 0, seconds=300, every=10
    )
    assert record(cli, job)["state"]["state"] == "lost"
    before = len(node(MASTER, f"cat {progress}").splitlines())
    assert "nothing" not in cli("jobs", "resume", job, "-i", LAB, "--detach").stderr
    refused = cli("jobs", "resume", job, "-i", LAB, "--detach", rc=2)
    assert "cannot be resumed" in refused.stderr

    def again() -> list[dict[str, Any]]:
        lines = node(MASTER, f"cat {progress}").splitlines()[before:]
        return [json.loads(line) for line in lines]

    wait_until(
        lambda: [one for one in again() if one["event"] == "epoch" and one["done"] > 20],
        seconds=240,
        every=1,
    )
    texts = [one.get("text", "") for one in again()]
    assert any("60 in the cache, 0 to compute" in text for text in texts), texts
    # the epochs of before are told again, at once, and only the rest are made
    times = {one["done"]: one["t"] for one in again() if one["event"] == "epoch"}
    assert times[20] - times[1] < 1
    state = record(cli, job)["state"]
    assert (state["attempt"], state["attempts"][0]["state"]) == (2, "lost")
    cli("jobs", "kill", job, "-i", LAB)


def test_watching_on_a_terminal_ctrl_c_offers_to_kill(
    cli: Cli, provisioned: Provisioning, programs: Path
) -> None:
    job = sleeping(cli, programs, 600)
    until(cli, job, "running")
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        cli.argv("jobs", "attach", job, "-i", LAB),
        cwd=cli.cwd,
        env={**os.environ, **cli.env, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    time.sleep(15)
    process.send_signal(signal.SIGINT)
    time.sleep(3)
    os.write(ours, b"k\n")
    text = b""
    try:
        while data := os.read(ours, 65536):
            text += data
    except OSError:  # the terminal ends with its last process
        pass
    assert process.wait(timeout=120) == 143, text.decode(errors="replace")
    assert b"detach: it goes on without you" in text
    assert record(cli, job)["state"]["state"] == "killed"


def test_prune_removes_ended_jobs_alone(
    cli: Cli, provisioned: Provisioning, programs: Path, node: Any
) -> None:
    job = sleeping(cli, programs, 600, "--total-executor-cores", "1")
    until(cli, job, "running")
    jobs = cli("jobs", "list", "-i", LAB, "--json").json()["jobs"]
    ended = [one["spec"]["id"] for one in jobs if one["spec"]["id"] != job]
    assert ended
    prune = ("jobs", "prune", "--older-than", "0d", "--keep", "0", "-i", LAB)
    assert "--yes" in cli(*prune, rc=2).stderr
    done = cli(*prune, "--yes", "--json")
    assert sorted(done.json()["removed"]) == sorted(ended)
    assert node(MASTER, f"ls {JOBS}") == job
    left = node(MASTER, "/opt/mammoctl/bin/hdfs dfs -ls -C /mammoctl/results || true")
    assert not [name for name in ended if name in left]
    cli("jobs", "kill", job, "-i", LAB)
