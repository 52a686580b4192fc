"""What an inventory says about sources, and how a wrong word in it is told."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from mammoctl import sourcing
from mammoctl.bundle import extra_locks, hdfs, spark_archive, versions
from mammoctl.bundle.model import Artifact, Bundle, Target
from mammoctl.bundle.sources import Sources
from mammoctl.bundle.store import Store
from mammoctl.errors import UsageError
from mammoctl.inventory import Cluster, Host

SHA512 = "ab" * 64


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAMMOCTL_CACHE_DIR", str(tmp_path / "cache"))


def cluster(path: Path, first: dict[str, Any], second: dict[str, Any] | None = None) -> Cluster:
    one = Host("a", "10.0.0.1", vars=first)
    two = Host("b", "10.0.0.2", vars=first if second is None else second)
    return Cluster("c", path, path / "hosts.yml", {"a": one, "b": two}, one, [one, two], one.vars)


def test_nothing_said_is_the_default(tmp_path: Path) -> None:
    assert sourcing.sources(cluster(tmp_path, {}), {}) == Sources()


def test_spark_from_apache_needs_its_sum(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="spark_archive_sha512 is not set") as caught:
        sourcing.sources(cluster(tmp_path, {"spark_source": "archive"}), {})
    assert f"{spark_archive.upstream()}.sha512" in caught.value.hint
    given = {"spark_source": "archive", "spark_archive_sha512": SHA512.upper()}
    found = sourcing.sources(cluster(tmp_path, given), {})
    assert (found.spark_url, found.spark_sha512) == (spark_archive.upstream(), SHA512)
    mirror = {"spark_archive_url": "https://mirror/spark.tgz"}
    assert (
        sourcing.sources(cluster(tmp_path, given), mirror).spark_url == "https://mirror/spark.tgz"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"spark_source": "apt"}, "spark_source is 'apt'"),
        ({"hdfs_source": "apt"}, "hdfs_source is 'apt'"),
        ({"spark_source": "file"}, "spark_archive is not set"),
        ({"hdfs_source": "file"}, "hdfs_jar is not set"),
        ({"spark_source": "archive", "spark_archive_sha512": "12"}, "is not a sha512"),
        ({"spark_source": "file", "spark_archive": "none.tgz"}, "no tarball of Spark at"),
        ({"python_extra_packages": "xgboost"}, "is not a list"),
        ({"python_extra_packages": ["xgboost"]}, "there are no locks in"),
    ],
)
def test_what_will_not_do_is_told_with_its_mend(
    tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        sourcing.sources(cluster(tmp_path, given), {})
    assert caught.value.hint


def test_hosts_that_differ_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="spark_source differs between hosts"):
        sourcing.sources(cluster(tmp_path, {"spark_source": "file"}, {}), {})


def test_sbts_own_parts_are_left_out_where_no_host_wants_them(tmp_path: Path) -> None:
    off, on = {"sbt_cache": False}, {"sbt_cache": True}
    assert not sourcing.sources(cluster(tmp_path, off), {}).sbt_repository
    assert sourcing.sources(cluster(tmp_path, off, on), {}).sbt_repository
    assert not sourcing.sources(cluster(tmp_path, on), {"sbt_cache": "false"}).sbt_repository


def test_the_clusters_own_locks_are_beside_its_inventory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(extra_locks, "require_current", lambda *args: asked.append(args))
    found = sourcing.sources(cluster(tmp_path, {"python_extra_packages": ["xgboost"]}), {})
    assert found.python_locks == str(tmp_path / "locks")
    assert asked == [(tmp_path / "locks", ["xgboost"])]


def test_hdfs_from_a_file_is_the_pinned_jar_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jar = tmp_path / "hdfs.jar"
    jar.write_text("jar")
    given = {"hdfs_source": "file", "hdfs_jar": "hdfs.jar"}
    with pytest.raises(UsageError, match="is not the pinned hadoop-client-minicluster"):
        sourcing.sources(cluster(tmp_path, given), {})
    pinned = {"default": "3", "artifact": "org:hdfs", "size": {"3": 3}}
    pinned["sha256"] = {"3": hashlib.sha256(b"jar").hexdigest()}
    monkeypatch.setattr(versions, "load", lambda: {"hdfs": pinned})
    sourcing.sources(cluster(tmp_path, given), {})
    stored = hdfs.stored(Store(), Target("3.11", "x86_64"))
    assert stored is not None
    assert stored.name == "hdfs-3.jar"
    assert jar.exists()


def test_packages_in_the_bundle_are_asked_for_with_what_the_inventory_adds(tmp_path: Path) -> None:
    said = {
        "common_packages_source": "bundle",
        "common_extra_packages": ["systemd-timesyncd"],
        "java_package": "openjdk-21-jdk",
        "guard_packages": ["nftables"],
    }
    found = sourcing.sources(cluster(tmp_path, said, {"common_packages_source": "apt"}), {})
    assert found.packages == ("hosts",)
    assert found.packages_extra == ("openjdk-21-jdk", "systemd-timesyncd")
    assert sourcing.sources(cluster(tmp_path, {"java_package": "x"}), {}) == Sources()
    with pytest.raises(UsageError, match="common_packages_source is 'mirror'"):
        sourcing.sources(cluster(tmp_path, {"common_packages_source": "mirror"}), {})
    with pytest.raises(UsageError, match="common_extra_packages is not a list"):
        sourcing.sources(cluster(tmp_path, {**said, "common_extra_packages": {"a": 1}}), {})


def test_a_bundle_that_is_there_must_have_what_the_inventory_chooses(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    text = store.add_text("numpy==2 --hash=sha256:1\nscikit-image==1 --hash=sha256:2\n", "r.txt")
    where = text.name, text.sha256, text.size, text.relative
    file = Artifact("requirements", *where, ("cpu",))
    target = Target("3.11", "x86_64")
    bundle = Bundle("0123", tmp_path, store.root, target, {"cpu": file}, (file,))
    said = {"python_extra_packages": ["Scikit_Image>=1"]}
    sourcing.require_brought(cluster(tmp_path, said), {}, bundle)
    said = {"python_extra_packages": ["xgboost"], "spark_source": "archive"}
    with pytest.raises(UsageError, match="lacks what the inventory asks for") as caught:
        sourcing.require_brought(cluster(tmp_path, said), {}, bundle)
    assert caught.value.details == [
        "Spark's tarball (spark_source is archive)",
        "xgboost for cpu (python_extra_packages)",
    ]
    # by where it lies: `c` is what it calls itself
    assert caught.value.hint.endswith(f"bundle create -i {tmp_path / 'hosts.yml'}")
