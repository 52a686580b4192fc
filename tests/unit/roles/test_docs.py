"""docs/roles.md knows every variable and every port."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "roles.md").read_text()


def defaults():
    for path in sorted((ROOT / "roles").glob("*/defaults/main.yml")):
        yield from yaml.safe_load(path.read_text()).items()


def test_every_variable_is_there_and_no_other():
    listed = set(
        re.findall(r"^\| `((?:common|java|ssh|guard|python|hdfs|spark)_\w+)` \|", PAGE, re.M)
    )
    internal = {"spark_worker_memory_mb"}  # not a default: set for single hosts only
    assert listed - internal == {name for name, _value in defaults()}


def test_every_port_is_in_the_table():
    values = dict(defaults())
    rows = re.findall(r"^\| (\d+)(?:-(\d+))? \|", PAGE, re.M)
    assert {int(first) for first, _last in rows} == {
        value for name, value in values.items() if name.endswith("_port")
    }
    spans = {int(last) - int(first) for first, last in rows if last}
    assert spans == {values["spark_port_retries"]}
