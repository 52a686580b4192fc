"""A support bundle of a cluster that runs: what it has, what it lacks, nodes that are off."""

from __future__ import annotations

import json
import stat
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from .command import Cli
from .conftest import LAB, NODES, Provisioning, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.slow]

DEFAULTS = "/etc/spark/spark-defaults.conf"
PLANTED = "Zq7planted-in-the-journalZq"


def contents(path: Path) -> dict[str, str]:
    """Return the files of an archive by their path below its one folder."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = {}
    with tarfile.open(path) as tar:
        for member in tar.getmembers():
            stream = tar.extractfile(member)
            assert stream is not None
            found[member.name.partition("/")[2]] = stream.read().decode()
    return found


@pytest.fixture
def secrets(inventory: Path, provisioned: Provisioning, node: Any) -> list[str]:
    """Return every secret of the cluster, one of them said aloud in a journal."""
    found = [
        path.read_text().strip() for path in (inventory / "secrets").iterdir() if path.is_file()
    ]
    # the body of each key: whole lines of it
    keys = [(inventory / "id_ed25519").read_text()]
    keys += [node(NODES[0], "cat /var/lib/mammoctl/home/.ssh/id_ed25519")]
    lines = [line for key in keys for line in key.splitlines() if not line.startswith("-")]
    found += [line for line in lines if len(line) > 20]
    spark = node(NODES[0], f"sed -n 's/^spark.authenticate.secret *//p' {DEFAULTS}")
    assert spark in found
    node(
        NODES[1],
        "systemd-run --quiet --wait --unit=spark-history "
        f"sh -c 'echo secret {spark}, --password {PLANTED}; sleep 1'",
    )
    return [*found, PLANTED]


def test_a_whole_cluster(cli: Cli, secrets: list[str], tmp_path: Path) -> None:
    done = cli("support-bundle", "-i", LAB, "--output", str(tmp_path / "b.tar.gz"), "--json")
    told = done.json()
    assert told["ok"], told
    files = contents(tmp_path / "b.tar.gz")
    assert {one["path"] for one in told["files"]} == set(files)
    whole = "\n".join([*files, *files.values()])
    for secret in secrets:
        assert secret not in whole
    for name in NODES:
        of = {path: text for path, text in files.items() if path.startswith(f"nodes/{name}/")}
        assert "spark.authenticate.secret" in of[f"nodes/{name}/settings{DEFAULTS}"]
        assert "fs.defaultFS" in of[f"nodes/{name}/settings/etc/hadoop/core-site.xml"]
        assert "pyspark==" in of[f"nodes/{name}/packages.txt"]
        assert ":7078" in of[f"nodes/{name}/network.txt"]
        assert "spark-worker.service" in of[f"nodes/{name}/services.txt"]
        assert of[f"nodes/{name}/journal/spark-worker.txt"].strip()
        assert "table inet mammoctl" in of[f"nodes/{name}/guard.txt"]
    said = files[f"nodes/{NODES[1]}/journal/spark-history.txt"]
    assert "secret [removed], --password [removed]" in said
    assert json.loads(files["status.json"])["ok"]
    check = json.loads(files["check.json"])
    assert check["roles_checked"]
    assert all(set(job) >= {"id", "kind", "state"} for job in json.loads(files["jobs.json"]))
    assert any(path.startswith("control/logs/") and "provision" in path for path in files)
    assert not [path for path in files if "ids.csv" in path or "secrets" in path]


def test_names_become_others(cli: Cli, provisioned: Provisioning, tmp_path: Path) -> None:
    cli("support-bundle", "-i", LAB, "--anonymous", "-o", str(tmp_path / "b.tar.gz"))
    files = contents(tmp_path / "b.tar.gz")
    whole = "\n".join([*files, *files.values()])
    for name in (*NODES, LAB, "10.213.7."):
        assert name not in whole, [line for line in whole.splitlines() if name in line][:5]
    assert "spark://node-1:7077" in whole


def test_a_node_that_is_off_is_named_and_the_rest_taken(
    cli: Cli, provisioned: Provisioning, tmp_path: Path
) -> None:
    cli("lab", "stop", NODES[2], "--name", LAB, "--kill")
    try:
        began = time.monotonic()
        done = cli("support-bundle", "-i", LAB, "-o", str(tmp_path / "b.tar.gz"), rc=1)
        assert time.monotonic() - began < 180
        files = contents(tmp_path / "b.tar.gz")
        assert f"- {NODES[2]}: {NODES[2]} (" in files["CONTENTS.md"]
        assert NODES[2] in done.stderr
        assert f"nodes/{NODES[1]}/system.txt" in files
        assert not [path for path in files if path.startswith(f"nodes/{NODES[2]}/")]
    finally:
        cli("lab", "start", NODES[2], "--name", LAB)

    def well() -> bool:
        """The node is part of the cluster again."""
        return bool(cli("status", "-i", LAB, "--json", rc=None).json()["ok"])

    wait_until(well, seconds=180, every=5)
