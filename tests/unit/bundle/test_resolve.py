"""Making a bundle: what is missing is fetched, what is there is only looked up."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from mammoctl.bundle import (
    Target,
    ensure_bundle,
    environment,
    fetch,
    locks,
    maven,
    resolve,
    sbt_repository,
    versions,
)
from mammoctl.bundle.locks import Pin
from mammoctl.bundle.model import Artifact, content_key, from_json
from mammoctl.bundle.process import Runner
from mammoctl.bundle.sources import Sources
from mammoctl.bundle.store import Store, Stored
from mammoctl.errors import BundleError, Interrupted, UsageError


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _wheel(name: str) -> Pin:
    return Pin(name, "1", _sum(name), f"{name}-1-py3-none-any.whl", 10)


_SPARK = Pin("pyspark", "4", _sum("spark source"), "pyspark-4.tar.gz", 50)
_TOOLS = [_wheel("setuptools"), _wheel("wheel")]
_LOCKS = {
    "cpu": [_wheel("numpy"), _SPARK, *_TOOLS, _wheel("tensorflow-cpu")],
    "gpu": [_wheel("numpy"), _SPARK, *_TOOLS, _wheel("tensorflow"), _wheel("nvidia-cudnn")],
}


class Internet:
    """Stands in for pip and mvn; counts what was asked of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.fail: BaseException | None = None
        monkeypatch.setattr(fetch, "wheel_job", self._wheels)
        monkeypatch.setattr(maven, "jar_job", self._jar)
        monkeypatch.setattr(sbt_repository, "job", self._repository)
        monkeypatch.setattr(resolve.pyspark, "build_job", self._build)
        monkeypatch.setattr(environment, "job", self._environment)
        monkeypatch.setattr(locks, "read", lambda python, arch, variant, where: _LOCKS[variant])
        pinned: dict[str, Any] = {
            "python": {"minors": ["3.11"]},
            "hdfs": {
                "default": "3",
                "artifact": "org:hdfs",
                "sha256": {"3": _sum("jar")},
                "size": {"3": 3},
            },
            "sbt": {
                "default": "1",
                "artifact": "org:sbt",
                "sha256": {"1": _sum("launcher")},
                "size": {"1": 8},
            },
        }
        monkeypatch.setattr(versions, "load", lambda: pinned)

    def _wheels(self, store: Store, pins: list[Pin], python: str, arch: str) -> fetch.Job:
        def work(folder: Path, runner: Runner) -> None:
            for pin in pins:
                self.asked.append(pin.name)
                if self.fail is not None and pin.name == "numpy":
                    raise self.fail
                path = folder / pin.file
                path.write_text(pin.name)
                store.add(path, pin.sha256)

        return fetch.Job(title="wheels", size=1, work=work)

    def _jar(self, store: Store, artifact: str, *args: object) -> fetch.Job:
        text = {"org:hdfs": "jar", "org:sbt": "launcher"}[artifact]
        return self._text(store, artifact.removeprefix("org:"), text, None)

    def _repository(self, store: Store, target: Target) -> fetch.Job:
        return self._text(store, "sbt-repository", "tar", sbt_repository.derivation())

    def _build(self, store: Store, source: Pin, pins: list[Pin]) -> fetch.Job:
        assert all(store.get(tool.sha256) for tool in _TOOLS)
        return self._text(store, "pyspark", "built", resolve.pyspark.derivation(source, pins))

    def _environment(
        self, store: Store, target: Target, variant: str, pinned: Stored, wheels: list[Stored]
    ) -> fetch.Job:
        names = sorted(wheel.path.read_text() for wheel in wheels)
        assert len(names) == len(_LOCKS[variant])
        key = environment._key(target, pinned)
        return self._text(store, f"environment-{variant}", " ".join(names), key)

    def _text(self, store: Store, name: str, text: str, key: str | None) -> fetch.Job:
        def work(folder: Path, runner: Runner) -> None:
            self.asked.append(name)
            path = folder / f"{name}.file"
            path.write_text(text)
            _ = store.add_derived(key, path) if key else store.add(path, _sum(text))

        return fetch.Job(title=name, size=1, work=work)


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Internet:
    return Internet(monkeypatch)


def _make(store: Store, *variants: str) -> Any:
    return ensure_bundle(Target("3.11", "x86_64", variants), progress=False, store=store)


def test_a_bundle_has_everything_and_its_requirements_pin_it(
    store: Store, internet: Internet
) -> None:
    bundle = _make(store, "cpu")
    assert sorted(internet.asked) == [
        "environment-cpu", "hdfs", "numpy", "pyspark", "sbt", "sbt-repository", "setuptools",
        "tensorflow-cpu", "wheel",
    ]  # fmt: skip
    record = json.loads(bundle.path.read_text())
    assert record["schema"] == 1
    assert record["key"] == bundle.key == bundle.path.parent.name
    assert record["target"] == {"python": "3.11", "arch": "x86_64", "variants": ["cpu"]}
    kinds = [file["kind"] for file in record["files"]]
    assert sorted(kinds) == ["environment", "hdfs", "requirements", "sbt", "sbt-repository"]
    for file in record["files"]:
        path = Path(record["store"]) / file["path"]
        assert path.stat().st_size == file["size"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
        assert file["path"] == f"{file['sha256']}/{file['name']}"
    (packed,) = (file for file in bundle.files if file.kind == "environment")
    assert (store.root / packed.path).read_text() == "built numpy setuptools tensorflow-cpu wheel"
    pinned = (store.root / record["requirements"]["cpu"]["path"]).read_text()
    assert f"pyspark==4 --hash=sha256:{_sum('built')}\n" in pinned
    assert f"numpy==1 --hash=sha256:{_sum('numpy')}\n" in pinned
    assert from_json(bundle.path) == bundle


def test_the_second_time_nothing_is_asked_for(store: Store, internet: Internet) -> None:
    first = _make(store, "cpu")
    internet.asked.clear()
    changed = first.path.stat().st_mtime_ns
    assert _make(store, "cpu") == first
    assert internet.asked == []
    assert first.path.stat().st_mtime_ns == changed


def test_a_damaged_file_is_fetched_again_alone(store: Store, internet: Internet) -> None:
    first = _make(store, "cpu")
    internet.asked.clear()
    (store.root / _sum("numpy") / _wheel("numpy").file).write_text("damage")
    assert _make(store, "cpu").key == first.key
    assert internet.asked == ["numpy"]


def test_an_environment_that_is_lost_is_packed_again_alone(
    store: Store, internet: Internet
) -> None:
    first = _make(store, "cpu")
    internet.asked.clear()
    (packed,) = (file for file in first.files if file.kind == "environment")
    (store.root / packed.path).unlink()
    assert _make(store, "cpu") == first
    assert internet.asked == ["environment-cpu"]


def test_another_variant_fetches_only_the_difference(store: Store, internet: Internet) -> None:
    cpu = _make(store, "cpu")
    internet.asked.clear()
    both = _make(store, "gpu", "cpu")
    assert sorted(internet.asked) == ["environment-gpu", "nvidia-cudnn", "tensorflow"]
    assert both.key != cpu.key
    assert both.target.variants == ("cpu", "gpu")
    variants = {file.name: file.variants for file in both.files}
    assert variants["hdfs.file"] == ("cpu", "gpu")
    assert variants["environment-cpu.file"] == ("cpu",)
    assert variants["environment-gpu.file"] == ("gpu",)
    assert set(both.requirements) == {"cpu", "gpu"}


def test_an_interrupted_run_keeps_what_it_has(store: Store, internet: Internet) -> None:
    internet.fail = KeyboardInterrupt()
    with pytest.raises(Interrupted) as caught:
        _make(store, "cpu")
    assert caught.value.exit_code == 130
    assert not (store.root / ".tmp").exists()
    internet.fail, internet.asked = None, []
    _make(store, "cpu")
    assert "setuptools" not in internet.asked
    assert "numpy" in internet.asked


def test_a_failure_is_passed_on(store: Store, internet: Internet) -> None:
    internet.fail = BundleError("no network")
    with pytest.raises(BundleError, match="no network"):
        _make(store, "cpu")


def test_a_full_disk_is_explained(store: Store, internet: Internet) -> None:
    internet.fail = OSError(28, os.strerror(28))
    with pytest.raises(BundleError, match="No space left"):
        _make(store, "cpu")


def test_too_little_space_is_found_before_anything_is_fetched(
    store: Store, internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(BundleError, match="not enough space"):
        _make(store, "cpu")
    assert internet.asked == []


@pytest.mark.parametrize(
    ("python", "arch", "variants", "message"),
    [
        ("3.10", "x86_64", ["cpu"], "Python 3.10 is not supported"),
        ("3.11", "riscv64", ["cpu"], "unsupported architecture"),
        ("3.11", "x86_64", ["tpu"], "unknown variant"),
        ("3.11", "x86_64", [], "unknown variant"),
    ],
)
def test_unusable_targets_are_refused(
    python: str, arch: str, variants: list[str], message: str, store: Store
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        ensure_bundle(Target(python, arch, tuple(variants)), store=store)
    assert caught.value.hint


def test_the_key_names_the_content() -> None:
    one = Artifact("wheel", "a", "1", 1, "1/a", ("cpu",))
    two = Artifact("wheel", "b", "2", 1, "2/b", ("cpu",))
    assert content_key([one, two]) == content_key([two, one])
    assert content_key([one]) != content_key([one, two])
    assert len(content_key([one])) == 16


def test_a_record_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    for text in ("", "{}", '{"schema": 2}', "[]"):
        path.write_text(text)
        with pytest.raises(UsageError, match=r"cannot read the bundle's record"):
            from_json(path)


def test_debian_packages_are_a_part_of_their_releases_and_of_the_key(
    store: Store, internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: dict[str, tuple[Any, list[Any]]] = {}

    def job(into: Store, _target: Target, release: str, mirrors: object) -> fetch.Job:
        def work(folder: Path, runner: Runner) -> None:
            internet.asked.append(f"{release} from {mirrors}")
            own = into.add_text(f"{release} {len(internet.asked)}", f"java_{release}.deb")
            shared = into.add_text("the same for all", "ca_1_all.deb")
            known[release] = (into.add_text(f"index {own.sha256}", "Packages"), [own, shared])

        return fetch.Job(title=release, size=1, work=work)

    monkeypatch.setattr(resolve.debian, "job", job)
    monkeypatch.setattr(resolve.debian, "files", lambda _s, _t, release: known.get(release))
    plain = _make(store, "cpu")
    target = Target("3.11", "x86_64", ("cpu",), Sources(packages=("debian12", "debian13")))
    bundle = ensure_bundle(target, progress=False, store=store, mirrors={"debian": "m"})
    assert {"debian12 from {'debian': 'm'}", "debian13 from {'debian': 'm'}"} <= set(internet.asked)
    assert bundle.key != plain.key
    of = {file.name: file.releases for file in bundle.files if file.kind == "package"}
    assert of == {
        "ca_1_all.deb": ("debian12", "debian13"),
        "java_debian12.deb": ("debian12",),
        "java_debian13.deb": ("debian13",),
    }
    assert from_json(bundle.path).files == bundle.files
    assert all("releases" not in file for file in json.loads(plain.path.read_text())["files"])
    before = list(internet.asked)
    again = ensure_bundle(target, progress=False, store=store)
    assert again.key == bundle.key and internet.asked == before
    anew = ensure_bundle(target, progress=False, store=store, update_packages=True)
    assert anew.key != bundle.key and len(internet.asked) == len(before) + 2


def test_a_record_that_cannot_be_read_hides_no_other(
    store: Store, internet: Internet, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = _make(store, "cpu")
    other = bundle.path.parent.with_name("f" * 16) / "bundle.json"
    other.parent.mkdir()
    other.write_text(json.dumps({"schema": 99}))
    assert resolve.recorded() == [bundle]
    assert "f" * 16 in capsys.readouterr().err.replace("\n", "")
    with pytest.raises(UsageError, match="cannot read"):
        resolve.recorded("f" * 16)
