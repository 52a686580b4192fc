"""docs/roles.md knows every variable, docs/security.md every port."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "roles.md").read_text()
SECURITY = (ROOT / "docs" / "security.md").read_text()


def defaults():
    for path in sorted((ROOT / "roles").glob("*/defaults/main.yml")):
        yield from yaml.safe_load(path.read_text()).items()


def test_the_variables_tables_are_those_of_the_roles():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "role-docs", "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_an_outdated_page_is_noticed():
    maker = runpy.run_path(str(ROOT / "scripts" / "role-docs"))
    row = next(line for line in PAGE.splitlines() if line.startswith("| `spark_master_port` |"))
    for outdated in (PAGE.replace(row, row.replace("7077", "7078")), PAGE.replace(row + "\n", "")):
        assert outdated != PAGE
        assert maker["rendered"](outdated) == PAGE


def test_every_port_is_in_the_table():
    values = dict(defaults())
    rows = re.findall(r"^\| (\d+)(?:-(\d+))? \|", SECURITY, re.M)
    assert {int(first) for first, _last in rows} == {
        value for name, value in values.items() if name.endswith("_port")
    }
    spans = {int(last) - int(first) for first, last in rows if last}
    assert spans == {values["spark_port_retries"]}
