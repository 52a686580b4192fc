"""``mammoctl bundle``: what it prints and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mammoctl import bundle as package
from mammoctl import files, paths
from mammoctl.bundle.model import Artifact, Bundle, Target, content_key, to_json
from mammoctl.bundle.store import Store
from mammoctl.commands.bundle import app
from mammoctl.errors import BundleError, UsageError


@pytest.fixture
def made(store: Store) -> Bundle:
    stored = store.add_text("numpy\n", "requirements-cpu.txt")
    file = Artifact("requirements", stored.name, stored.sha256, 6, stored.relative, ("cpu",))
    key = content_key([file])
    path = paths.cache_dir() / "bundles" / key / "bundle.json"
    target = Target("3.11", "x86_64")
    bundle = Bundle(key, path, store.root, target, {"cpu": file}, (file,))
    files.write(path, json.dumps(to_json(bundle)))
    return bundle


def _run(*args: str) -> str:
    result = CliRunner().invoke(app, list(args), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_create_passes_the_target_on(made: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ensure(target: Target, **_how: object) -> Bundle:
        asked.append(target)
        return made

    monkeypatch.setattr(package, "ensure_bundle", ensure)
    options = ["--python", "3.13", "--arch", "aarch64", "--variant", "cpu", "--json"]
    data = json.loads(_run("create", *options))
    assert asked == [Target("3.13", "aarch64", ("cpu",))]
    assert data["key"] == made.key
    assert data["parts"] == {"requirements": {"files": 1, "bytes": 6}}


def test_show_lists_and_details(made: Bundle) -> None:
    assert made.key in _run("show")
    assert "requirements-cpu.txt" in _run("show", made.key[:4], "--files")
    assert [entry["key"] for entry in json.loads(_run("show", "--json"))] == [made.key]


def test_an_unknown_key_names_those_there_are(made: Bundle) -> None:
    with pytest.raises(UsageError, match="there is no bundle zz") as caught:
        _run("show", "zz")
    assert made.key in caught.value.hint


def test_without_a_bundle_the_hint_makes_one() -> None:
    with pytest.raises(UsageError, match="no bundle yet") as caught:
        _run("verify")
    assert caught.value.hint == "mammoctl bundle create"


def test_verify_finds_a_damaged_file(made: Bundle) -> None:
    right = {"schema": 1, "files": 1, "bytes": 6, "problems": {}}
    assert json.loads(_run("verify", "--json")) == right
    (made.store / made.files[0].path).write_text("damage")
    with pytest.raises(BundleError, match="1 of 1 files are damaged") as caught:
        _run("verify")
    assert caught.value.exit_code == 1
    assert "requirements-cpu.txt: has sha256" in caught.value.details[0]


def test_locks_are_made_in_a_checkout_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(paths, "in_checkout", lambda: False)
    with pytest.raises(UsageError, match="project's source"):
        _run("lock")
