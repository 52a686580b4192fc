"""A second operator with a key and a folder of their own: in, at work, and out again."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mammoctl import paths

from .command import Cli
from .conftest import LAB, NODES, Provisioning

pytestmark = [pytest.mark.lab, pytest.mark.slow]

KEYS = "/home/admin/.ssh/authorized_keys"
PROGRAM = """
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
print("the sum is", spark.sparkContext.parallelize(range(100), 3).sum())
"""


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "maria"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.fixture
def maria(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A machine of her own: another home, without an agent, and an empty folder."""
    home = tmp_path / "home"
    (home / "work").mkdir(parents=True)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    # The bundle is the one that is here: fetching it again is not what is tested.
    env = {"HOME": str(home), "MAMMOCTL_CACHE_DIR": str(paths.cache_dir())}
    return Cli(home / "work", cli.env | env)


def keys_of(node: Any) -> dict[str, str]:
    return {name: node(name, f"cat {KEYS}; stat -c '%a %U' {KEYS}") for name in NODES}


@pytest.mark.usefixtures("provisioned")
def test_in_at_work_and_out_again(
    cli: Cli, node: Any, key: Path, maria: Cli, tmp_path: Path
) -> None:
    before = keys_of(node)
    handed = tmp_path / "maria.access"
    cli("access", "grant", "maria", "-i", LAB, "--key", f"{key}.pub", "--output", str(handed))
    try:
        assert handed.stat().st_mode & 0o777 == 0o600
        ours = cli.cwd / "inventory" / LAB / "id_ed25519"
        assert ours.read_bytes() not in handed.read_bytes()
        (one,) = cli("access", "list", "-i", LAB, "--json").json()["access"]
        assert (one["name"], sorted(one["nodes"]), one["missing"]) == ("maria", list(NODES), [])

        done = maria("access", "accept", str(handed), "--key", str(key), "--json").json()
        assert sorted(done["reached"]) == list(NODES)
        assert not (maria.cwd / "inventory" / LAB / "id_ed25519").exists()
        assert maria("status", "-i", LAB, "--json").json()["ok"]
        program = tmp_path / "sum.py"
        program.write_text(PROGRAM)
        assert "the sum is 4950" in maria("submit", str(program), "-i", LAB, timeout=300).text
        # With the same secrets there is nothing to change for her, either.
        assert maria("provision", "-i", LAB, "--json", timeout=600).json()["changed"] == []
    finally:
        out = cli("access", "revoke", "maria", "-i", LAB, "--yes")
    assert "secrets rotate" in out.stderr
    assert keys_of(node) == before
    refused = maria("status", "-i", LAB, rc=1)
    assert "does not let in" in refused.text
    assert cli("status", "-i", LAB, "--json").json()["ok"]


def test_a_node_that_was_off_is_told_and_gone_on_with(
    provisioned: Provisioning, cli: Cli, node: Any, key: Path
) -> None:
    before = keys_of(node)
    cli("access", "grant", "maria", "-i", LAB, "--key", f"{key}.pub")
    cli("lab", "stop", NODES[2], "--name", LAB, "--kill")
    try:
        left = cli("access", "revoke", "maria", "-i", LAB, "--yes", rc=1)
        assert f"still to be done on {NODES[2]}" in left.stderr
    finally:
        cli("lab", "start", NODES[2], "--name", LAB)
    (one,) = cli("access", "list", "-i", LAB, "--json").json()["access"]
    assert one["nodes"] == [NODES[2]]
    cli("access", "revoke", "maria", "-i", LAB, "--yes")
    assert cli("access", "list", "-i", LAB, "--json").json()["access"] == []
    assert keys_of(node) == before
    assert "no access" in cli("access", "revoke", "maria", "-i", LAB, "--yes", rc=2).stderr


def test_foreign_lines_stay(provisioned: Provisioning, cli: Cli, node: Any, key: Path) -> None:
    """The administrator's own line with the same key is told of, and not removed."""
    foreign = Path(f"{key}.pub").read_text().strip()
    node(NODES[1], f"cp -p {KEYS} /root/keys; echo '# mine' >> {KEYS}; echo '{foreign}' >> {KEYS}")
    try:
        with_it = keys_of(node)
        told = cli("access", "grant", "maria", "-i", LAB, "--key", f"{key}.pub").stderr
        assert "not mammoctl's" in " ".join(told.split())
        cli("access", "revoke", "maria", "-i", LAB, "--yes")
        assert keys_of(node) == with_it
    finally:
        node(NODES[1], f"cp -p /root/keys {KEYS}; rm /root/keys")


def test_a_private_key_is_not_taken(
    provisioned: Provisioning, cli: Cli, node: Any, key: Path
) -> None:
    before = keys_of(node)
    copy = key.with_name("copy.pub")
    shutil.copy(key, copy)
    refused = cli("access", "grant", "maria", "-i", LAB, "--key", str(copy), rc=2)
    assert "is a private key" in refused.stderr
    assert keys_of(node) == before
