"""Loads the playbooks' plugins as Ansible would: shared code below ``ansible.module_utils``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from rendering import renderer

ROOT = Path(__file__).resolve().parents[3]
PLUGINS = ROOT / "playbooks" / "plugins"


def load(kind: str, name: str) -> ModuleType:
    full = f"ansible.module_utils.{name}" if kind == "module_utils" else f"{kind}_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, PLUGINS / kind / f"{name}.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        spec.loader.exec_module(module)
    return sys.modules[full]


@pytest.fixture(scope="session")
def plugin():
    for path in (PLUGINS / "module_utils").glob("*.py"):
        load("module_utils", path.stem)
    return load


class Module:
    """Stands in for AnsibleModule: runs commands for real, turns failures into exceptions."""

    def __init__(self, check_mode: bool = False, **params: object) -> None:
        self.check_mode = check_mode
        self.params = params

    def fail_json(self, msg: str, **_rest: object) -> None:
        raise AssertionError(msg)

    def run_command(self, command, **_rest):
        import subprocess

        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def ansible_module():
    return Module


@pytest.fixture
def render():
    return renderer()
