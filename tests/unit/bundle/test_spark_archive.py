"""Spark out of a tarball: only the official one, and only of the environment's version."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from mammoctl.bundle import download, parts, spark_archive, versions
from mammoctl.bundle.model import Target
from mammoctl.bundle.process import Runner
from mammoctl.bundle.sources import Sources
from mammoctl.bundle.store import Store
from mammoctl.errors import BundleError, UsageError

VERSION = versions.load()["spark"]["default"]


def tarball(path: Path, *names: str) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(f"spark-x-bin-hadoop3/{name}"), io.BytesIO())
    return path


@pytest.fixture
def spark(tmp_path: Path) -> Path:
    core = f"jars/spark-core_2.13-{VERSION}.jar"
    return tarball(tmp_path / "spark.tgz", "bin/spark-class", core)


def _target(sha512: str, url: str = "") -> Target:
    return Target("3.11", "x86_64", ("cpu",), Sources(spark_sha512=sha512, spark_url=url))


def test_a_file_of_this_machine_enters_the_store_and_stays(store: Store, spark: Path) -> None:
    sha512 = spark_archive.adopt(store, spark)
    assert sha512 == hashlib.sha512(spark.read_bytes()).hexdigest()
    stored = spark_archive.stored(store, _target(sha512))
    assert stored is not None
    assert stored.path.read_bytes() == spark.read_bytes()
    assert spark_archive.adopt(store, spark, sha512) == sha512


def test_by_default_spark_is_what_pyspark_brings() -> None:
    assert spark_archive.variants(Target("3.11", "x86_64")) == ()
    assert spark_archive in parts.wanted(_target("a" * 128))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("jars/spark-core_2.13-3.5.1.jar",), f"holds Spark 3.5.1; .* has {VERSION}"),
        (("bin/spark-class",), "no distribution of Spark"),
    ],
)
def test_another_spark_is_refused(
    store: Store, tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        spark_archive.adopt(store, tarball(tmp_path / "other.tgz", *names))
    assert VERSION in caught.value.hint


def test_what_is_no_tarball_or_not_there_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "page.tgz").write_text("<html>not found</html>")
    with pytest.raises(UsageError, match="cannot be read as a tarball"):
        spark_archive.adopt(store, tmp_path / "page.tgz")
    with pytest.raises(UsageError, match="there is no tarball"):
        spark_archive.adopt(store, tmp_path / "none.tgz")


def test_another_sum_is_refused(store: Store, spark: Path) -> None:
    with pytest.raises(UsageError, match="does not have the sha512"):
        spark_archive.adopt(store, spark, "0" * 128)


def _download(
    store: Store, spark: Path, sha512: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    def fetch(url: str, path: Path, *, size: int | None, progress: bool) -> None:
        assert url == "https://mirror/spark.tgz"
        path.write_bytes(spark.read_bytes())

    monkeypatch.setattr(download, "download", fetch)
    folder.mkdir()
    job = spark_archive.job(store, _target(sha512, "https://mirror/spark.tgz"))
    job.work(folder, Runner())


def test_a_download_is_compared_with_its_sum(
    store: Store, spark: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good = spark_archive.sha512_of(spark)
    with pytest.raises(BundleError, match="does not have the sha512"):
        _download(store, spark, "0" * 128, monkeypatch, tmp_path / "one")
    assert spark_archive.stored(store, _target("0" * 128)) is None
    with store.writing():
        _download(store, spark, good, monkeypatch, tmp_path / "two")
    assert spark_archive.stored(store, _target(good)) is not None


def test_a_file_that_the_store_lost_is_asked_for_again(store: Store) -> None:
    with pytest.raises(BundleError, match="is not in") as caught:
        spark_archive.job(store, _target("a" * 128))
    assert "spark_archive" in caught.value.hint
