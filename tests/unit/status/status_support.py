"""A cluster of two nodes that answers as real ones do."""

from __future__ import annotations

import json
from types import SimpleNamespace

from mammoctl.inventory import Cluster, Host
from mammoctl.status import gather, node

RECORD = {
    "schema": 1,
    "cluster": "ward",
    "master": {
        "host": "n1",
        "address": "10.0.0.1",
        "url": "spark://n1:7077",
        "ui_port": 8080,
        "history_port": 18080,
    },
    "workers": {
        "n1": {"address": "10.0.0.1", "cores": 4, "memory_mb": 1024},
        "n2": {"address": "10.0.0.2", "cores": 4, "memory_mb": 3072},
    },
    "storage": {"kind": "hdfs", "uri": "hdfs://n1:8020/mammoctl", "replication": 2},
    "paths": dict.fromkeys(["data", "features", "weights", "results", "events"], "hdfs://n1/x"),
    "python": "/opt/mammoctl/env/bin/python",
    "python_version": "3.11",
    "spark_home": "/opt/spark",
    "spark_version": "4.3.0",
    "java_home": "/usr/lib/jvm/default",
    "executor": {"cores": 4, "memory_mb": 1024},
    "bundle": "b" * 16,
    "tensorflow_variant": {"n1": "cpu", "n2": "cpu"},
}


def unit_text(**states):
    blocks = []
    for unit in node.UNITS:
        usual = "active"
        if unit in ("mammoctl-wireguard", "mammoctl-lockdown"):
            usual = "absent"
        active = states.get(unit.replace("-", "_"), usual)
        load = "not-found" if active == "absent" else "loaded"
        sub = {"active": "running", "failed": "failed"}.get(active, "dead")
        blocks.append(
            f"NRestarts=3\nId={unit}.service\nLoadState={load}\nActiveState={active}\n"
            f"SubState={sub}\nUnitFileState=enabled\n"
        )
    return "\n".join(blocks)


def answer(record=RECORD, disk="100000 20000 80000 /", extra="", **units):
    return (
        f"record={json.dumps(record) if record else ''}\ninstalled=1\n"
        "env=/opt/mammoctl/envs/c1a3320b9d29c8c1\ncores=4\nload=0.42\nuptime=266400.12\n"
        f"MemTotal=8192000\nMemAvailable=6144000\ndisk={disk}\n"
        f"java=/usr/lib/jvm/java-17 17.0.21\n{extra}{unit_text(**units)}"
    )


WORKER = dict.fromkeys(["hdfs_namenode", "spark_master", "spark_history"], "absent")
JMX = {
    "Total": 100 * 2**30, "Used": 2**30, "Free": 90 * 2**30, "Safemode": "",
    "LiveNodes": json.dumps({"n1:9866": {}, "n2:9866": {}}), "DeadNodes": "{}",
    "NumberOfMissingBlocks": 0,
}  # fmt: skip
SPARK = {
    "url": "spark://n1:7077",
    "status": "ALIVE",
    "workers": [
        {
            "id": f"worker-{name}", "host": name, "port": 7078, "cores": 4, "coresused": 1,
            "memory": memory, "memoryused": 512, "state": "ALIVE",
        }
        for name, memory in (("n1", 1024), ("n2", 3072))
    ],
    "activeapps": [
        {"id": "app-1", "name": "train", "cores": 2, "memoryperexecutor": 512, "state": "RUNNING",
         "duration": 61000}
    ],
}  # fmt: skip
JOB = {
    "spec": {"id": "train-1", "data": "screening", "submitted_at": 1000.0},
    "state": {"state": "lost", "started_at": 1000.0, "finished_at": 1300.0, "reason": "gone"},
}


class FakeNodes:
    """Answers as SSH would; a value that is an error is raised, a function is called."""

    def __init__(self, answers, pages=None, jobs=(JOB,), names=("n1", "n2"), variables=None):
        hosts = {
            name: Host(name, f"10.0.0.{number}", vars=variables or {})
            for number, name in enumerate(names, 1)
        }
        first = hosts[names[0]]
        self.cluster = Cluster(
            "ward", None, None, hosts, first, list(hosts.values()), variables or {}
        )
        self.answers = answers
        self.pages = {"json": SPARK, "jmx": {"beans": [JMX]}} if pages is None else pages
        self.jobs = jobs

    def run(self, host, command, *, timeout=None, sudo=False, input=None):
        if sudo:
            assert host == "n1"
            return SimpleNamespace(stdout=json.dumps(self.jobs))
        value = self.answers[host]
        if isinstance(value, Exception):
            raise value
        return SimpleNamespace(stdout=value() if callable(value) else value)

    def http_json(self, host, url, *, timeout):
        value = self.pages["jmx" if "/jmx" in url else "json"]
        if isinstance(value, Exception):
            raise value
        return value


def look(n1=None, n2=None, **options):
    answers = {"n1": answer() if n1 is None else n1, "n2": answer(**WORKER) if n2 is None else n2}
    return gather.gather(FakeNodes(answers, **options))
