"""A team's own packages join the environment's lock; they never lie beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mammoctl.bundle import extra_locks, locks, relock
from mammoctl.errors import BundleError, UsageError


def _package(name: str, version: str) -> dict[str, Any]:
    file = f"{name}-{version}-py3-none-any.whl"
    sha256 = f"{abs(hash(file)):064x}"[-64:]
    return {
        "name": name,
        "version": version,
        "wheels": [{"url": f"https://x/{file}", "hashes": {"sha256": sha256}, "size": 7}],
    }


class Resolver:
    """Stands in for uv: the base's package in its locked version, and what is added."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, str]] = []
        self.without: set[str] = set()

    def __call__(
        self, source: Path, python: str, arch: str, constraints: Path | None, folder: Path
    ) -> list[dict[str, Any]]:
        fixed = constraints.read_text() if constraints else ""
        self.asked.append((python, arch, source.read_text(), fixed))
        if arch in self.without:
            raise BundleError(f"no wheel for {arch}", details=["because extra has none"])
        return [_package("numpy", "2.0"), _package("extra", "5")]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Resolver:
    base = tmp_path / "base"
    base.mkdir()
    (base / "node.in").write_text("numpy\n")
    (base / locks.FILES).write_text("{}")
    for target in relock.targets():
        text = f"numpy==2.0 \\\n    --hash=sha256:{'a' * 64}\n"
        (base / locks.lock_name(*target)).write_text(text)
    found = Resolver()
    monkeypatch.setattr(locks, "folder", lambda: base)
    monkeypatch.setattr(relock, "_compile", found)
    monkeypatch.setattr(extra_locks.console, "note", lambda message: None)
    monkeypatch.setattr(extra_locks.console, "warn", lambda message: None)
    return found


def test_they_are_resolved_with_the_environment_whose_versions_stay(
    resolver: Resolver, tmp_path: Path
) -> None:
    folder = tmp_path / "inventory" / "locks"
    written = extra_locks.make(folder, ["extra>=4"])
    assert len(written) == len(resolver.asked) == len(list(relock.targets()))
    assert all("numpy\n" in direct and "extra>=4\n" in direct for _, _, direct, _ in resolver.asked)
    assert {fixed for *_, fixed in resolver.asked} == {"numpy==2.0\n"}
    pins = locks.read("3.11", "x86_64", "cpu", folder)
    assert [(pin.name, pin.version, pin.size) for pin in pins] == [
        ("extra", "5", 7),
        ("numpy", "2.0", 7),
    ]
    extra_locks.require_current(folder, ["extra>=4"])


def test_a_target_without_a_wheel_is_left_out(resolver: Resolver, tmp_path: Path) -> None:
    resolver.without = {"aarch64"}
    written = extra_locks.make(tmp_path / "locks", ["extra"])
    assert written
    assert not any("aarch64" in path.name for path in written)
    with pytest.raises(UsageError, match=r"no locked environment for Python 3\.11 on aarch64"):
        locks.read("3.11", "aarch64", "cpu", tmp_path / "locks")


def test_what_cannot_be_resolved_anywhere_is_an_error_with_its_reason(
    resolver: Resolver, tmp_path: Path
) -> None:
    resolver.without = {"aarch64", "x86_64"}
    with pytest.raises(BundleError, match="extra cannot be resolved together") as caught:
        extra_locks.make(tmp_path / "locks", ["extra"])
    assert caught.value.details == ["because extra has none"]
    assert not (tmp_path / "locks").exists()


def test_outdated_locks_are_refused(resolver: Resolver, tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    with pytest.raises(UsageError, match="there are no locks in"):
        extra_locks.require_current(folder, ["extra"])
    extra_locks.make(folder, ["extra"])
    with pytest.raises(UsageError, match="are for extra, the inventory wants extra, other"):
        extra_locks.require_current(folder, ["extra", "other"])
    base = locks.folder() / locks.lock_name("3.11", "x86_64", "cpu")
    base.write_text(base.read_text().replace("2.0", "2.1"))
    with pytest.raises(UsageError, match="another version of mammoctl"):
        extra_locks.require_current(folder, ["extra"])
    (folder / "extra.json").write_text(json.dumps([]))
    with pytest.raises(UsageError, match="cannot read"):
        extra_locks.require_current(folder, ["extra"])
