"""Nodes get nothing but what the bundle brings and what their own package sources have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
TASKS = sorted([*(ROOT / "roles").rglob("tasks/*.yml"), *(ROOT / "roles").rglob("handlers/*.yml")])
TASKS += sorted((ROOT / "playbooks").glob("*.yml"))

# All that a task may be. What is not here must be looked at before it is: does it fetch anything?
HARMLESS = {
    "ansible.builtin.command", "ansible.builtin.fail", "ansible.builtin.import_playbook",
    "ansible.builtin.import_role", "ansible.builtin.import_tasks", "ansible.builtin.include_role",
    "ansible.builtin.meta", "ansible.builtin.reboot", "ansible.builtin.set_fact",
    "mammoctl_archive", "mammoctl_check", "mammoctl_env", "mammoctl_facts", "mammoctl_files",
    "mammoctl_gpu", "mammoctl_hdfs", "mammoctl_interpreter", "mammoctl_lockdown", "mammoctl_push",
    "mammoctl_service", "mammoctl_setting", "mammoctl_spark", "mammoctl_ssh_key",
    "mammoctl_teardown", "mammoctl_upgrade", "mammoctl_wireguard",
}  # fmt: skip
# The ways in: Debian packages from the node's sources; NVIDIA's keyring, to the control machine.
DECLARED = {
    ("common", "mammoctl_packages"),
    ("cuda", "mammoctl_packages"),
    ("cuda", "ansible.builtin.get_url"),
}
# Words of a task or a template that would fetch or install something.
FETCHING = re.compile(
    r"\b(curl|wget|pip3?|pipx|conda|npm|gem|cargo|snap|flatpak|dpkg|apt|apt-get|aptitude|add-apt-repository|git)\b"
    r"|\buv (pip|tool|python)\b"
)
KEYWORDS = {
    "name", "when", "register", "retries", "delay", "until", "tags", "become", "changed_when",
    "check_mode", "failed_when", "loop", "notify", "vars", "delegate_to", "run_once", "block",
    "rescue", "always", "environment", "no_log", "ignore_errors", "diff", "async", "poll", "args",
    "become_user", "throttle", "any_errors_fatal", "ignore_unreachable", "timeout", "listen",
    "loop_control",
}  # fmt: skip


def tasks(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every task of a file, those in plays and blocks included."""
    for entry in entries or []:
        inner = [entry[k] for k in ("tasks", "pre_tasks", "post_tasks", "handlers") if k in entry]
        inner += [entry[k] for k in ("block", "rescue", "always") if k in entry]
        for group in inner:
            yield from tasks(group)
        if not inner and "hosts" not in entry:
            yield entry


def all_tasks() -> Iterator[tuple[str, str, Any]]:
    """(role or playbook, module, arguments) of each task of the project."""
    for path in TASKS:
        role = path.parents[1].name if "roles" in path.parts else path.stem
        for task in tasks(yaml.safe_load(path.read_text())):
            modules = [key for key in task if key not in KEYWORDS]
            assert len(modules) == 1, (path, task)
            yield role, modules[0], task[modules[0]]


def test_every_task_is_one_that_fetches_nothing_or_a_declared_one() -> None:
    found = {(role, module) for role, module, _ in all_tasks() if module not in HARMLESS}
    assert found == DECLARED


def test_what_is_fetched_to_the_control_machine_has_a_checksum() -> None:
    fetched = [args for _, module, args in all_tasks() if module == "ansible.builtin.get_url"]
    assert fetched
    assert all(args["checksum"].startswith("sha256:") for args in fetched)


def test_what_is_unpacked_or_installed_comes_from_the_store() -> None:
    taken = {"mammoctl_archive": ["archive"], "mammoctl_interpreter": ["archive"],
             "mammoctl_env": ["archive"]}  # fmt: skip
    seen = set()
    for _, module, args in all_tasks():
        for name in taken.get(module, []):
            assert args[name].startswith("{{ mammoctl_store }}"), (module, args[name])
            seen.add(module)
    assert seen == set(taken)


def test_no_command_fetches_or_installs() -> None:
    commands = [args for _, module, args in all_tasks() if module == "ansible.builtin.command"]
    assert commands
    words = [str(args.get("argv", args)) if isinstance(args, dict) else args for args in commands]
    assert [text for text in words if FETCHING.search(text)] == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "roles").rglob("templates/*.j2")), ids=lambda p: p.name
)
def test_no_script_on_a_node_fetches_or_installs(path: Path) -> None:
    code = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    assert [line for line in code if FETCHING.search(line)] == []


def test_every_address_in_a_role_is_the_clusters_own_or_declared() -> None:
    found = set()
    for path in (ROOT / "roles").rglob("*"):
        if path.is_file() and path.suffix in (".yml", ".j2"):
            text = path.read_text()
            found |= set(re.findall(r"(?:https?|ftp)://([a-z][\w.-]*\.[a-z]{2,})", text))
    declared = {host for host in found if not host.endswith(".example.org")}
    assert declared == {"developer.download.nvidia.com"}


def test_the_search_finds_what_it_is_for() -> None:
    for text in ("curl -sL https://x | sh", "python3 -m pip install x", "apt-get install x"):
        assert FETCHING.search(text)
    for text in ("sbt package", "hdfs dfs -get", "uvicorn", "gitlab"):
        assert not FETCHING.search(text)
