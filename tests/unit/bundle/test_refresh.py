"""Pinning anew: the newest of a major version, and a file of versions that keeps its comments."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from mammoctl.bundle import refresh, versions
from mammoctl.bundle.repin import repin
from mammoctl.errors import BundleError

TEXT = versions.path().read_text()
SUM = "b" * 64


def pinned(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)["mammoctl_versions"]
    return found


def comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.lstrip().startswith("#")]


@pytest.mark.parametrize(
    ("part", "more", "expected"),
    [
        ("spark", {"scala": "2.14.1"}, {"scala": "2.14.1", "sha256": {"99.1": SUM}}),
        ("hdfs", {"size": 7}, {"size": {"99.1": 7}, "sha256": {"99.1": SUM}}),
        ("sbt", {"size": 7}, {"size": {"99.1": 7}, "sha256": {"99.1": SUM}}),
    ],
)  # fmt: skip
def test_a_part_is_pinned_anew_and_nothing_else_changes(
    part: str, more: dict[str, Any], expected: dict[str, Any]
) -> None:
    after = repin(TEXT, part, "99.1", **({"sha256": SUM} | more))
    before = pinned(TEXT)
    assert pinned(after) == before | {part: before[part] | {"default": "99.1"} | expected}
    assert comments(after) == comments(TEXT)
    back = before[part]
    version = back["default"]
    again = {"sha256": back["sha256"][version]}
    again |= {"size": back["size"][version]} if "size" in more else {}
    again |= {"scala": back["scala"]} if "scala" in more else {}
    assert repin(after, part, version, **again) == TEXT


def test_a_file_of_another_form_is_refused() -> None:
    with pytest.raises(BundleError, match="no part `sbt`"):
        repin("mammoctl_versions:\n", "sbt", "1", sha256=SUM)
    with pytest.raises(BundleError, match="no `size` in its part `spark`"):
        repin(TEXT, "spark", "1", sha256=SUM, size=3)


def test_the_newest_of_the_same_major_version() -> None:
    listed = ("1.9.9", "1.10.2", "1.11.0-RC1", "2.0.1", "0.13.18")
    metadata = "".join(f"<version>{v}</version>" for v in listed)
    assert refresh.newest(f"<metadata>{metadata}</metadata>", "1.8.0") == "1.10.2"
    with pytest.raises(BundleError, match=r"no release 3\.x"):
        refresh.newest("<metadata/>", "3.1")


def test_versions_follow_the_jars_inside_spark() -> None:
    names = ["pyspark/jars/scala-library-2.13.18.jar", "pyspark/jars/scala-library.txt"]
    assert refresh.jar_version(names, "scala-library") == "2.13.18"
    with pytest.raises(BundleError, match="no hadoop-client-api"):
        refresh.jar_version(names, "hadoop-client-api")


def test_what_sbt_fetched_becomes_its_lock(tmp_path: Path) -> None:
    known = "org/scala-sbt/sbt/1.0/sbt-1.0.pom"
    root = tmp_path / "cache" / "https" / "a.mirror" / "some" / "maven2"
    for name in (known, "a/b/1/b-1.jar", "a/b/1/.b-1.jar.checked", "a/b/1/b-1.jar.sha1"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    found = refresh.listing(tmp_path, known)
    assert list(found) == ["a/b/1/b-1.jar", known]
    assert found["a/b/1/b-1.jar"] == {
        "sha256": hashlib.sha256(b"a/b/1/b-1.jar").hexdigest(),
        "size": 13,
    }
    with pytest.raises(BundleError, match="fetched no x"):
        refresh.listing(tmp_path, "x/y.pom")
