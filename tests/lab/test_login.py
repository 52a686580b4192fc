"""A person logs in on the master, writes a program, and runs it on the cluster."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from .command import Cli
from .conftest import LAB, NODES, REPO, Provisioning, _find_address, wait_until

pytestmark = pytest.mark.lab

MASTER, OTHER = NODES[0], NODES[1]
PROJECT = REPO / "tests" / "data" / "scala-wordcount"
WORDS = "the cat and the dog\nand the bird\n"
JOB = """
import os, time
from pyspark.sql import SparkSession

# Nothing starts before every worker has given its executor.
spark = (
    SparkSession.builder.appName("by hand")
    .config("spark.scheduler.minRegisteredResourcesRatio", "1.0")
    .config("spark.scheduler.maxRegisteredResourcesWaitingTime", "60s")
    .getOrCreate()
)
frame = spark.range(1000).repartition(6)
frame.write.mode("overwrite").parquet("numbers")
print("sum", spark.read.parquet("numbers").groupBy().sum().first()[0])


def where(_):
    time.sleep(1)
    return os.uname().nodename


print("hosts", *sorted(set(spark.sparkContext.parallelize(range(6), 6).map(where).collect())))
"""
Login = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def login(cli: Cli, provisioned: Provisioning) -> Login:
    """Return a function that runs a line in a login shell of the ordinary user, without sudo."""
    folder = cli.cwd / "inventory" / LAB
    hosts = yaml.safe_load((folder / "hosts.yml").read_text())

    def run(node: str, line: str, *, shell: str = "bash -lc", feed: str | None = None,
            timeout: float = 240) -> subprocess.CompletedProcess[str]:  # fmt: skip
        argv = [
            *("ssh", "-i", str(folder / "id_ed25519"), "-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={folder / 'known_hosts'}"),
            *("-o", "GlobalKnownHostsFile=/dev/null", f"admin@{_find_address(hosts, node)}"),
            f"{shell} {shlex.quote(line)}",
        ]
        return subprocess.run(
            argv, input=feed, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run


def put(login: Login, node: str, path: str, text: str) -> None:
    done = login(node, f"mkdir -p $(dirname {path}) && cat > {path}", feed=text)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shell", ["bash -lc", "sh -lc"])
@pytest.mark.parametrize("node", [MASTER, OTHER])
def test_the_commands_are_there(login: Login, node: str, shell: str) -> None:
    names = "spark-submit pyspark spark-shell scala scalac sbt hdfs"
    line = f"for c in {names}; do command -v $c; done; $JAVA_HOME/bin/javac -version"
    done = login(node, line, shell=shell)
    found = done.stdout.split()
    assert [Path(path).name for path in found[:7]] == names.split()
    assert found[7] == "javac"


def test_scala_is_sparks_own(login: Login, node: Any) -> None:
    jar = node(MASTER, "ls /opt/spark/jars | grep ^scala-library")
    for command in ("scala", "scalac"):
        said = login(MASTER, f"{command} -version 2>&1").stdout
        assert re.search(r"version (\S+)", said)[1] == jar[len("scala-library-") : -len(".jar")]  # type: ignore[index]


@pytest.mark.parametrize("node_name", [MASTER, pytest.param(OTHER, marks=pytest.mark.slow)])
def test_a_python_program_runs_on_the_cluster(login: Login, node_name: str) -> None:
    put(login, node_name, "job.py", JOB)
    done = login(node_name, "spark-submit job.py")
    assert done.returncode == 0, done.stderr[-3000:]
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert said["sum"] == str(sum(range(1000)))
    assert said["hosts"].split() == list(NODES)


def test_a_person_who_is_no_operator_is_kept_out(login: Login, node: Any) -> None:
    node(MASTER, "id stranger >/dev/null 2>&1 || useradd --create-home stranger")
    try:
        put(login, MASTER, "/tmp/job.py", JOB)  # noqa: S108  readable by all
        line = "cd /tmp && spark-submit /tmp/job.py"
        done = login(MASTER, f"sudo -n -u stranger bash -lc {shlex.quote(line)}")
        assert done.returncode != 0
        assert "/etc/spark/spark-defaults.conf (Permission denied)" in done.stderr
        assert "sum" not in done.stdout
    finally:
        node(MASTER, "userdel --remove stranger", rc=None)


@pytest.fixture(scope="module")
def packaged(login: Login) -> str:
    """Build the Scala project on the master, which reaches no repository, by `sbt package`."""
    for path in PROJECT.rglob("*"):
        if path.is_file():
            put(login, MASTER, f"wordcount/{path.relative_to(PROJECT)}", path.read_text())
    # Proves that nothing is fetched: the loopback alone is there for it.
    build = "cd wordcount && sbt -Dsbt.color=false -Dsbt.supershell=false package"
    line = f"sudo -n unshare --net runuser -l admin -c {shlex.quote(build)}"
    done = login(MASTER, line, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    jar = login(MASTER, "ls wordcount/target/scala-*/wordcount_*.jar").stdout.strip()
    assert jar.endswith(".jar")
    return jar


def test_sbt_builds_without_a_network_and_the_program_runs(
    login: Login, packaged: str, node: Any
) -> None:
    put(login, MASTER, "words.txt", WORDS)
    assert login(MASTER, "hdfs dfs -put -f words.txt words.txt").returncode == 0
    done = login(MASTER, f"spark-submit --class WordCount {packaged} words.txt counts")
    assert done.returncode == 0, done.stderr[-3000:]
    version, *rows = done.stdout.splitlines()
    jar = node(MASTER, "ls /opt/spark/jars | grep ^scala-library")
    assert version == f"Scala {jar[len('scala-library-') : -len('.jar')]}: 5 words"
    assert rows[:2] == ["3 the", "2 and"]


def test_the_history_server_knows_what_ended(login: Login, packaged: str, node: Any) -> None:
    login(MASTER, f"spark-submit --class WordCount {packaged} words.txt counts")

    def known() -> bool:
        """The history server lists the program as completed, with its user."""
        text = node(
            MASTER,
            "python3 -c 'import urllib.request as u; print(u.urlopen("
            f'"http://{MASTER}:18080/api/v1/applications?status=completed").read().decode())\'',
        )
        found = {(app["name"], app["attempts"][0]["sparkUser"]) for app in json.loads(text)}
        return ("wordcount", "admin") in found

    wait_until(known, seconds=60)
