"""Role python's decision and its preflight, by Ansible itself on hosts that are only described."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.programs

ROOT = Path(__file__).resolve().parents[3]
REQUIREMENTS, ARCHIVE = "a" * 64, "b" * 64
PINNED = "cpython-3.12.14+20260814-x86_64-unknown-linux-gnu-install_only_stripped.tar.gz"
OWN = "cpython-3.12-x86_64-glibc2.36.tar.gz"
SHOWN = ("python_interpreter", "_python_key", "_python_version", "_python_site")

BOOKWORM = {"python": "3.11", "glibc": "2.36"}
TRIXIE = {"python": "3.13", "glibc": "2.41"}
JAMMY = {"python": "3.10", "glibc": "2.35"}

# name -> (facts of the hosts, Python of the bundle, its interpreter, python_runtime)
CASES = {
    "system": ([BOOKWORM, BOOKWORM], "3.11", "", "auto"),
    "managed": ([BOOKWORM, TRIXIE, JAMMY], "3.12", PINNED, "auto"),
    "wished": ([BOOKWORM], "3.12", OWN, "managed"),
    "unequal": ([BOOKWORM, TRIXIE], "3.11", "", "auto"),
    "too_old": ([JAMMY], "3.10", "", "auto"),
    "newer_glibc": ([JAMMY], "3.12", OWN, "auto"),
    "no_interpreter": ([BOOKWORM], "3.11", "", "managed"),
    "unwanted": ([BOOKWORM], "3.12", PINNED, "system"),
    "unknown": ([BOOKWORM], "3.11", "", "conda"),
}


def bundle(python: str, interpreter: str) -> dict:
    packed = {"name": "e", "sha256": "c" * 64, "kind": "environment", "variants": ["cpu"]}
    file = {"name": interpreter, "sha256": ARCHIVE, "kind": "interpreter", "variants": ["cpu"]}
    return {
        "target": {"python": python, "arch": "x86_64"},
        "requirements": {"cpu": {"name": "requirements-cpu.txt", "sha256": REQUIREMENTS}},
        "files": [packed, file] if interpreter else [packed],
    }


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """Run the checks for all cases; return host -> its problems and what the role decides."""
    folder = tmp_path_factory.mktemp("plays")
    inventory, plays = folder / "inventory", []
    (inventory / "group_vars").mkdir(parents=True)
    (inventory / "group_vars" / "all").symlink_to(ROOT / "playbooks" / "group_vars" / "all")
    groups = {}
    for case, (hosts, python, interpreter, runtime) in CASES.items():
        record = folder / f"{case}.json"
        record.write_text(json.dumps(bundle(python, interpreter)))
        names = [f"{case}{number}" for number in range(1, len(hosts) + 1)]
        groups[case] = {"hosts": dict.fromkeys(names)}
        facts = dict(zip(names, hosts, strict=True))
        described = {name: {"arch": "x86_64", "gpus": 0, **facts[name]} for name in names}
        results = {name: f"{{{{ {name} }}}}" for name in SHOWN}
        results["problems"] = "{{ ansible_facts['mammoctl_problems'] | default([]) }}"
        look = {"mammoctl": "{{ described[inventory_hostname] }}", "cacheable": True}
        write = {
            "content": "{{ results | to_json }}",
            "dest": f"{folder}/{{{{ inventory_hostname }}}}",
        }
        # The names of the role are known after it alone, in the same play.
        tasks = [
            {"set_fact": look},
            {"import_role": {"name": "python", "tasks_from": "preflight"}},
            {"copy": write, "vars": {"results": results}},
        ]
        plays.append(
            {
                "hosts": case,
                "gather_facts": False,
                "connection": "local",
                "vars": {
                    "ansible_python_interpreter": sys.executable,
                    "described": described,
                    "mammoctl_nodes": names,
                    "mammoctl_bundle_file": str(record),
                    "python_runtime": runtime,
                },
                "tasks": tasks,
            }
        )
    (inventory / "hosts.yml").write_text(yaml.safe_dump(groups))
    (folder / "play.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
    program = Path(sys.executable).with_name("ansible-playbook")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
    argv = [program, "-i", inventory, "play.yml"]
    done = subprocess.run(
        argv, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return {
        path.name: json.loads(path.read_text())
        for path in folder.iterdir()
        if path.name.rstrip("0123456789") in CASES
    }


def test_the_systems_own(seen):
    for host in ("system1", "system2"):
        assert seen[host] == {
            "problems": [],
            "python_interpreter": "/usr/bin/python3",
            "_python_key": "a" * 16,
            "_python_version": "3.11",
            "_python_site": "/opt/mammoctl/env/lib/python3.11/site-packages",
        }


def test_the_managed_one_at_the_same_path_on_every_node(seen):
    for host in ("managed1", "managed2", "managed3", "wished1"):
        assert seen[host] == {
            "problems": [],
            "python_interpreter": f"/opt/mammoctl/python/{'b' * 16}/bin/python3.12",
            "_python_key": f"{'a' * 16}-{'b' * 16}",
            "_python_version": "3.12",
            "_python_site": "/opt/mammoctl/env/lib/python3.12/site-packages",
        }


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("unequal1", "the nodes have Python 3.11 and 3.13; needed: the same minor version"),
        ("too_old1", "the system's Python is 3.10; needed: one of 3.11, 3.12, 3.13"),
        ("newer_glibc1", "the C library is glibc 2.35; needed: glibc 2.36, for the managed"),
        ("no_interpreter1", "python_runtime is managed, and the bundle has no interpreter"),
        ("unwanted1", "python_runtime is system, and the bundle brings an interpreter"),
        ("unknown1", "python_runtime is 'conda'; needed: auto, system or managed"),
    ],
)
def test_what_is_refused_with_its_mend(seen, host, problem):
    (line,) = [line for line in seen[host]["problems"] if line.startswith(problem)]
    assert line.count(". ") >= 1
    assert line.endswith(".")
