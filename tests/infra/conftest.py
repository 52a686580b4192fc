"""Checks of a provisioned cluster, over SSH; `mammoctl verify` runs them.

By hand: ``pytest tests/infra --mammoctl-inventory NAME|PATH``. Each check is parametrized over the
nodes that it is about: fixture `node` (all), `worker` (workers) or `master`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import testinfra
from infra_support import Node, become_root
from settle import settle

from mammoctl import become, inventory
from mammoctl.errors import MammoctlError
from mammoctl.inventory import Cluster
from mammoctl.ssh import ssh_config

# The order of the report: from the ground up.
ROLES = ("common", "ssh", "java", "python", "cuda", "guard", "wireguard", "lockdown", "hdfs",
         "spark", "scala", "sbt", "cluster", "history")  # fmt: skip

CLUSTER = pytest.StashKey[Cluster]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mammoctl")
    group.addoption(
        "--mammoctl-inventory", metavar="NAME|PATH", help="inventory of the cluster to check"
    )
    group.addoption(
        "--mammoctl-ssh-config",
        metavar="FILE",
        type=Path,
        help="ssh_config with every host of the inventory; made from the inventory when missing",
    )


def pytest_configure(config: pytest.Config) -> None:
    try:
        config.stash[CLUSTER] = inventory.load(config.getoption("--mammoctl-inventory"))
    except MammoctlError as exc:
        raise pytest.UsageError(f"{exc.message}\nhint: {exc.hint}") from exc


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    cluster = metafunc.config.stash[CLUSTER]
    if "node" in metafunc.fixturenames:
        metafunc.parametrize("node", list(cluster.hosts), indirect=True, scope="session")
    if "worker" in metafunc.fixturenames:
        names = [host.name for host in cluster.workers]
        metafunc.parametrize("worker", names, indirect=True, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        role = item.path.stem.removeprefix("test_")
        return ROLES.index(role) if role in ROLES else len(ROLES)

    items.sort(key=place)  # stable: the order within a file stays


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Cluster:
    return pytestconfig.stash[CLUSTER]


@pytest.fixture(scope="session")
def nodes(cluster: Cluster, pytestconfig: pytest.Config) -> Iterator[dict[str, Node]]:
    """Every node by its name; testinfra shares one SSH connection per host (ControlPath)."""
    given = pytestconfig.getoption("--mammoctl-ssh-config")
    if given:
        yield _nodes(cluster, given)
    else:
        with ssh_config(cluster) as made:
            yield _nodes(cluster, made)


def _nodes(cluster: Cluster, config: Path) -> dict[str, Node]:
    def view(name: str) -> Any:
        sudo = cluster.hosts[name].user != "root"
        host = testinfra.get_host(f"ssh://{name}", ssh_config=str(config), sudo=sudo)
        if sudo:
            exe = str(cluster.hosts[name].vars.get("ansible_become_exe") or "sudo")
            become_root(host.backend, exe, become.password(cluster.hosts[name]))
        return host

    return {name: Node(name, host, cluster, view(name)) for name, host in cluster.hosts.items()}


@pytest.fixture(scope="session")
def node(request: pytest.FixtureRequest, nodes: dict[str, Node]) -> Node:
    return nodes[request.param]


@pytest.fixture(scope="session")
def worker(request: pytest.FixtureRequest, nodes: dict[str, Node]) -> Node:
    return nodes[request.param]


@pytest.fixture(scope="session")
def master(nodes: dict[str, Node], cluster: Cluster) -> Node:
    return nodes[cluster.master.name]


@pytest.fixture(scope="session", autouse=True)
def background(
    request: pytest.FixtureRequest, nodes: dict[str, Node], master: Node
) -> Iterator[dict[str, Future[Any]]]:
    """Start what takes long, if a chosen check needs it, while the quick checks run.

    After a reboot the services are given time to find each other before anything is judged.
    The imports run on all nodes at once, the job after them: side by side they would only share
    the processors. Keys: ``imports NAME`` and ``job``.
    """
    from test_cluster import run_job
    from test_python import import_all

    needed = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    with ThreadPoolExecutor(max_workers=max(4, len(nodes))) as pool:
        started: dict[str, Future[Any]] = {}
        if "imports" in needed:
            for name, node in nodes.items():
                started[f"imports {name}"] = pool.submit(import_all, node)
        if {"job", "state", "namenode"} & needed:
            settle(nodes.values(), master)
        if "job" in needed:
            started["job"] = pool.submit(run_job, master)
        yield started
