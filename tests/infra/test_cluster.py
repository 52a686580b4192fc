"""The cluster as a whole: what the master says, and a real job on every worker."""

import json
import re
import time
import uuid

import pytest
from infra_support import PROGRAMS, Node, expect, setting
from probes import read_master

from mammoctl import spark_master

TIMEOUT = 150  # seconds for the job, its start included; mammoctl_verify_timeout_s changes it
# A job of seconds: what the optimising compiler gains comes later than its end.
QUICK = "-XX:TieredStopAtLevel=1"
WAIT = "wait until the machines have less to do, or stop other applications; then verify again"
REASON = re.compile(r"(Caused by: )?[\w.]*(Exception|Error)\b.*|.* (ERROR|FATAL) .*")


def job_timeout(master: Node) -> int:
    """Return the seconds that the job may take: emulated machines need more than others."""
    return int(master.declared.vars.get("mammoctl_verify_timeout_s", TIMEOUT))


def run_job(master: Node) -> dict:
    """Submit programs/spark_job.py on the master, as the user that runs the jobs."""
    record = master.record
    alive = {worker.host for worker in read_master(master).alive}
    if len(alive) < len(record["workers"]):  # it would only wait for those that are missing
        return {"rc": -1, "alive": sorted(alive)}
    # No leading dot: Hadoop does not read hidden folders.
    uri = f"{record['paths']['results']}/verify-{uuid.uuid4().hex[:12]}"
    become = f"runuser -u {setting(master, 'spark_user')} --"
    folder = master.text(f"{become} mktemp -d /tmp/mammoctl-verify-XXXXXXXX").strip()
    script = (PROGRAMS / "spark_job.py").read_text(encoding="utf-8")
    seconds = job_timeout(master)
    began = time.monotonic()
    try:
        master.text(
            "printf %%s %s > %s/spark_job.py && chmod 644 %s/spark_job.py", script, folder, folder
        )
        done = master.host.run(
            f"cd %s && {become} env SPARK_CONF_DIR=/etc/spark timeout -k 10 %s "
            "%s/bin/spark-submit --driver-memory 512m --driver-java-options %s "
            "--conf spark.executor.extraJavaOptions=%s %s/spark_job.py %s %s",
            folder, str(seconds), record["spark_home"], QUICK, QUICK, folder,
            str(len(record["workers"])), uri,
        )  # fmt: skip
    finally:
        master.host.run("rm -rf -- %s", folder)
    lines = done.stdout.strip().splitlines()
    answer = json.loads(lines[-1]) if done.rc == 0 and lines else {}
    # spark-submit puts a Python program's errors on its standard output.
    said = f"{done.stderr}\n{done.stdout}"
    return {"rc": done.rc, "said": said, "wall": time.monotonic() - began, **answer}


@pytest.fixture(scope="session")
def state(master):
    return read_master(master)


@pytest.fixture
def job(background):
    return background["job"].result()


def test_master_alive(state):
    """The master is at work."""
    expect(state.status == "ALIVE", f"the master says {state.status}", "wait half a minute")


def test_registered(worker, state, cluster):
    """The master knows the worker with the declared cores and memory."""
    recorded = worker.record["workers"][worker.name]
    expected = {worker.name: (worker.address, recorded["cores"], recorded["memory_mb"])}
    wrong = spark_master.differences(state, expected).get(worker.name, [])
    expect(
        not wrong,
        "; ".join(wrong),
        f"on {worker.name}: sudo systemctl restart spark-worker; sudo journalctl -u spark-worker",
    )


def test_as_declared(worker):
    """The cores are those that the inventory declares, and the memory fits into the node's."""
    recorded = worker.record["workers"][worker.name]
    cores = worker.declared.vars.get("spark_node_cores")
    memory = worker.declared.vars.get("spark_node_memory_mb")
    expect(
        cores is None or recorded["cores"] == int(cores),
        f"{recorded['cores']} cores, the inventory declares {cores}",
    )
    expect(
        memory is None or recorded["memory_mb"] <= int(memory),
        f"{recorded['memory_mb']} MiB for executors, the inventory declares {memory} MiB in all",
    )


def test_no_strangers(state, cluster):
    """No worker is registered that the inventory does not have."""
    known = {text for host in cluster.workers for text in (host.name, host.address)}
    strangers = sorted({worker.host for worker in state.alive} - known)
    expect(
        not strangers,
        f"unknown workers: {', '.join(strangers)}",
        "stop spark-worker there, or add the host to spark_workers",
    )


def test_job(job, master):
    """A real job ends well: it writes to the cluster's storage and reads it back."""
    expect(
        job["rc"] != -1,
        f"not started: only {', '.join(job.get('alive', [])) or 'none'} of the workers registered",
        "see the failures of the workers that are missing",
    )
    if job["rc"] == 124:
        busy = ", ".join(str(app.get("name")) for app in read_master(master).activeapps)
        beside = f" beside: {busy}" if busy else ""
        load = master.text("cut -d' ' -f1 /proc/loadavg").strip()
        expect(
            False,
            f"it did not end within {job_timeout(master)} s{beside} "
            f"(load of {master.name}: {load})",
            WAIT,
        )
    said = [line.strip() for line in job["said"].splitlines() if line.strip()]
    reasons = [line for line in said if REASON.match(line)]
    expect(
        job["rc"] == 0,
        f"it ended with status {job['rc']}:\n" + "\n".join((reasons or said)[-6:]),
        f"on {master.name} and the workers: sudo journalctl -u spark-master -u spark-worker; "
        f"executors' logs are below {setting(master, 'spark_var_dir')}/work",
    )
    lines = sum(task["lines"] for task in job["tasks"])
    total = sum(task["sum"] for task in job["tasks"])
    expect(
        (lines, total) == (job["expected_lines"], job["expected_sum"]),
        f"it read {lines} lines of {job['expected_lines']} back (sum {total})",
    )


def test_job_ran_on(worker, job):
    """The job ran on the worker, with the right Python."""
    expect(job["rc"] == 0, "the job did not succeed", "see the check of the job itself")
    mine = [task for task in job["tasks"] if task["host"] == worker.state["hostname"]]
    ran = ", ".join(sorted({task["host"] for task in job["tasks"]}))
    expect(mine, f"no task ran here; the job ran on {ran}", WAIT)
    expect(all(task["lines"] for task in mine), "the task here read nothing from the storage")
    wrong = {task["python"] for task in mine} - {worker.record["python_version"]}
    expect(not wrong, f"the task ran with Python {', '.join(wrong)}")
