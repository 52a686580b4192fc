"""The wheel carries everything that mammoctl needs away from a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[3]
SHIPPED = [
    "playbooks",
    "roles",
    "app/mammotrain",
    "app/train.py",
    "app/predict.py",
    "app/explore.py",
    "tests/infra",
    "locks",
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    argv = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(argv, cwd=REPO, check=True, capture_output=True)
    return next(target.glob("*.whl"))


def test_wheel_carries_the_whole_project(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", *SHIPPED],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert len(tracked) > 20
    missing = [name for name in tracked if f"mammoctl/_project/{name}" not in names]
    assert missing == []
    assert "mammoctl/_project/ansible.cfg" in names


def test_installed_wheel_finds_its_files_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "from mammoctl import paths; import mammoctl.cli;"
        "assert not paths.in_checkout(); print(paths.playbook('provision').is_file())"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(site)!r}); "
            f"import site; site.addsitedir({_site_packages()!r}); {code}",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "True", done.stderr


def _site_packages() -> str:
    import typer

    return str(Path(typer.__file__).parents[1])
