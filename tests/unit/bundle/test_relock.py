"""Choosing the one file that a lock pins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mammoctl.bundle import relock
from mammoctl.bundle.relock import choose, platforms, ranks
from mammoctl.errors import BundleError


def _package(*wheels: str, sdist: str = "") -> dict[str, Any]:
    def entry(name: str) -> dict[str, Any]:
        return {"url": f"https://index.example/x/{name}", "hashes": {"sha256": name[::-1]}}

    package: dict[str, Any] = {"name": "a", "version": "1", "wheels": [entry(w) for w in wheels]}
    return package | ({"sdist": entry(sdist)} if sdist else {})


def _chosen(package: dict[str, Any], python: str = "3.11", arch: str = "x86_64") -> str:
    return choose(package, ranks(python, arch))[0]


@pytest.mark.parametrize(
    ("wheels", "best"),
    [
        (["a-1-py3-none-any.whl", "a-1-cp311-cp311-manylinux_2_17_x86_64.whl"], 1),
        (
            [
                "a-1-cp311-cp311-manylinux_2_28_x86_64.whl",
                "a-1-cp311-cp311-manylinux_2_17_x86_64.whl",
            ],
            0,
        ),
        (["a-1-cp37-abi3-manylinux2014_x86_64.whl", "a-1-py3-none-any.whl"], 0),
        (["a-1-cp312-cp312-manylinux2014_x86_64.whl", "a-1-py2.py3-none-any.whl"], 1),
        (["a-1-py3-none-manylinux_2_39_x86_64.whl", "a-1-py3-none-any.whl"], 1),
        (["a-1-py3-none-musllinux_1_2_x86_64.whl", "a-1-py3-none-any.whl"], 1),
        (["a-1-py3-none-manylinux2014_aarch64.whl", "a-1-py3-none-any.whl"], 1),
    ],
)
def test_the_best_wheel_that_fits_is_chosen(wheels: list[str], best: int) -> None:
    assert _chosen(_package(*wheels)) == wheels[best]
    assert _chosen(_package(*reversed(wheels))) == wheels[best]


def test_the_source_is_taken_only_where_there_are_no_wheels() -> None:
    assert _chosen(_package(sdist="a-1.tar.gz")) == "a-1.tar.gz"
    with pytest.raises(BundleError, match="a 1 has no file"):
        _chosen(_package("a-1-cp312-cp312-win_amd64.whl", sdist="a-1.tar.gz"))


def test_platforms_go_from_new_to_old() -> None:
    names = platforms("aarch64")
    assert names[0] == "manylinux_2_34_aarch64"
    assert "manylinux_2_17_aarch64" in names
    assert "manylinux2014_aarch64" in names


def test_locks_are_written_for_all_targets_with_the_same_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, str]] = []

    def compile_(
        source: Path, python: str, arch: str, constraints: Path | None, folder: Path
    ) -> list[dict[str, Any]]:
        asked.append((python, arch, constraints.read_text() if constraints else ""))
        assert ("tensorflow[and-cuda]" in source.read_text()) == (len(asked) % 3 == 0)
        return [_package("a-1-py3-none-any.whl")]

    monkeypatch.setattr(relock, "_compile", compile_)
    monkeypatch.setattr(relock.console, "note", lambda message: None)
    (tmp_path / "node.in").write_text("tensorflow==2.21.*\na\n")
    (tmp_path / "node-py3.9-x86_64-cpu.txt").write_text("a==0\n")
    written = relock.relock(tmp_path)
    assert len(written) == len(asked) == 9
    assert not (tmp_path / "node-py3.9-x86_64-cpu.txt").exists()
    assert asked[0][2] == ""
    assert {constraints for *_, constraints in asked[1:]} == {"a==1\n"}
    total = "a-1-py3-none-any.whl"[::-1]
    assert {path.read_text() for path in written} == {f"a==1 \\\n    --hash=sha256:{total}\n"}
    listing = json.loads((tmp_path / "node-files.json").read_text())
    assert listing == {total: {"name": "a-1-py3-none-any.whl"}}
