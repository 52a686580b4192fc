"""Pin anew what has no lock of packages: Spark, HDFS, sbt. For the project's own maintainers.

Registries are asked with their ordinary clients; what is found is written to ``versions.yml`` and
``locks/sbt.json`` with its checksums. Spark follows the locked ``pyspark``; HDFS and Scala follow
the jars inside it; sbt is the newest of its major version.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mammoctl import console
from mammoctl.bundle import locks, maven, pyspark, sbt_repository, versions
from mammoctl.bundle.clients import client_error
from mammoctl.bundle.locks import Pin
from mammoctl.bundle.process import Runner
from mammoctl.bundle.repin import repin
from mammoctl.bundle.store import Store, sha256_of
from mammoctl.errors import BundleError

_BUILD = 'scalaVersion := "{scala}"\n'
_PROGRAM = "object Skeleton { def main(a: Array[String]): Unit = println(a.length) }\n"


def refresh(pinned: Path, folder: Path) -> dict[str, str]:
    """Rewrite ``versions.yml`` and the lock of sbt; return the versions that are pinned now.

    Args:
        pinned: ``versions.yml``.
        folder: the folder of the locks.

    Raises:
        BundleError: something cannot be fetched, or PySpark has not been built here yet.
    """
    have, text = versions.load(), pinned.read_text()
    spark = _spark_pin()
    jars = _jars(spark)
    scala = jar_version(jars, "scala-library")
    text = repin(text, "spark", spark.version, sha256=spark.sha256, scala=scala)
    found = {"spark": spark.version, "scala": scala}
    mvn = maven.program("the newest versions")
    with tempfile.TemporaryDirectory() as scratch:
        hadoop = jar_version(jars, "hadoop-client-api")
        jar = _fetch(mvn, have["hdfs"]["artifact"], hadoop, Path(scratch, "hdfs"))
        text = repin(text, "hdfs", hadoop, sha256=sha256_of(jar), size=jar.stat().st_size)
        artifact = have["sbt"]["artifact"]
        sbt = _newest(mvn, artifact, have["sbt"]["default"], Path(scratch, "newest"))
        launcher = _fetch(mvn, artifact, sbt, Path(scratch, "sbt"))
        text = repin(text, "sbt", sbt, sha256=sha256_of(launcher), size=launcher.stat().st_size)
        console.note(f"running sbt {sbt} once, to see what it needs for Scala {scala}")
        files = sbt_files(launcher, sbt, scala, Path(scratch, "run"))
    pinned.write_text(text)
    (folder / sbt_repository.LOCK).write_text(json.dumps(files, indent=1, sort_keys=True) + "\n")
    return found | {"hdfs": hadoop, "sbt": sbt}


def jar_version(names: Iterable[str], jar: str) -> str:
    """Return the version of ``jar`` among names like ``pyspark/jars/NAME-VERSION.jar``.

    Raises:
        BundleError: it is not among them.
    """
    pattern = re.compile(rf"pyspark/jars/{re.escape(jar)}-(\d[^/]*)\.jar")
    found = next((match[1] for match in map(pattern.fullmatch, names) if match), None)
    if found is None:
        raise BundleError(f"PySpark's wheel has no {jar}")
    return found


def newest(metadata: str, present: str) -> str:
    """Return the newest release in a ``maven-metadata.xml`` with the major version of ``present``.

    Raises:
        BundleError: there is none.
    """
    listed = [str(e.text) for e in ET.fromstring(metadata).iterfind(".//version")]  # noqa: S314
    major = present.partition(".")[0]
    releases = [v for v in listed if re.fullmatch(rf"{major}(\.\d+)+", v)]
    if not releases:
        raise BundleError(f"the repository lists no release {major}.x")
    return max(releases, key=lambda v: tuple(int(part) for part in v.split(".")))


def sbt_files(launcher: Path, sbt: str, scala: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Build a skeleton with nothing cached; return what sbt fetched, as ``locks/sbt.json`` has it.

    Args:
        launcher: sbt's launcher.
        sbt: the version of sbt.
        scala: the version of Scala to compile with.
        folder: an empty folder to be made for it.

    Raises:
        BundleError: the build failed.
    """
    project, cache = folder / "project", folder / "coursier"
    (project / "project").mkdir(parents=True)
    (project / "src" / "main" / "scala").mkdir(parents=True)
    (project / "project" / "build.properties").write_text(f"sbt.version={sbt}\n")
    (project / "build.sbt").write_text(_BUILD.format(scala=scala))
    (project / "src" / "main" / "scala" / "Skeleton.scala").write_text(_PROGRAM)
    (folder / "repositories").write_text("[repositories]\n  maven-central\n")
    options = {
        "boot.directory": folder / "boot", "coursier.home": cache, "ivy.home": folder / "ivy",
        "global.base": folder / "global", "repository.config": folder / "repositories",
        "color": "false", "supershell": "false",
    }  # fmt: skip
    java = shutil.which("java")
    if java is None:
        raise BundleError("java is needed to run sbt", hint="sudo apt-get install default-jdk")
    argv = [java, *(f"-Dsbt.{name}={value}" for name, value in options.items())]
    code, output = Runner().run([*argv, "-jar", str(launcher), "package"], cwd=project)
    if code:
        raise client_error(f"build the skeleton with sbt {sbt}", output)
    return listing(cache, f"org/scala-sbt/sbt/{sbt}/sbt-{sbt}.pom")


def listing(cache: Path, known: str) -> dict[str, dict[str, Any]]:
    """Return ``{path: {sha256, size}}`` of the jars and POMs in the repository that has ``known``.

    Raises:
        BundleError: there is no such repository.
    """
    first = next(cache.rglob(known), None)
    if first is None:
        raise BundleError(f"sbt fetched no {known}")
    root = first.parents[known.count("/")]
    files = (p for p in root.rglob("*") if p.suffix in (".jar", ".pom") and p.name[0] != ".")
    return {
        str(path.relative_to(root)): {"sha256": sha256_of(path), "size": path.stat().st_size}
        for path in sorted(files)
    }


def _spark_pin() -> Pin:
    pins = locks.read(versions.python_minors()[0], "x86_64", "cpu")
    return next(pin for pin in pins if pin.name == "pyspark")


def _jars(spark: Pin) -> list[str]:
    pins = locks.read(versions.python_minors()[0], "x86_64", "cpu")
    wheel = Store().derived(pyspark.derivation(spark, pins))
    if wheel is None:
        raise BundleError(
            f"PySpark {spark.version} has not been built here; its jars tell the other versions",
            hint="run `mammoctl bundle create` first",
        )
    with zipfile.ZipFile(wheel.path) as archive:
        return archive.namelist()


def _fetch(mvn: str, artifact: str, version: str, folder: Path) -> Path:
    folder.mkdir()
    console.note(f"fetching {artifact} {version}")
    group, name = artifact.split(":")
    repository = maven.get(mvn, f"{artifact}:{version}", folder, Runner())
    return Path(repository, *group.split("."), name, version, f"{name}-{version}.jar")


def _newest(mvn: str, artifact: str, present: str, folder: Path) -> str:
    """Return the newest version that both the launcher and sbt itself have."""
    folder.mkdir()
    group, name = artifact.split(":")
    known = []
    for each in (name, "sbt"):
        repository = maven.get(mvn, f"{group}:{each}:RELEASE", folder, Runner())
        where = Path(repository, *group.split("."), each)
        text = next(where.glob("maven-metadata-*.xml")).read_text()
        listed = {str(e.text) for e in ET.fromstring(text).iterfind(".//version")}  # noqa: S314
        known.append(listed)
    both = "".join(f"<version>{v}</version>" for v in known[0] & known[1])
    return newest(f"<metadata>{both}</metadata>", present)
