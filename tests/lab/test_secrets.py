"""A cluster gets another secret: the old one opens nothing any more, and work goes on."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from .command import Cli
from .conftest import LAB, NODES, Provisioning

pytestmark = [pytest.mark.lab, pytest.mark.slow]

MASTER = NODES[0]
SETTINGS = "/etc/spark/spark-defaults.conf"
OLD = "/root/before-the-rotation.conf"
SUM = """
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
print("the sum is", spark.sparkContext.parallelize(range(100), 3).sum())
"""
SLEEP = "import time\nfrom pyspark.sql import SparkSession\nSparkSession.builder.getOrCreate()\n"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "sum.py"
    path.write_text(SUM)
    return path


def secret_of(inventory: Path) -> str:
    return (inventory / "secrets" / "spark_auth_secret").read_text().strip()


def on_nodes(node: Any) -> set[str]:
    """Return the secrets that the nodes have; one, when they agree."""
    line = f"sed -n 's/^spark.authenticate.secret *//p' {SETTINGS}"
    return {node(name, line) for name in NODES}


def starts(node: Any) -> dict[str, str]:
    """Return when each of Spark's services was started last; HDFS's as well."""
    units = ("spark-master", "spark-worker", "spark-history", "hdfs-namenode", "hdfs-datanode")
    line = "systemctl show -p ExecMainStartTimestampMonotonic --value "
    return {f"{name} {unit}": node(name, line + unit) for name in NODES for unit in units}


def test_the_old_secret_is_refused_and_jobs_run_with_the_new_one(
    provisioned: Provisioning, cli: Cli, node: Any, inventory: Path, program: Path
) -> None:
    before, running = secret_of(inventory), starts(node)
    node(MASTER, f"cp -p {SETTINGS} {OLD}; cat > /root/sum.py <<'END'\n{SUM}\nEND")
    seen: list[str] = []
    over = threading.Event()

    def look() -> None:
        """Read every process's arguments while the rotation runs, here and on a node."""
        while not over.wait(0.5):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.append(path.read_bytes().decode(errors="replace"))
                except OSError:
                    continue

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        done = cli("secrets", "rotate", "-i", LAB, "--yes", "--json", timeout=900)
    finally:
        over.set()
        watcher.join()
    try:
        said, after = done.json(), secret_of(inventory)
        assert said["rotated"] == ["spark_auth_secret"]
        assert after != before
        assert on_nodes(node) == {after}
        assert not (inventory / "secrets" / "spark_auth_secret.before").exists()

        told = done.text + Path(said["log"]).read_text() + "".join(seen)
        for name in NODES:
            told += node(name, "journalctl --no-pager -b | tail -n 4000", timeout=120)
        assert before not in told
        assert after not in told

        restarted = {key for key, at in starts(node).items() if at != running[key]}
        workers = {f"{name} spark-worker" for name in NODES}
        assert restarted == {f"{MASTER} spark-master", f"{MASTER} spark-history", *workers}

        state = cli("status", "-i", LAB, "--json").json()
        assert state["ok"], state["findings"]
        ran = cli("submit", str(program), "-i", LAB, timeout=300)
        assert "the sum is 4950" in ran.text

        submit = "SPARK_CONF_DIR=/etc/spark timeout 200 /opt/spark/bin/spark-submit"
        # Workers that still had the old one may have been refused before: only what follows counts.
        since = node(MASTER, "date +%s").strip()
        refused = node(
            MASTER, f"{submit} --properties-file {OLD} /root/sum.py 2>&1; echo rc=$?",
            rc=None, timeout=250,
        )  # fmt: skip
        assert "the sum is" not in refused
        assert "rc=0" not in refused
        journal = node(MASTER, f"journalctl --no-pager --since=@{since} -u spark-master")
        assert "Authentication failed for client" in journal
        accepted = node(MASTER, f"{submit} /root/sum.py 2>/dev/null", timeout=250)
        assert "the sum is 4950" in accepted

        assert cli("provision", "-i", LAB, "--json").json()["changed"] == []
    finally:
        node(MASTER, f"rm -f {OLD} /root/sum.py")


def test_cut_off_it_is_finished_by_the_same_command(
    provisioned: Provisioning, cli: Cli, node: Any, inventory: Path, program: Path
) -> None:
    before = secret_of(inventory)
    kept = inventory / "secrets" / "spark_auth_secret.before"
    for seconds in (6, 9, 13):
        stopped = cli("secrets", "rotate", "-i", LAB, "--yes", interrupt_after=seconds, rc=None)
        assert stopped.rc in (0, 130), stopped.text[-3000:]
        # Whatever the nodes have, it is here.
        here = {secret_of(inventory), *([kept.read_text().strip()] if kept.exists() else [])}
        assert on_nodes(node) <= here
    done = cli("secrets", "rotate", "-i", LAB, "--yes", "--json", timeout=900).json()
    assert on_nodes(node) == {secret_of(inventory)}
    assert secret_of(inventory) != before
    assert not kept.exists()
    assert isinstance(done["resumed"], bool)
    assert "the sum is 4950" in cli("submit", str(program), "-i", LAB, timeout=300).text


def test_a_running_job_is_not_broken_off(
    provisioned: Provisioning, cli: Cli, node: Any, inventory: Path, tmp_path: Path
) -> None:
    path = tmp_path / "sleep.py"
    path.write_text(SLEEP + "time.sleep(600)\n")
    before = secret_of(inventory)
    job = cli("submit", str(path), "-i", LAB, "--detach").stdout.strip()
    try:
        refused = cli("secrets", "rotate", "-i", LAB, "--yes", rc=1)
        assert job in refused.stderr
        assert "--force" in refused.stderr
        assert secret_of(inventory) == before
        assert on_nodes(node) == {before}
    finally:
        cli("jobs", "kill", job, "-i", LAB)


def test_nobody_is_asked_where_there_is_no_terminal(provisioned: Provisioning, cli: Cli) -> None:
    done = subprocess.run(
        cli.argv("secrets", "rotate", "-i", LAB), cwd=cli.cwd, env={**os.environ, **cli.env},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--yes" in done.stderr
