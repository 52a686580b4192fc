"""The locks and the pinned versions in the project, and how a lock is read."""

from __future__ import annotations

import re

import pytest

from mammoctl.bundle import locks, versions
from mammoctl.bundle.locks import Pin
from mammoctl.errors import BundleError, UsageError

_SUM = "a" * 64
_TARGETS = [
    (python, arch, variant)
    for python in ("3.11", "3.12", "3.13")
    for arch, variant in (("x86_64", "cpu"), ("x86_64", "gpu"), ("aarch64", "cpu"))
]


def _read(target: tuple[str, str, str]) -> dict[str, Pin]:
    return {pin.name: pin for pin in locks.read(*target)}


def test_there_is_one_lock_per_target_and_no_other() -> None:
    expected = {locks.lock_name(*target) for target in _TARGETS}
    assert {path.name for path in locks.folder().glob("node-py*")} == expected
    assert versions.python_minors() == ["3.11", "3.12", "3.13"]


@pytest.mark.parametrize("target", _TARGETS, ids="-".join)
def test_a_lock_pins_one_file_each_and_names_no_index(target: tuple[str, str, str]) -> None:
    text = (locks.folder() / locks.lock_name(*target)).read_text()
    assert "://" not in text
    assert not re.search(r"(?m)^\s*-", text.replace("    --hash", ""))
    pins = locks.read(*target)
    assert text.count("--hash=sha256:") == len(pins) == text.count("==")
    assert all(pin.size > 0 for pin in pins)
    assert [pin.name for pin in pins if pin.is_source] == ["pyspark"]


@pytest.mark.parametrize("target", _TARGETS, ids="-".join)
def test_targets_differ_in_tensorflow_and_cuda_alone(target: tuple[str, str, str]) -> None:
    base = {n: p.version for n, p in _read(("3.11", "x86_64", "cpu")).items()}
    other = {n: p.version for n, p in _read(target).items()}
    differing = set(base.items()) ^ set(other.items())
    assert {n for n, _ in differing if not n.startswith("nvidia-")} <= {
        "tensorflow",
        "tensorflow-cpu",
    }
    has_cuda = any(name.startswith("nvidia-cudnn") for name in other)
    assert has_cuda == (target[2] == "gpu")
    assert ("tensorflow-cpu" in other) == (target[1:] == ("x86_64", "cpu"))


@pytest.mark.parametrize("target", _TARGETS, ids="-".join)
def test_the_pinned_wheels_fit_the_target(target: tuple[str, str, str]) -> None:
    from packaging.utils import parse_wheel_filename

    from mammoctl.bundle.relock import tags

    accepted = set(tags(*target[:2]))
    for pin in locks.read(*target):
        if not pin.is_source:
            name, version, _, offered = parse_wheel_filename(pin.file)
            assert (name, str(version)) == (pin.name, pin.version)
            assert offered & accepted, pin.file


def test_direct_requirements_are_in_every_lock() -> None:
    direct = re.findall(r"(?m)^([a-z0-9-]+)", (locks.folder() / "node.in").read_text())
    for target in _TARGETS:
        names = {name.removesuffix("-cpu") for name in _read(target)}
        assert set(direct) <= names


def test_versions_agree_with_the_locks() -> None:
    pinned = versions.load()
    spark = _read(_TARGETS[0])["pyspark"]
    assert pinned["spark"]["default"] == spark.version
    assert pinned["spark"]["sha256"][spark.version] == spark.sha256
    for part in ("spark", "hdfs", "sbt"):
        assert pinned[part]["default"] in pinned[part]["sha256"]


def test_releases_say_what_they_bring() -> None:
    debian = versions.release("debian12")
    assert debian is not None
    assert (debian.python, debian.java) == ("3.11", "openjdk-17-jdk-headless")
    assert versions.release("ubuntu22.04") is not None
    assert versions.release("fedora40") is None
    for name, entry in versions.load()["releases"].items():
        assert entry["python"] in [*versions.python_minors(), None], name


@pytest.mark.parametrize(
    "line",
    [
        "numpy>=2",
        "numpy==2.0",
        f"numpy==2.0 --hash=sha256:{_SUM} --hash=sha256:{'b' * 64}",
        f"numpy==2.0 --hash=sha256:{'c' * 64}",
        "--index-url https://example.org/simple",
        f"numpy @ https://example.org/numpy.whl --hash=sha256:{_SUM}",
        f"numpy==2.0 ; python_version > '3' --hash=sha256:{_SUM}",
    ],
)
def test_anything_but_one_pinned_file_is_refused(line: str) -> None:
    with pytest.raises(BundleError, match="not one pinned file"):
        locks.parse(line, {_SUM: ("numpy.whl", 1), "b" * 64: ("x.whl", 1)}, "lock")


def test_a_lock_is_read() -> None:
    text = f"# note\n\ntensorflow[and-cuda]==2.21.0 \\\n    --hash=sha256:{_SUM}\n"
    assert locks.parse(text, {_SUM: ("tf.whl", 7)}, "lock") == [
        Pin("tensorflow", "2.21.0", _SUM, "tf.whl", 7)
    ]


def test_an_unknown_target_names_those_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        locks.read("3.9", "x86_64", "cpu")
    assert "py3.11-x86_64-cpu" in caught.value.hint
