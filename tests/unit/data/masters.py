"""Masters that are this machine, and what they have told about their cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mammoctl.cluster import ClusterFile
from mammoctl.errors import RemoteError
from mammoctl.ssh import Result


class Local:
    """Runs on this machine what `Nodes` would run on the master."""

    def __init__(self, folder: Path) -> None:
        self.cluster = SimpleNamespace(
            name="here", vars={}, path=folder, master=SimpleNamespace(name="master")
        )
        self.lines: list[str] = []

    def run(
        self,
        host: str,
        command: str | list[str],
        *,
        sudo: Any = False,
        input: bytes | None = None,
        check: bool = True,
    ) -> Result:
        argv = ["sh", "-c", command] if isinstance(command, str) else command
        self.lines.append(command if isinstance(command, str) else " ".join(command))
        done = subprocess.run(argv, input=input or b"", capture_output=True, check=False)
        out, err = done.stdout.decode(), done.stderr.decode()
        if check and done.returncode:
            raise RemoteError(err)
        return Result(host, str(command), out, err, done.returncode)

    def stream(
        self, host: str, line: str, source: Iterable[bytes], *, sudo: Any, check: bool
    ) -> Result:
        return self.run(host, line, input=b"".join(source), check=check)

    def secret(self, _host: Any, _sudo: bool) -> bytes:
        """Return no password."""
        return b""

    def openssh(self, _host: Any, argv: list[str], sudo: bool, _options: list[str]) -> list[str]:
        """Return what would be run on the master."""
        assert sudo
        return argv

    def put(self, host: str, source: bytes, target: str, *, sudo: Any, mode: int) -> None:
        Path(target).write_bytes(source)
        Path(target).chmod(mode)


def described(folder: Path) -> ClusterFile:
    """Return what the master of a cluster tells whose storage is a folder here."""
    root = f"file://{folder}/storage"
    paths = {
        name: f"{root}/{name}" for name in ("data", "features", "weights", "results", "events")
    }
    record = {
        "schema": 1,
        "cluster": "here",
        "master": {"host": "master", "address": "127.0.0.1", "url": "spark://x:7077", "ui_port": 1},
        "workers": {"master": {"address": "127.0.0.1", "cores": 2, "memory_mb": 1024}},
        "storage": {"kind": "local", "uri": root},
        "paths": paths,
        **dict.fromkeys(("python", "python_version", "spark_home", "spark_version"), "x"),
        **dict.fromkeys(("java_home", "bundle"), "x"),
        "executor": {"cores": 2, "memory_mb": 512},
    }
    return ClusterFile.model_validate(record)


def on_hdfs(deployment: ClusterFile) -> ClusterFile:
    storage = deployment.storage.model_copy(update={"kind": "hdfs"})
    return deployment.model_copy(update={"storage": storage})
