"""What Spark's settings come from: the inventory, per host and per group; and what keeps state."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from rendering import ROLES

from mammoctl import inventory

HOSTS = """
all:
  children:
    spark_master: {hosts: {a: {ansible_host: 10.0.0.1}}}
    spark_workers: {hosts: {a: , b: {ansible_host: 10.0.0.2}, c: {ansible_host: 10.0.0.3}}}
    big: {hosts: {b: , c: }}
"""


@pytest.fixture
def sizes(tmp_path: Path):
    (tmp_path / "hosts.yml").write_text(HOSTS)
    for folder, name, text in (
        ("group_vars", "all", "spark_node_cores: 2\nspark_node_memory_mb: 4096\n"),
        ("group_vars", "big", "spark_node_cores: 16\nspark_node_memory_mb: 65536\n"),
        ("host_vars", "c", "spark_node_memory_mb: 32768\nspark_worker_memory_mb: 2000\n"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.yml").write_text(text)
    return inventory.load(str(tmp_path)).hosts


def test_cores_and_memory_are_of_the_host_its_group_or_all(sizes) -> None:
    found = {
        name: (int(host.vars["mammoctl_node_cores"]), int(host.vars["mammoctl_node_memory_mb"]))
        for name, host in sizes.items()
    }
    assert found == {"a": (2, 4096), "b": (16, 65536), "c": (16, 32768)}


def test_what_a_worker_offers_follows(sizes, plugin, render) -> None:
    settings = dict.fromkeys(
        ("system", "daemon", "hdfs", "history", "driver", "python", "executor_overhead"), 100
    )
    settings |= {"executor_min": 512, "executor_max": 8192}
    hosts = {
        name: {
            **host.vars,
            "mammoctl_is_worker": True,
            "mammoctl_is_master": name == "a",
            "mammoctl_gpus": 0,
        }
        for name, host in sizes.items()
    }
    filters = plugin("filter", "mammoctl_sizing")
    workers = filters.cluster_sizing(hosts, list(hosts), True, settings)["workers"]
    assert workers["a"] == {"cores": 2, "memory_mb": 4096 - 900}
    assert workers["b"] == {"cores": 16, "memory_mb": 8192}
    assert workers["c"] == {"cores": 16, "memory_mb": 2000}
    env = render("spark", "spark-env.sh.j2", _spark_me=workers["c"]).splitlines()
    assert "export SPARK_WORKER_CORES=16" in env
    assert "export SPARK_WORKER_MEMORY=2000m" in env


def properties(text: str) -> dict[str, str]:
    rows = (line.split(None, 1) for line in text.splitlines() if line and line[0] != "#")
    return {name: value.strip() for name, value in rows}


def test_the_master_writes_its_state_where_its_unit_may_write(render) -> None:
    found = properties(render("spark", "spark-defaults.conf.j2", spark_var_dir="/data/spark"))
    assert found["spark.deploy.recoveryMode"] == "FILESYSTEM"
    assert found["spark.deploy.recoveryDirectory"] == "/data/spark/recovery"
    unit = render("spark", "spark-master.service.j2", spark_var_dir="/data/spark").splitlines()
    assert "ReadWritePaths=/data/spark" in unit


def test_every_node_has_its_own_scratch_below_one_path(render) -> None:
    text = render("spark", "spark-defaults.conf.j2", spark_var_dir="/fast/of/the/master")
    found = properties(text)
    for part in ("driver", "executor"):
        options = found[f"spark.{part}.defaultJavaOptions"]
        assert options == "-Djava.io.tmpdir=/var/lib/mammoctl/scratch"
    assert text.count("/fast/of/the/master") == 1, "the recovery folder, which is the master's"
    tasks = (ROLES / "spark/tasks/configure.yml").read_text()
    link = '{path: "{{ _spark_scratch }}", state: link, target: "{{ spark_var_dir }}/local"}'
    assert link in tasks


def test_workers_tidy_up_and_no_application_takes_all(render) -> None:
    found = properties(render("spark", "spark-defaults.conf.j2", spark_cleanup_ttl_s=3600))
    assert found["spark.worker.cleanup.enabled"] == "true"
    assert found["spark.worker.cleanup.appDataTtl"] == "3600"
    assert found["spark.executor.logs.rolling.strategy"] == "size"
    assert int(found["spark.deploy.defaultCores"]) == 3


def test_what_ended_is_kept_for_a_while_and_no_longer(render) -> None:
    found = properties(render("spark", "spark-defaults.conf.j2", spark_history_days=7))
    assert found["spark.eventLog.enabled"] == "true"
    assert found["spark.eventLog.dir"] == found["spark.history.fs.logDirectory"]
    assert found["spark.history.fs.cleaner.enabled"] == "true"
    assert found["spark.history.fs.cleaner.maxAge"] == "7d"


@pytest.mark.parametrize(("made", "good"), [(["spark"], True), ([], False)])
def test_an_account_is_ours_by_the_record_whatever_its_home_is(made, good) -> None:
    (task,) = yaml.safe_load((ROLES / "spark/tasks/preflight.yml").read_text())
    checks = task["mammoctl_check"]["checks"]
    (check,) = [one for one in checks if "_spark_account is none or spark_user in" in one["ok"]]
    variables = {
        "spark_user": "spark",
        "spark_var_dir": "/fast/spark",
        "_spark_account": {"home": "/var/lib/spark"},
        "ansible_facts": {"mammoctl": {"made_users": made}},
    }
    templar = Templar(DataLoader(), variables=variables)
    assert templar.template(trust_as_template(check["ok"])) is good
