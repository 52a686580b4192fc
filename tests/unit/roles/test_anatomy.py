"""Every role looks the same, and what it declares is declared once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]

ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


def read(role, path):
    return yaml.safe_load((ROOT / "roles" / role / path).read_text())


def test_every_role_is_provisioned():
    play = yaml.safe_load((ROOT / "playbooks/provision.yml").read_text())[-1]
    assert sorted(entry["role"] for entry in play["roles"]) == ROLES


def test_an_upgrade_brings_every_role_up_to_date_in_the_same_order():
    provision = yaml.safe_load((ROOT / "playbooks/provision.yml").read_text())[-1]
    plays = yaml.safe_load((ROOT / "playbooks/upgrade.yml").read_text())
    upgrade = next(play for play in plays if "serial" in play)
    block = next(task["block"] for task in upgrade["tasks"] if "block" in task)
    roles = [t["ansible.builtin.import_role"] for t in block if "ansible.builtin.import_role" in t]
    whole = [role["name"] for role in roles if role.get("tasks_from") in (None, "configure")]
    assert whole == [entry["role"] for entry in provision["roles"]]


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_argument_specs_have_the_same_keys(role):
    specs = read(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert list(read(role, "defaults/main.yml")) == list(specs)


@pytest.mark.parametrize("role", ROLES)
def test_argument_types_are_those_of_the_defaults(role):
    specs = read(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    types = {int: "int", bool: "bool", list: "list", dict: "dict"}
    for name, value in read(role, "defaults/main.yml").items():
        if type(value) in types:
            assert specs[name]["type"] == types[type(value)], name


@pytest.mark.parametrize("role", ROLES)
def test_every_default_has_the_role_as_prefix_and_a_comment(role):
    lines = (ROOT / "roles" / role / "defaults/main.yml").read_text().splitlines()
    for number, line in enumerate(lines):
        if found := re.match(r"(\w+):", line):
            assert found[1].startswith(f"{role}_")
            assert lines[number - 1].startswith("# "), found[1]


@pytest.mark.parametrize("role", ROLES)
def test_internal_variables_are_marked_as_such(role):
    path = ROOT / "roles" / role / "vars/main.yml"
    if path.exists():
        assert all(name.startswith(f"_{role}_") for name in yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("role", ROLES)
def test_main_only_imports_with_tags(role):
    for task in read(role, "tasks/main.yml"):
        assert set(task) == {"name", "ansible.builtin.import_tasks", "tags"}
        assert task["tags"][0] == role
        stem = task["ansible.builtin.import_tasks"].removesuffix(".yml")
        assert task["tags"][1] == f"{role}_{stem}"


def test_every_port_variable_is_in_its_roles_list_exactly_once():
    for role in ("spark", "hdfs"):
        defaults = read(role, "defaults/main.yml")
        listed = " ".join(entry["port"] for entry in defaults[f"{role}_ports"])
        for name in defaults:
            if name.endswith("_port"):
                first = re.findall(rf"{{{{ {name}\b", listed)
                assert first, name


def test_no_two_ports_overlap():
    taken: dict[int, str] = {}
    for role in ("spark", "hdfs"):
        defaults = read(role, "defaults/main.yml")
        for entry in defaults[f"{role}_ports"]:
            names = re.findall(r"\b(?:spark|hdfs)_\w+_port\b", entry["port"])
            first = defaults[names[0]]
            last = first + (
                defaults["spark_port_retries"] if "port_retries" in entry["port"] else 0
            )
            for port in range(first, last + 1):
                assert port not in taken, (port, entry["purpose"], taken.get(port))
                taken[port] = entry["purpose"]


def test_every_host_of_a_playbook_is_checked_by_every_role_that_has_checks():
    tasks = yaml.safe_load((ROOT / "playbooks/tasks/preflight.yml").read_text())
    roles = [t["ansible.builtin.import_role"] for t in tasks if "ansible.builtin.import_role" in t]
    checked = {entry["name"] for entry in roles if entry["tasks_from"] == "preflight"}
    have = [role for role in ROLES if (ROOT / "roles" / role / "tasks/preflight.yml").exists()]
    assert sorted(checked) == have
