"""Fetch from Maven repositories with Maven's own client: mirrors and proxies keep working."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from mammoctl.bundle.clients import client_error
from mammoctl.bundle.fetch import Job
from mammoctl.bundle.process import Runner
from mammoctl.bundle.store import Store
from mammoctl.errors import BundleError

_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
 <modelVersion>4.0.0</modelVersion>
 <groupId>mammoctl</groupId><artifactId>bundle</artifactId><version>1</version>
 <packaging>pom</packaging>
 <build><plugins><plugin>
  <groupId>org.apache.maven.plugins</groupId><artifactId>maven-dependency-plugin</artifactId>
  <configuration><artifactItems>
{items}
  </artifactItems></configuration>
 </plugin></plugins></build>
</project>
"""


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
    mvn = None if mine.is_file() else program(relative.name)

    def work(folder: Path, runner: Runner) -> None:
        local = folder / "done" / relative.name
        local.parent.mkdir()
        if mvn is None:
            shutil.copyfile(mine, local)
        else:
            repository = get(mvn, f"{artifact}:{version}", folder, runner)
            (repository / relative).replace(local)
        store.add(local, sha256)

    return Job(title=relative.name, size=size, work=work)


def get(mvn: str, artifact: str, folder: Path, runner: Runner) -> Path:
    """Fetch one artifact without what it depends on; return the local repository that has it.

    Args:
        mvn: Maven (:func:`program`).
        artifact: ``group:name:version``; the version ``RELEASE`` is the newest one.
        folder: a folder of this job's own.
        runner: runs it.

    Raises:
        BundleError: it cannot be fetched.
    """
    repository = folder / "repository"
    argv = [mvn, "--batch-mode", "--quiet", f"{_PLUGIN}:get", f"-Dartifact={artifact}"]
    argv += ["-Dtransitive=false", f"-Dmaven.repo.local={repository}"]
    code, output = runner.run(argv, cwd=folder)
    if code:
        raise client_error(f"download {artifact} with mvn", output)
    return repository


def fetch_files(mvn: str, names: Sequence[str], folder: Path, runner: Runner) -> Path:
    """Fetch many files with one run of Maven; return the local repository that has them.

    Args:
        mvn: Maven (:func:`program`).
        names: paths in a Maven repository, such as ``org/x/y/1.0/y-1.0.pom``.
        folder: a folder of this job's own.
        runner: runs it.

    Raises:
        BundleError: not all of them can be fetched.
    """
    repository, pom = folder / "repository", folder / "pom.xml"
    pom.write_text(_POM.format(items="\n".join(_item(name) for name in names)))
    argv = [mvn, "--batch-mode", "--quiet", "--file", str(pom), f"{_PLUGIN}:copy"]
    argv += [f"-Dmaven.repo.local={repository}", f"-DoutputDirectory={folder / 'copies'}"]
    argv += ["-Dmdep.useSubDirectoryPerArtifact=true"]
    code, output = runner.run(argv, cwd=folder)
    if code:
        raise client_error(f"download {len(names)} files with mvn", output)
    missing = [name for name in names if not (repository / name).is_file()]
    if missing:
        raise BundleError(f"mvn did not fetch {', '.join(missing[:5])}")
    return repository


def coordinates(name: str) -> tuple[str, str, str, str, str]:
    """Return group, name, version, classifier and type of a path in a Maven repository."""
    *group, artifact, version, file = name.split("/")
    stem, _, kind = file.removeprefix(f"{artifact}-{version}").rpartition(".")
    return ".".join(group), artifact, version, stem.removeprefix("-"), kind


def program(what: str) -> str:
    """Return Maven's path.

    Args:
        what: what it is needed for, to say so.

    Raises:
        BundleError: it is not installed.
    """
    found = shutil.which("mvn")
    if found is None:
        raise BundleError(
            f"mvn is needed to fetch {what} and is not installed",
            hint="sudo apt-get install --no-install-recommends maven",
        )
    return found


def _item(name: str) -> str:
    group, artifact, version, classifier, kind = coordinates(name)
    fields = {"groupId": group, "artifactId": artifact, "version": version, "type": kind}
    if classifier:
        fields["classifier"] = classifier
    inner = "".join(f"<{tag}>{escape(value)}</{tag}>" for tag, value in fields.items())
    return f"   <artifactItem>{inner}</artifactItem>"
