"""The notebook server's unit; that it runs cells is tried on a lab."""

from __future__ import annotations

import json

import pytest
from test_spec import RECORD

from mammoctl import notebook
from mammoctl.cluster import ClusterFile, parse


@pytest.fixture
def lab() -> ClusterFile:
    return parse(json.dumps(RECORD))


def test_it_listens_on_loopback_and_no_secret_is_in_its_arguments(lab):
    argv = notebook.unit_argv(lab, "spark", "/var/spark")
    assert "--ip=127.0.0.1" in argv
    assert "--uid=spark" in argv
    assert not [word for word in argv if "TOKEN" in word or "token" in word]
    assert f"--property=EnvironmentFile={notebook._SECRET}" in argv


def test_its_packages_data_is_found_beside_them(lab):
    argv = notebook.unit_argv(lab, "spark", "/var/spark")
    site = "/opt/mammoctl/env/lib/python3.11/site-packages"
    assert f"--setenv=JUPYTERLAB_DIR={site}/share/jupyter/lab" in argv


def test_its_sandbox_is_that_of_jobs(lab):
    argv = notebook.unit_argv(lab, "spark", "/var/spark")
    given = {
        key: value
        for word in argv
        if word.startswith("--property=")
        for key, _, value in [word.removeprefix("--property=").partition("=")]
    }
    own = {"Type", "WorkingDirectory", "EnvironmentFile", "TimeoutStopSec", "ReadWritePaths"}
    jobs = set(notebook.driver.sandbox(lab, "/f", "/s")) - {"ReadWritePaths"}
    assert set(given) - own == jobs
    assert given["ReadWritePaths"] == f"{notebook.FOLDER} -/var/spark"
