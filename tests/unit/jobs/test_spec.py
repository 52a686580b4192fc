from __future__ import annotations

import io
import json
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from mammoctl import paths
from mammoctl.cluster import ClusterFile, parse
from mammoctl.errors import JobError, MammoctlError, UsageError
from mammoctl.jobs.failures import outside
from mammoctl.jobs.job import job_folder, new_id
from mammoctl.jobs.package import job_archive, read_application
from mammoctl.jobs.spec import (
    JobSpec,
    Weights,
    environment,
    needs,
    submit_argv,
    unit_argv,
)

RECORD = {
    "schema": 1,
    "cluster": "lab",
    "master": {"host": "lab1", "address": "10.0.0.11", "url": "spark://lab1:7077", "ui_port": 8080},
    "workers": {
        f"lab{n}": {"address": f"10.0.0.1{n}", "cores": 2, "memory_mb": 3072} for n in (1, 2, 3)
    },
    "storage": {"kind": "hdfs", "uri": "hdfs://lab1:8020/mammoctl", "replication": 3},
    "paths": {
        name: f"hdfs://lab1:8020/mammoctl/{name}"
        for name in ("data", "features", "weights", "results", "events")
    },
    "python": "/opt/mammoctl/env/bin/python",
    "python_version": "3.11",
    "spark_home": "/opt/spark",
    "spark_version": "4.3.0",
    "java_home": "/usr/lib/jvm/java-17-openjdk-amd64",
    "executor": {"cores": 2, "memory_mb": 1024},
    "bundle": "0123456789abcdef",
    "tensorflow_variant": {"lab1": "cpu"},
}
JOB = "train-20261121-104512-ab12"
FOLDER = f"/var/lib/mammoctl/jobs/{JOB}"
ROOT = "hdfs://lab1:8020/mammoctl"


@pytest.fixture
def lab() -> ClusterFile:
    return parse(json.dumps(RECORD))


@pytest.fixture
def spec() -> JobSpec:
    weights = Weights(f"{ROOT}/weights/{'0' * 64}/weights.h5", "0" * 64, "vgg16.h5")
    return JobSpec(JOB, "screening", "vgg16", weights, epochs=10, seed=7, batch_size=8)


def test_gpus_are_asked_for_where_every_worker_has_some(lab: ClusterFile, spec: JobSpec) -> None:
    assert not [word for word in submit_argv(lab, spec) if "resource.gpu" in word]
    record = {**RECORD, "executor": {"cores": 2, "memory_mb": 1024, "gpus": 2}}
    argv = submit_argv(parse(json.dumps(record)), spec)
    assert [word for word in argv if "resource.gpu" in word] == [
        "spark.executor.resource.gpu.amount=2",
        "spark.task.resource.gpu.amount=2",
    ]


def test_command_line_of_spark_is_exact(lab: ClusterFile, spec: JobSpec) -> None:
    argv = submit_argv(lab, spec)
    conf = dict(argv[n + 1].split("=", 1) for n, word in enumerate(argv) if word == "--conf")
    plain = [w for n, w in enumerate(argv) if w != "--conf" and argv[n - 1] != "--conf"]
    assert plain == [
        "/opt/spark/bin/spark-submit",
        *("--master", "spark://lab1:7077"),
        *("--deploy-mode", "client"),
        *("--py-files", f"{FOLDER}/app/mammotrain.zip"),
        f"{FOLDER}/app/train.py",
        *("--data", f"{ROOT}/data/screening"),
        *("--features", f"{ROOT}/features"),
        *("--backbone", "vgg16"),
        *("--weights", f"{ROOT}/weights/{'0' * 64}/weights.h5"),
        *("--weights-sha256", "0" * 64),
        *("--seed", "7"),
        *("--batch-size", "8"),
        *("--output", f"{FOLDER}/results"),
        *("--publish", f"{ROOT}/results/{JOB}"),
        *("--progress", f"{FOLDER}/progress.jsonl"),
        *("--epochs", "10"),
    ]
    assert conf == {
        "spark.app.name": JOB,
        "spark.cores.max": "6",
        "spark.driver.bindAddress": "10.0.0.11",
        "spark.driver.host": "10.0.0.11",
        "spark.dynamicAllocation.enabled": "false",
        "spark.eventLog.compress": "true",
        "spark.eventLog.dir": f"{ROOT}/events",
        "spark.eventLog.enabled": "true",
        "spark.excludeOnFailure.enabled": "false",
        "spark.executor.cores": "2",
        "spark.executor.memory": "1024m",
        "spark.network.timeout": "60s",
        "spark.stage.maxConsecutiveAttempts": "10",
        "spark.task.cpus": "2",
        "spark.task.maxFailures": "10",
    }


def test_no_weights_and_further_options(lab: ClusterFile, spec: JobSpec) -> None:
    from dataclasses import replace

    argv = submit_argv(lab, replace(spec, weights=None, options={"pooling": "blocks"}))
    assert argv[argv.index("--weights") + 1] == "none"
    assert "--weights-sha256" not in argv
    assert argv[-2:] == ["--pooling", "blocks"]


def test_unit_is_transient_sandboxed_and_records_its_end(lab: ClusterFile, spec: JobSpec) -> None:
    argv = unit_argv(lab, spec)
    head = argv[: argv.index("--")]
    command = ["/usr/bin/python3", f"{FOLDER}/agent.pyz", "run", FOLDER]
    assert argv[argv.index("--") + 1 :] == command
    assert head[:6] == [
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit=mammoctl-job-{JOB}.service",
        "--uid=spark",
        "--gid=spark",
    ]
    properties = dict(
        word.removeprefix("--property=").split("=", 1)
        for word in head
        if word.startswith("--property=")
    )
    agent = f"/usr/bin/python3 {FOLDER}/agent.pyz"
    assert properties["ExecStopPost"] == f"{agent} finish {FOLDER}"
    assert properties["StandardOutput"] == f"append:{FOLDER}/job.log"
    assert properties["ProtectSystem"] == "strict"
    assert properties["NoNewPrivileges"] == "yes"
    assert properties["MemoryMax"] == "75%"
    assert properties["ReadWritePaths"] == f"{FOLDER} -/var/lib/spark"
    elsewhere = unit_argv(lab, replace(spec, scratch="/data/spark"))
    assert f"--property=ReadWritePaths={FOLDER} -/data/spark" in elsewhere
    assert f"--setenv=PYSPARK_PYTHON={lab.python}" in head
    assert environment(lab, spec)["SPARK_CONF_DIR"] == "/etc/spark"


def test_shared_storage_is_writable_for_the_driver(spec: JobSpec) -> None:
    record = {**RECORD, "storage": {"kind": "shared", "uri": "file:///srv/shared"}}
    argv = unit_argv(parse(json.dumps(record)), spec)
    writable = next(word for word in argv if word.startswith("--property=ReadWritePaths="))
    assert writable.endswith(" -/srv/shared")


def test_ids_sort_by_time_and_are_checked() -> None:
    assert new_id("train", 0).startswith("train-19700101-000000-")
    assert new_id("train") != new_id("train")
    assert job_folder(JOB) == FOLDER
    for name in ("Train", "", "a b", "x" * 50, "../x"):
        with pytest.raises(UsageError):
            new_id(name)
    for job in ("../../etc", "train", f"{JOB}/..", f"{JOB}; rm -rf /"):
        with pytest.raises(UsageError):
            job_folder(job)


def test_failures_around_a_job_have_their_own_exit_code() -> None:
    assert isinstance(outside(MammoctlError("x", hint="h")), JobError)
    assert outside(MammoctlError("x", hint="h")).exit_code == 125
    assert outside(UsageError("x")).exit_code == 2


def test_application_is_packed_the_same_each_time() -> None:
    root = paths.project_root() / "app"
    first, second = read_application(root), read_application(root)
    assert first == second
    names = zipfile.ZipFile(io.BytesIO(first.files["mammotrain.zip"])).namelist()
    assert "mammotrain/__init__.py" in names
    assert not [name for name in names if "pycache" in name or name.startswith("tests")]


def test_missing_application_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="missing"):
        read_application(tmp_path)


def test_archive_of_a_job_is_complete() -> None:
    application = read_application(paths.project_root() / "app")
    data = job_archive(application, {"id": JOB}, {"state": "submitted"}, {"notify.json": b"{}"})
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = {member.name: member for member in archive}
        stream = archive.extractfile("spec.json")
        assert stream is not None
        assert json.load(stream) == {"id": JOB}
    assert set(members) == {
        *("app", "home", "results", "agent.pyz", "app/mammotrain.zip"),
        *("app/train.py", "app/predict.py", "app/explore.py"),
        *("spec.json", "state.json", "job.log", "progress.jsonl", "notify.json"),
    }
    assert members["notify.json"].mode == 0o600
    assert all(member.mode & 0o007 == 0 for member in members.values())


def test_what_a_training_waits_for(lab: ClusterFile, spec: JobSpec) -> None:
    assert needs(lab, spec) == {
        "page": "http://10.0.0.11:8080/json/",
        "executors": 3,
        "cores": 2,
        "memory_mb": 1024,
        "driver_mb": 1700,
    }


def test_settings_of_the_user_count_for_a_training_too(lab: ClusterFile, spec: JobSpec) -> None:
    from dataclasses import replace

    mine = {"spark.executor.cores": "1", "spark.executor.memory": "2g", "spark.cores.max": "2"}
    spec = replace(spec, conf=mine)
    argv = submit_argv(lab, spec)
    conf = dict(argv[n + 1].split("=", 1) for n, word in enumerate(argv) if word == "--conf")
    assert mine.items() <= conf.items()
    assert conf["spark.task.cpus"] == "1"  # still one task on each executor
    wanted = needs(lab, spec)
    assert (wanted["executors"], wanted["cores"], wanted["memory_mb"]) == (2, 1, 2048)
