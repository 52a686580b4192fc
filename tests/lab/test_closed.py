"""A closed network: nodes that reach each other alone, installed from a bundle that was carried."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from .command import Cli
from .own_lab import OwnLab, own_lab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

PROJECT = Path(__file__).resolve().parents[1] / "data" / "scala-wordcount"
LAB, SUBNET = "closed", "10.231.17.0/24"
# A proxy that nobody runs: what asked for the internet on the control machine would fail, too.
NOWHERE = "http://127.0.0.1:9"
SYSTEMS = {
    "debian12": ("debian12", ("--python", "3.11", "--packages", "debian12")),
    "debian13": ("debian13", ("--python", "3.13", "--packages", "debian13")),
    "mixed": ("debian12,debian13,debian12", ("--packages", "debian12,debian13")),
}


@dataclass
class Site:
    """The lab, the archive that was carried there, and what provisioning said."""

    lab: OwnLab
    archive: Path
    first: Any

    @property
    def outside(self) -> dict[str, int]:
        """Return the packets that the nodes sent to anybody but each other."""
        status = self.lab.cli("lab", "status", "--name", LAB, "--json").json()
        counted: dict[str, int] = status["outside"]
        return counted


@pytest.fixture(scope="module", params=list(SYSTEMS))
def site(
    request: pytest.FixtureRequest, cli: Cli, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    images, options = SYSTEMS[request.param]
    if "," in images:
        own = request.getfixturevalue("archive")
        options = (*options, "--runtime", "managed", "--interpreter", str(own))
    archive = tmp_path_factory.mktemp("carried") / "site.tar"
    cli("bundle", "create", *options, "--output", str(archive), timeout=1500)
    # Another control machine, whose cache is empty and that has no connection either.
    empty = str(tmp_path_factory.mktemp("cache"))
    closed = {"MAMMOCTL_CACHE_DIR": empty, "HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE}
    with own_lab(cli, LAB, SUBNET, "--nodes", "3", "--image", images, "--closed") as lab:
        there = replace(lab, cli=replace(cli, env={**cli.env, **closed}))
        first = there.run("provision", "--bundle", str(archive), "--json").json()
        yield Site(there, archive, first)


def test_nothing_left_the_nodes_while_they_were_installed(site: Site) -> None:
    assert site.first["changed"]
    assert all(host["failed"] == 0 for host in site.first["hosts"].values())
    assert site.outside == {"forwarded": 0, "control_machine": 0}


def test_what_would_leave_is_counted(site: Site) -> None:
    """Without this the counters could be blind."""
    before = site.outside
    for command in (
        "getent hosts debian.org",
        "timeout 3 bash -c 'exec 3<>/dev/tcp/198.51.100.7/80'",
        "bash -c 'echo time > /dev/udp/198.51.100.7/123'",
        f"timeout 3 bash -c 'exec 3<>/dev/tcp/{SUBNET[:-4]}1/22'",
    ):
        site.lab.on(site.lab.nodes[1], f"{command} 2>/dev/null || true")
        after = site.outside
        assert sum(after.values()) > sum(before.values()), command
        before = after


def test_a_training_job_and_the_checks_ask_nobody(site: Site, synthetic: Path) -> None:
    before = site.outside
    verified = site.lab.run("verify", "--json").json()
    assert verified["ok"], [one for one in verified["checks"] if one["outcome"] != "passed"]
    site.lab.cli("data", "push", str(synthetic), "--name", "small", "-i", LAB, timeout=600)
    fast = ("--backbone", "mobilenet_v2_035", "--weights", "none", "--epochs", "2")
    site.lab.run("submit", "--data", "small", *fast)
    assert site.outside == before


def test_sbt_builds_a_program_and_spark_runs_it(site: Site) -> None:
    before = site.outside
    master = site.lab.nodes[0]
    site.lab.run("cp", str(PROJECT), f"{master}:/home/admin/wordcount")

    def person(line: str) -> str:
        return site.lab.on(master, f"runuser -l admin -c {shlex.quote(line)}")

    person("cd wordcount && sbt -Dsbt.color=false -Dsbt.supershell=false package")
    person("echo the cat and the dog >words.txt && hdfs dfs -put -f words.txt words.txt")
    run = "spark-submit --class WordCount wordcount/target/scala-*/wordcount_*.jar words.txt counts"
    assert "2 the" in person(run).splitlines()
    assert site.outside == before


def test_again_changes_nothing_and_asks_nobody(site: Site) -> None:
    before = site.outside
    again = site.lab.run("provision", "--bundle", site.first["bundle"], "--json").json()
    assert again["changed"] == []
    assert site.outside == before


def test_apt_on_the_nodes_is_as_it_was(site: Site) -> None:
    for node in site.lab.nodes:
        assert "mammoctl" not in site.lab.on(
            node, "cat /etc/apt/sources.list /etc/apt/*.d/* || true"
        )
        assert site.lab.on(node, "ls -d /tmp/mammoctl-apt* || true") == ""
        # Bare nodes have no lists; ours were never among them.
        assert site.lab.on(node, "ls /var/lib/apt/lists | grep -c mammoctl || true") == "0"
        assert site.lab.on(node, "dpkg --audit; apt-get check -qq") == ""


def test_a_package_that_the_bundle_lacks_is_told_before_anything_is_changed(site: Site) -> None:
    before = site.outside
    more = json.dumps({"common_extra_packages": ["tcl"]})
    done = site.lab.run("provision", "--bundle", site.first["bundle"], "-e", more, rc=1)
    for node in site.lab.nodes:
        assert f"{node}" in done.stderr
    assert "the bundle has no tcl for debian" in done.stderr
    assert "mammoctl bundle create --packages debian" in done.stderr
    assert site.outside == before


def test_a_bundle_that_does_not_fit_or_is_damaged_is_refused(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    folder.mkdir()
    cut = folder / "site.tar"
    with site.archive.open("rb") as stream:
        cut.write_bytes(stream.read(300_000_000))
    env = {**site.lab.cli.env, "MAMMOCTL_CACHE_DIR": str(tmp_path / "cache")}
    other = replace(site.lab, cli=replace(site.lab.cli, env=env))
    done = other.run("provision", "--bundle", str(cut), rc=1)
    assert "damaged or missing" in done.stderr and "copy it again" in done.stderr
    record = json.loads(_first(site.archive))
    record["target"]["arch"] = "aarch64"
    strange = tmp_path / "strange"
    (strange / "store").mkdir(parents=True)
    (strange / "bundle.json").write_text(json.dumps(record))
    done = other.run("provision", "--bundle", str(strange), rc=1)
    assert done.stderr.count("x86_64: the bundle is for aarch64") == 3
    assert "nothing has been changed" in done.stderr


def _first(archive: Path) -> str:
    import tarfile

    with tarfile.open(archive) as tar:
        member = tar.next()
        assert member is not None
        stream = tar.extractfile(member)
        assert stream is not None
        return stream.read().decode()
