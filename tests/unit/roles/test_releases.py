"""What each supported release brings, and what the roles make of it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
VERSIONS = yaml.safe_load((ROOT / "playbooks/group_vars/all/versions.yml").read_text())[
    "mammoctl_versions"
]
RELEASES = VERSIONS["releases"]


@pytest.fixture
def java(plugin):
    return plugin("filter", "mammoctl_java")


def host(release, arch="x86_64", **variables):
    return {"mammoctl_release": release, "ansible_facts": {"mammoctl": {"arch": arch}}, **variables}


@pytest.mark.parametrize(
    ("release", "home"),
    [
        ("debian12", "/usr/lib/jvm/java-17-openjdk-amd64"),
        ("debian13", "/usr/lib/jvm/java-21-openjdk-amd64"),
        ("ubuntu22.04", "/usr/lib/jvm/java-17-openjdk-amd64"),
        ("ubuntu24.04", "/usr/lib/jvm/java-21-openjdk-amd64"),
        ("ubuntu26.04", "/usr/lib/jvm/java-21-openjdk-amd64"),
    ],
)
def test_the_java_of_a_release(java, release, home):
    assert java.java_homes({"n": host(release)}, ["n"], RELEASES) == {"n": home}


def test_every_release_is_in_the_test_above_and_has_a_compiler():
    assert list(RELEASES) == ["debian12", "debian13", "ubuntu22.04", "ubuntu24.04", "ubuntu26.04"]
    assert all(entry["java"].endswith("-jdk-headless") for entry in RELEASES.values())


def test_nodes_of_a_mixed_cluster_have_their_own(java):
    hosts = {
        "a": host("debian12"),
        "b": host("debian13", "aarch64"),
        "c": host("debian13", java_package="openjdk-25-jdk-headless"),
        "d": host("debian13", java_home="/opt/jdk"),
    }
    assert java.java_homes(hosts, list(hosts), RELEASES) == {
        "a": "/usr/lib/jvm/java-17-openjdk-amd64",
        "b": "/usr/lib/jvm/java-21-openjdk-arm64",
        "c": "/usr/lib/jvm/java-25-openjdk-amd64",
        "d": "/opt/jdk",
    }


def test_a_package_whose_folder_is_not_known(java):
    with pytest.raises(ValueError, match="set java_home beside java_package"):
        java.java_home("temurin-21-jdk", "x86_64")


def test_a_release_has_a_locked_python_or_gets_the_managed_one():
    minors = VERSIONS["python"]["minors"]
    assert {name: entry["python"] for name, entry in RELEASES.items()} == {
        "debian12": "3.11",
        "debian13": "3.13",
        "ubuntu22.04": None,  # 3.10: PySpark needs 3.11
        "ubuntu24.04": "3.12",
        "ubuntu26.04": None,  # 3.14: no release of TensorFlow yet
    }
    for entry in RELEASES.values():
        assert entry["python"] is None or entry["python"] in minors
    managed = VERSIONS["python"]["managed"]["default"]
    assert managed.rpartition(".")[0] in minors


def test_the_lab_has_an_image_of_each_release():
    from mammoctl.lab.image import IMAGES

    assert set(IMAGES) == set(RELEASES)


def test_what_keeps_a_hosts_clock_right(plugin, monkeypatch, tmp_path):
    facts = plugin("modules", "mammoctl_facts")
    monkeypatch.setattr(facts.os.path, "exists", lambda path: path == "/run/systemd/container")
    assert facts.time_service() == "host"
    monkeypatch.setattr(facts.os.path, "exists", lambda _path: False)
    systemctl = tmp_path / "systemctl"
    systemctl.write_text("#!/bin/sh\necho 'chrony.service loaded active running chrony, an NTP'\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert facts.time_service() == "chrony.service"
    systemctl.write_text("#!/bin/sh\nexit 1\n")
    assert facts.time_service() == ""


HOST_PROGRAMS = sorted(
    path
    for folder in (
        "playbooks/plugins/modules",
        "playbooks/plugins/module_utils",
        "tests/infra/programs",
    )
    for path in (ROOT / folder).glob("*.py")
)
NEWER = re.compile(
    r"\b(file_digest|tomllib|ExceptionGroup|StrEnum|datetime\.UTC|batched)\b|except\*"
)


@pytest.mark.parametrize(
    "path",
    [*HOST_PROGRAMS, *(ROOT / "mammoctl/jobs/remote").glob("*.py")],
    ids=lambda path: path.name,
)
def test_what_runs_on_a_host_is_python_3_10(path):
    """Ubuntu 22.04's own, whatever the cluster runs on."""
    text = path.read_text()
    ast.parse(text, feature_version=(3, 10))
    assert not NEWER.findall(text)
