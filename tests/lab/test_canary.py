"""A cluster's secrets are nowhere but where docs/security.md says, whatever a user has done."""

from __future__ import annotations

import base64
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from .own_lab import OwnLab

pytestmark = [pytest.mark.lab, pytest.mark.slow]

SETTINGS = "/etc/spark/spark-defaults.conf"
KEY = "/var/lib/mammoctl/home/.ssh/id_ed25519"
# What holds programs and packages, and is the same on every cluster.
LEFT_OUT = ("proc", "sys", "dev", "usr", "store", "env", "envs", "python", "site-packages")
JOB = """
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
print("the count is", spark.range(3000, numPartitions=3).distinct().count())
"""


def secrets_of(lab: OwnLab) -> dict[str, str]:
    """Return every secret of the cluster by a name, as they are at this moment."""
    found = {path.name: path.read_text().strip() for path in (lab.inventory / "secrets").iterdir()}
    found["the master's key"] = middle_of_key(lab.on(lab.nodes[0], f"cat {KEY}"))
    found["the login's key"] = middle_of_key((lab.inventory / "id_ed25519").read_text())
    assert len(found) >= 3
    assert all(len(secret) >= 20 for secret in found.values()), "too short to be looked for"
    return found


def middle_of_key(text: str) -> str:
    """Return a line of a private key which only that key has."""
    return text.strip().splitlines()[-3]


def forms(secret: str) -> list[bytes]:
    """Return how a secret can be written: plain, in hexadecimal digits, in base 64."""
    plain = secret.encode()
    return [plain, plain.hex().encode(), base64.b64encode(plain)[: len(plain)]]


class Arguments:
    """The arguments of every process of this machine and of the nodes, each seen once."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self.looks = 0
        self._over = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.2):
            self.looks += 1
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes())
                except OSError:
                    continue


def words_of(words: list[bytes]) -> str:
    """Return the words as grep reads them from standard input."""
    return b"\n".join(words).decode() + "\n"


def files_with(lab: OwnLab, node: str, words: list[bytes]) -> set[str]:
    """Return the files of a node that have any of the words, which travel on standard input."""
    left_out = " ".join(f"--exclude-dir={name}" for name in LEFT_OUT)
    found = lab.on(
        node,
        f"grep -rlaF {left_out} -f - /etc /home /opt /root /run /srv /tmp /var 2>/dev/null || true",
        stdin=words_of(words),
    )
    return set(found.splitlines())


def do_everything(lab: OwnLab, synthetic: Path, folder: Path) -> str:
    """Use the cluster as its users do, with all told that can be told; return what was said."""
    job = folder / "job.py"
    job.write_text(JOB)
    rotate = ("secrets", "rotate", "-i", lab.name)
    said = lab.cli(*rotate, "--yes", "--verbose", timeout=900).text
    # The file with the secret is laid down anew.
    lab.on(lab.nodes[1], f"rm {SETTINGS}")
    said += lab.run("plan", "--diff").text
    said += lab.run("provision", "--yes", "--diff", "--verbose").text
    said += lab.run("verify", "--verbose").text
    push = ("data", "push", str(synthetic), "--name", "small", "--verbose")
    said += lab.cli(*push, "-i", lab.name, timeout=600).text
    fast = ("--backbone", "mobilenet_v2_035", "--weights", "none", "--epochs", "2")
    said += lab.run("submit", "--data", "small", "--verbose", *fast).text
    said += lab.run("submit", str(job), "--", "an argument").text
    said += lab.run("status", "--json").text
    said += lab.run("check", "--security", "--json", rc=None).text
    said += lab.run("logs", "--since", "1 hour ago").text
    said += lab.run("submit", str(folder / "nothing.py"), rc=None).text
    return said + lab.run("support-bundle", "--output", str(folder / "support.tar.gz")).text


def test_secrets_stay_where_they_belong(
    own_cluster: OwnLab, synthetic: Path, tmp_path: Path
) -> None:
    logs = tmp_path / "logs"
    env = {**own_cluster.cli.env, "MAMMOCTL_LOG_DIR": str(logs)}
    lab = replace(own_cluster, cli=replace(own_cluster.cli, env=env))
    master = lab.nodes[0]
    before = secrets_of(lab)
    arguments = Arguments()
    with arguments.watched():
        said = do_everything(lab, synthetic, tmp_path)
    secrets = secrets_of(lab) | {f"{name} of before": value for name, value in before.items()}
    assert secrets["spark_auth_secret"] != secrets["spark_auth_secret of before"]
    words = sorted({form for secret in secrets.values() for form in forms(secret)})

    def in_clear(data: bytes) -> list[str]:
        return [
            name for name, secret in secrets.items() if any(word in data for word in forms(secret))
        ]

    assert arguments.looks > 100
    assert any(b"org.apache.spark.deploy" in one for one in arguments.seen)
    assert in_clear(b"\n".join(arguments.seen)) == []
    assert "changed" in said
    assert in_clear(said.encode()) == []

    assert any(logs.iterdir())
    kept = [path for folder in (logs, lab.inventory) for path in folder.rglob("*")]
    private = {lab.inventory / "id_ed25519", *(lab.inventory / "secrets").iterdir()}
    assert {one for one in kept if one.is_file() and in_clear(one.read_bytes())} == private
    assert all(path.stat().st_mode & 0o077 == 0 for path in private)
    unpack = ["tar", "--extract", "--to-stdout", "--file", tmp_path / "support.tar.gz"]
    collected = subprocess.run(unpack, capture_output=True, check=True).stdout
    assert b"spark-worker" in collected
    assert in_clear(collected) == []

    for node in lab.nodes:
        belongs = {SETTINGS, KEY} if node == master else {SETTINGS}
        assert files_with(lab, node, words) == belongs
        assert lab.on(node, f"stat -c '%a %U:%G' {SETTINGS}") == "640 root:spark"
        journal = lab.on(node, "journalctl --no-pager -o export --since '-1 hour'")
        assert in_clear(journal.encode()) == []
    assert lab.on(master, f"stat -c %a {KEY}") == "600"
    hdfs = "/opt/mammoctl/bin/hdfs dfs"
    everything = (
        f"{hdfs} -ls -R -C / | grep -v '^/mammoctl/features' | xargs {hdfs} -cat 2>/dev/null"
    )
    found = f"{everything} | grep -caF -f /root/words || true"
    lab.on(master, "cat > /root/words", stdin=words_of(words))
    assert lab.on(master, f"{everything} | wc -c") != "0"
    assert lab.on(master, found) == "0"
