"""Everything from where a site wants it: tarball, jar, mirror, proxy and packages of its own."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from mammoctl.bundle import versions
from mammoctl.bundle.store import Store

from .command import Cli
from .own_lab import OwnLab, own_lab
from .package_server import package_server

pytestmark = [pytest.mark.lab, pytest.mark.slow]

LAB, SUBNET = "mmsource", "10.213.14.0/24"
GATEWAY = "10.213.14.1"
# Pure Python, small, and needed by nothing of the project.
EXTRA = "tabulate"
MARK = "# Of this test:\n"
DISTRIBUTION = ("bin", "sbin", "jars", "data", "licenses")


@pytest.fixture(scope="module")
def bare(cli: Cli) -> Iterator[OwnLab]:
    with own_lab(cli, LAB, SUBNET, "--nodes", "2") as lab:
        yield lab


@pytest.fixture(scope="module")
def tarball(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pack Spark as Apache does, out of the engine inside the pinned ``pyspark``."""
    cli("bundle", "create", timeout=900)
    wheel = next(Store().root.glob("*/pyspark-*.whl"))
    folder = tmp_path_factory.mktemp("tarball")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder)  # noqa: S202  its checksum is pinned
    name = f"spark-{versions.load()['spark']['default']}-bin-hadoop3"
    for program in (*(folder / "pyspark/bin").iterdir(), *(folder / "pyspark/sbin").iterdir()):
        program.chmod(0o755)
    target = folder / f"{name}.tgz"
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        for part in DISTRIBUTION:
            if (folder / "pyspark" / part).is_dir():
                archive.add(folder / "pyspark" / part, f"{name}/{part}")
    return target


def settings(lab: OwnLab, **values: object) -> None:
    """Let the lab's inventory say ``values`` for all hosts beside what it says by itself."""
    path = lab.inventory / "group_vars" / "all.yml"
    own = path.read_text().partition(MARK)[0]
    path.write_text(own + MARK + (yaml.safe_dump(values) if values else ""))


def test_a_site_with_sources_of_its_own(bare: OwnLab, tarball: Path) -> None:
    one, two = bare.nodes
    upstream = bare.on(
        one,
        "sed -n 's|^URIs: *||p; s|^deb [^h]*\\(http[^ ]*\\).*|\\1|p'"
        " /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -1",
    )
    jar = next(Store().root.glob("*/hadoop-client-minicluster-*.jar"))
    with package_server(GATEWAY, upstream) as server:
        settings(
            bare,
            spark_source="file",
            spark_archive=str(tarball),
            hdfs_source="file",
            hdfs_jar=str(jar),
            common_apt_proxy=server.url,
            python_extra_packages=[EXTRA],
        )
        refused = bare.run("provision", rc=2)
        assert "mammoctl bundle lock" in refused.stderr
        bare.cli("bundle", "lock", "-i", bare.name, timeout=900)
        first = bare.run("provision", "--json").json()
        assert all(h["failed"] == h["unreachable"] == 0 for h in first["hosts"].values())
        assert any("/openjdk-" in url for url in server.proxied), server.proxied[:20]
        assert not server.mirrored
        for node in bare.nodes:
            home = bare.on(node, "readlink -f /opt/spark")
            assert home.startswith("/opt/mammoctl/spark/"), home
            python = "/opt/mammoctl/env/bin/python"
            assert bare.on(node, f"{python} -c 'import {EXTRA}; print({EXTRA}.__name__)'") == EXTRA
        assert bare.run("verify", "--json").json()["ok"]
        assert bare.run("provision", "--json").json()["changed"] == []

        # Another site, or a change of mind: a mirror for the proxy, all else as by default.
        settings(bare, common_apt_mirror=f"{server.url}/")
        bare.run("provision", "--json")
        for node in bare.nodes:
            assert "90mammoctl" not in bare.on(node, "ls /etc/apt/apt.conf.d")
            assert bare.on(node, "readlink -f /opt/spark").endswith("/site-packages/pyspark")
            bare.on(node, "apt-get -q update")
        assert any("InRelease" in path for path in server.mirrored), server.mirrored
        assert bare.run("verify", "--json").json()["ok"]
        assert bare.run("provision", "--json").json()["changed"] == []

    # What is taken out of the inventory is taken off the nodes: the server has gone, apt works.
    settings(bare)
    bare.run("provision", "--json")
    assert bare.on(two, "ls /etc/apt/sources.list.d | grep mammoctl", rc=1) == ""
    bare.on(two, "apt-get -q update")
