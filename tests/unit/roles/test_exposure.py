"""How much of the system each unit could reach: systemd's own figure, with a ceiling."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from rendering import ROLES, ROOT

from mammoctl import cluster
from mammoctl.jobs import driver

CEILING = 4.0
TEMPLATES = {path.name.partition(".")[0]: path for path in ROLES.glob("*/templates/*.service.j2")}
JOB = "mammoctl-job"
KINDS = [*sorted(TEMPLATES), JOB]


def job() -> str:
    """Return the unit that systemd-run makes for a job."""
    storage = cluster.Storage(kind="hdfs", uri="hdfs://n1:8020/mammoctl", replication=3)
    deployment = cluster.ClusterFile.model_construct(storage=storage)
    properties = driver.sandbox(deployment, "/var/lib/mammoctl/jobs/x", "/var/lib/spark")
    lines = "".join(f"{name}={value}\n" for name, value in properties.items())
    return f"[Service]\nExecStart=/bin/true\nUser=spark\n{lines}"


def exposure(text: str, path: Path) -> float:
    path.write_text(text)
    argv = ["systemd-analyze", "security", "--no-pager", "--offline=true", str(path)]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_LOG_LEVEL": "err"}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found[1])


def documented() -> dict[str, list[float]]:
    text = (ROOT / "docs/security.md").read_text()
    rows = re.findall(r"^\| `([\w`, -]+)` \| ([\d.]+) \|", text, re.M)
    found: dict[str, list[float]] = {}
    for names, figure in rows:
        for name in re.findall(r"[\w-]+", names):
            found.setdefault(name, []).append(float(figure))
    return found


@pytest.mark.programs
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("program", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_no_unit_is_exposed_more_than_is_said(render, tmp_path, name, program):
    path = TEMPLATES.get(name)
    given = {"mammoctl_wireguard": False, "_wireguard_program": program}
    text = render(path.parents[1].name, path.name, **given) if path else job()
    figure = exposure(text, tmp_path / f"{name}.service")
    assert figure <= CEILING
    # Other releases of systemd count a little differently.
    assert any(abs(figure - said) <= 0.3 for said in documented()[name])


def test_every_unit_has_its_figure_in_the_documents():
    assert set(documented()) == set(KINDS)


@pytest.mark.parametrize("name", ["spark-worker", "mammoctl-gpu", JOB])
def test_what_uses_gpus_is_not_shut_off_from_devices(render, name):
    path = TEMPLATES.get(name)
    text = render(path.parents[1].name, path.name) if path else job()
    for directive in ("PrivateDevices=", "ProtectClock=", "DeviceAllow=", "DevicePolicy="):
        assert f"\n{directive}" not in text
