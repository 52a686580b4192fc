"""Fetch a jar with Maven's own client, so that the user's mirrors and proxies keep working."""

from __future__ import annotations

import shutil
from pathlib import Path

from mammoctl.bundle.clients import client_error
from mammoctl.bundle.fetch import Job
from mammoctl.bundle.process import Runner
from mammoctl.bundle.store import Store
from mammoctl.errors import BundleError

_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:get"


def jar_job(store: Store, artifact: str, version: str, sha256: str, size: int) -> Job:
    """Return the job that puts one jar into the store.

    Args:
        store: where to.
        artifact: ``group:name``.
        version: its version.
        sha256: its pinned checksum.
        size: bytes.

    Raises:
        BundleError: Maven is not installed.
    """
    group, name = artifact.split(":")
    relative = Path(*group.split("."), name, version, f"{name}-{version}.jar")

    mine = Path.home() / ".m2" / "repository" / relative
    # Asked for before anything is downloaded, not after a gigabyte.
    mvn = None if mine.is_file() else _mvn(relative.name)

    def work(folder: Path, runner: Runner) -> None:
        local = folder / "done" / relative.name
        local.parent.mkdir()
        if mvn is None:
            shutil.copyfile(mine, local)
        else:
            repository = folder / "repository"
            argv = [mvn, "--batch-mode", "--quiet", _PLUGIN, f"-Dartifact={artifact}:{version}"]
            argv += ["-Dtransitive=false", f"-Dmaven.repo.local={repository}"]
            code, output = runner.run(argv, cwd=folder)
            if code:
                raise client_error(f"download {relative.name} with mvn", output)
            (repository / relative).replace(local)
        store.add(local, sha256)

    return Job(title=relative.name, size=size, work=work)


def _mvn(file: str) -> str:
    program = shutil.which("mvn")
    if program is None:
        raise BundleError(
            f"mvn is needed to fetch {file} and is not installed",
            hint="sudo apt-get install --no-install-recommends maven",
        )
    return program
