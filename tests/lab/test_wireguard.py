"""WireGuard between the nodes: a stranger at the switch reads nothing, and nothing goes beside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import Cli, Finished, wait_until
from .own_lab import OwnLab, own_lab
from .wire import Wire, reading

pytestmark = [pytest.mark.lab, pytest.mark.slow]

LAB, SUBNET = "mmwire", "10.231.43.0/24"
MASTER, *WORKERS = (f"{LAB}{number}" for number in (1, 2, 3))
HDFS = "/opt/mammoctl/bin/hdfs dfs"
PORT = 51820
DATA, WEIGHTS, PAGE, SHUFFLE = (
    f"planted-{word}-4711".encode() for word in ("data", "weights", "page", "shuffle")
)
WORDS = (DATA, WEIGHTS, PAGE, SHUFFLE)
# Spark encrypts what its parts say, with or without WireGuard.
IN_CLEAR = {DATA, WEIGHTS, PAGE}

# Every key has rows of both halves, so that they cross the network.
JOB = f"""
import random, sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
rows = spark.sparkContext.parallelize(range(6000), 6).map(
    lambda n: (n % 7, {SHUFFLE.decode()!r} + str(random.random())))
print("rows:", rows.groupByKey(6).mapValues(len).values().sum())
"""
FETCH = f"""
import urllib.request
for _ in range(5):
    urllib.request.urlopen("http://{MASTER}:8080/?q={PAGE.decode()}", timeout=10).read()
"""
CONNECT = """
import socket, sys
with socket.socket() as s:
    s.settimeout(4)
    print(s.connect_ex((sys.argv[1], int(sys.argv[2]))))
"""


@dataclass
class Site:
    """The lab, provisioned without WireGuard and then with it, and what was read at the switch."""

    lab: OwnLab
    outer: dict[str, str]
    before: Wire
    predicted: Finished
    done: Finished
    after: Wire

    def inner(self, node: str) -> str:
        return ".".join(["10.119", *self.outer[node].split(".")[2:]])


def put(lab: OwnLab, path: str, text: bytes) -> None:
    """Write a file of 2 MB to HDFS from the master, and read it from a worker."""
    lab.on(
        MASTER,
        f"yes {text.decode()} | head -c 2000000 > /tmp/planted && chmod 644 /tmp/planted &&"
        f" HADOOP_USER_NAME=spark {HDFS} -put -f /tmp/planted {path} && rm /tmp/planted",
    )
    lab.on(WORKERS[1], f"HADOOP_USER_NAME=spark {HDFS} -cat {path} | md5sum")


def work(lab: OwnLab, folder: Path, images: Path, name: str) -> None:
    """Do what a cluster does: data, weights, a shuffle, pages, a data set."""
    put(lab, "/mammoctl/data/planted.txt", DATA)
    put(lab, "/mammoctl/weights/planted.h5", WEIGHTS)
    lab.on(WORKERS[0], "python3 -", stdin=FETCH)
    job = folder / "shuffle.py"
    job.write_text(JOB)
    done = lab.run("submit", str(job), "--json", timeout=400)
    assert done.json()["job"]["state"] == "succeeded"
    lab.run("data", "push", str(images), "--name", name, "--patient-pattern", r"image(\d+)")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """Return a small labelled set of images, and bytes out of the middle of each.

    They are JPEG files of noise: nothing on the way to the blocks of HDFS makes them smaller, so
    their bytes stay as they are.
    """
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    noise, parts = np.random.default_rng(4711), []
    for number in range(12):
        path = folder / ("benign", "malignant")[number % 2] / f"image{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (256, 256), np.uint8)).save(path, quality=90)
        content = path.read_bytes()
        parts.append(content[len(content) // 2 :][:24])
    return folder, parts


@pytest.fixture(scope="module")
def site(
    cli: Cli, tmp_path_factory: pytest.TempPathFactory, pictures: tuple[Path, list[bytes]]
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("jobs")
    images, parts = pictures
    with own_lab(cli, LAB, SUBNET, "--nodes", "3") as lab:
        status = cli("lab", "status", "--name", LAB, "--json").json()
        outer = {node["name"]: node["address"] for node in status["nodes"]}
        addresses = [*outer.values()]
        lab.run("provision")
        with reading(status["bridge"], addresses, [*WORDS, *parts]) as before:
            work(lab, folder, images, "plain")
        settings(lab, wireguard_enabled=True)
        predicted = lab.run("provision", "--check", "--diff", "--json")
        done = lab.run("provision", "--json")
        with reading(status["bridge"], addresses, [*WORDS, *parts]) as after:
            work(lab, folder, images, "encrypted")
        yield Site(lab, outer, before, predicted, done, after)


def settings(lab: OwnLab, **given: object) -> None:
    """Add variables to the inventory."""
    path = lab.inventory / "group_vars" / "all.yml"
    values = yaml.safe_load(path.read_text()) or {}
    path.write_text(yaml.safe_dump({**values, **given}))


def test_without_it_a_stranger_reads_along(site: Site) -> None:
    """Without this the other test could not fail."""
    assert site.before.found >= IN_CLEAR
    assert SHUFFLE not in site.before.found
    assert len(site.before.found) > len(IN_CLEAR), "no part of an image was seen"
    assert site.before.tcp > 4_000_000
    assert PORT not in site.before.udp


def test_with_it_no_byte_is_in_clear(site: Site) -> None:
    assert site.after.found == set()
    assert site.after.udp[PORT] > 4_000_000, "what went over the wire must have been seen"
    # Nodes say nothing to each other beside it; SSH is left out.
    assert site.after.tcp == 0
    assert site.before.frames > 1000 < site.after.frames


def test_what_would_change_is_told_before(site: Site) -> None:
    foretold, done = (
        {
            (one["host"], one["task"])
            for one in run.json()["changed"]
            if one["task"].startswith(("common :", "guard :", "wireguard :", "spark :"))
        }
        for run in (site.predicted, site.done)
    )
    assert {host for host, _task in done} == set(site.outer)
    assert foretold == done
    assert any("wireguard" in task for _host, task in foretold)


def test_the_cluster_is_verified_and_as_documented(site: Site) -> None:
    site.lab.run("verify", timeout=600)
    site.lab.run("check", "--security")
    site.lab.run("check")


def test_a_second_run_changes_nothing(site: Site) -> None:
    done = site.lab.run("provision", "--json").json()
    assert done["changed"] == []


def test_keys_never_leave_their_node(site: Site) -> None:
    keys = {name: site.lab.on(name, "cat /etc/mammoctl/wireguard.key") for name in site.outer}
    assert len(set(keys.values())) == 3
    logs = [path for path in site.lab.cli.cwd.rglob("*") if path.is_file()]
    for key in keys.values():
        assert len(key) == 44
        assert key not in site.predicted.text + site.done.text
        for path in logs:
            assert key.encode() not in path.read_bytes(), path
    for name, key in keys.items():
        others = [other for other in site.outer if other != name]
        for other in others:
            site.lab.on(other, f"! grep -rqF -e '{key}' /etc /opt/mammoctl/bin /var/lib/mammoctl")


def test_plaintext_finds_no_port(site: Site) -> None:
    """A node that asks another one beside WireGuard is refused, at every port."""
    for port in (8020, 7077, 8080, 9870, 7260):
        ask = f"python3 - {site.outer[MASTER]} {port}"
        assert site.lab.on(WORKERS[0], ask, stdin=CONNECT) != "0", port
    for port in (8020, 7077, 8080):
        ask = f"python3 - {site.inner(MASTER)} {port}"
        assert site.lab.on(WORKERS[0], ask, stdin=CONNECT) == "0", port


def test_it_is_there_again_after_a_boot(site: Site) -> None:
    cli = site.lab.cli
    cli("lab", "stop", WORKERS[0], "--name", LAB)
    cli("lab", "start", WORKERS[0], "--name", LAB)

    def back() -> bool:
        """The node that was restarted is part of the cluster again."""
        return site.lab.run("status", rc=None).rc == 0

    wait_until(back, seconds=240, every=5)
    site.lab.run("verify", timeout=600)


def test_a_program_that_dies_is_started_again(site: Site) -> None:
    if site.lab.on(WORKERS[0], "command -v wireguard-go || true") == "":
        pytest.skip("this kernel has WireGuard of its own: there is no program that could die")
    site.lab.on(WORKERS[0], "systemctl kill -s KILL mammoctl-wireguard")
    wait_until(lambda: up(site, WORKERS[0]), seconds=60)
    site.lab.run("verify", timeout=600)


def up(site: Site, node: str) -> bool:
    return site.lab.on(node, "systemctl is-active mammoctl-wireguard || true") == "active"


def test_a_silent_peer_is_told_with_its_mend(site: Site) -> None:
    site.lab.on(WORKERS[1], "systemctl stop mammoctl-wireguard")
    try:
        done = site.lab.run("check", "--security", "--json", rc=1).json()
        told = [one for one in done["findings"] if one["host"] == WORKERS[1]]
        assert any("WireGuard (mammoctl0) is not up" in one["seen"] for one in told)
        assert all(one["mend"] for one in told)
    finally:
        site.lab.run("start")


def test_a_route_into_its_network_is_found_on_all_hosts_before_anything_is_done(
    site: Site,
) -> None:
    for name in (MASTER, WORKERS[0]):
        site.lab.on(name, "ip route add 172.29.0.0/16 dev eth0")
    try:
        done = site.lab.run("provision", "-e", "wireguard_subnet=172.29.0.0/16", rc=1)
        for name in (MASTER, WORKERS[0]):
            assert f"{name}" in done.text
        assert "routes into 172.29.0.0/16: 172.29.0.0/16 by eth0" in done.text
        assert "Set wireguard_subnet to another private network" in done.text
    finally:
        for name in (MASTER, WORKERS[0]):
            site.lab.on(name, "ip route delete 172.29.0.0/16 dev eth0")


def test_switched_off_it_leaves_nothing_behind(site: Site) -> None:
    """The last one: the cluster is without WireGuard afterwards."""
    settings(site.lab, wireguard_enabled=False)
    site.lab.run("provision")
    left = "ls /etc/mammoctl/wireguard* /etc/systemd/system/mammoctl-wireguard* 2>/dev/null || true"
    for name in site.outer:
        assert site.lab.on(name, left) == ""
        assert site.lab.on(name, "ip link show dev mammoctl0 2>/dev/null || true") == ""
        record: Any = json.loads(site.lab.on(name, "cat /etc/mammoctl/cluster.json"))
        assert record["wireguard"] == ""
        assert record["master"]["address"] == site.outer[MASTER]
    site.lab.run("verify", timeout=600)
