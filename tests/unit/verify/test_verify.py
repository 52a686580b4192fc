import os
import sys
import textwrap
from pathlib import Path

import pytest

from mammoctl import paths
from mammoctl.inventory import Cluster, Host
from mammoctl.verify import report, run
from mammoctl.verify.run import Check, Verdict


@pytest.fixture
def cluster(tmp_path):
    hosts = {name: Host(name, f"192.0.2.{i}") for i, name in enumerate(("n1", "n2"), 1)}
    return Cluster("ward", tmp_path, tmp_path / "hosts.yml", hosts, hosts["n1"], [*hosts.values()])


def check(role="spark", host="n1", outcome="passed", **more):
    return Check(role=role, check="x", host=host, what="It works.", outcome=outcome, **more)


def verdict(*checks, trouble=""):
    return Verdict(cluster="ward", checks=list(checks), seconds=12.3, trouble=trouble)


def test_argv(cluster):
    checks = paths.project_root() / "tests" / "infra"
    line = run.argv(cluster, Path("/c/ssh_config"), junit=Path("/r/j.xml"))
    assert line == [
        sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(checks),
        "-p", "no:cacheprovider", "-p", "mammoctl.verify.plugin",
        "-q", "--tb=short", "--no-header", "-o", "junit_family=xunit2",
        "--mammoctl-inventory", str(cluster.source), "--mammoctl-ssh-config", "/c/ssh_config",
        "--junitxml", "/r/j.xml", str(checks),
    ]  # fmt: skip
    chosen = run.argv(cluster, Path("/c"), roles=["hdfs", "spark"])
    assert chosen[-2:] == [f"{checks}/test_hdfs.py", f"{checks}/test_spark.py"]


def test_environment_is_free_of_other_options(monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "-x")
    env = run.environment(7)
    assert "PYTEST_ADDOPTS" not in env
    assert env["MAMMOCTL_VERIFY_FD"] == "7"
    assert env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] == "1"


@pytest.mark.parametrize(
    ("checks", "trouble", "code"),
    [
        ([check()], "", 0),
        ([check(), check(outcome="skipped")], "", 0),
        ([check(), check(outcome="failed")], "", 1),
        ([check(outcome="failed"), check(outcome="error")], "", 1),
        ([check(), check(outcome="error")], "", 2),
        ([check()], "INTERNALERROR", 2),
        ([], "", 2),
        ([check(outcome="skipped")], "", 2),
    ],
)
def test_exit_code(checks, trouble, code):
    assert verdict(*checks, trouble=trouble).exit_code == code


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (80, {"n1": ["2 ok", "1 BAD", ""], "n2": ["1 ok", "", "skipped"]}),
        (20, {"all hosts": ["3 ok", "1 BAD", "skipped"], "where not": ["", "n1", ""]}),
    ],
)
def test_table(width, columns):
    seen = verdict(
        check("java"), check("java"), check("spark", outcome="failed"), check("spark"),
        check("java", "n2"), check("hdfs", "n2", outcome="skipped"),
    )  # fmt: skip
    table = report.table(seen, ["n1", "n2"], width)
    assert {column.title: column.cells for column in table} == {
        "part": ["java", "spark", "hdfs"],
        **columns,
    }


def test_failures_say_what_mends_them_and_the_same_once():
    bad = {"outcome": "failed", "seen": "it is off\nsince noon", "mend": "switch it on"}
    lost = {"outcome": "error", "seen": "RuntimeError: gone"}
    seen = verdict(check(), check(**bad), check(subject="numpy", **bad), check(host="n2", **lost))
    assert report.failures(seen) == [
        "spark on n1 failed: It works (and 1 more)",
        "    it is off",
        "    since noon",
        "    mend: switch it on",
        "spark on n2 could not be checked: It works",
        "    RuntimeError: gone",
    ]
    assert report.summary(seen) == "ward: 1 passed, 2 FAILED, 1 could not be checked in 12 s"


def test_skipped_tells_why():
    left = {"outcome": "skipped", "seen": "storage is local"}
    assert report.skipped(verdict(check(**left), check(**left))) == ["skipped 2: storage is local"]


@pytest.fixture
def checks(tmp_path, monkeypatch):
    """A folder of checks of the test's own, in place of tests/infra."""
    root = tmp_path / "root"
    infra = root / "tests" / "infra"
    infra.mkdir(parents=True)
    (infra / "conftest.py").write_text(
        textwrap.dedent(
            """
            import pytest
            def pytest_addoption(parser):
                parser.addoption("--mammoctl-inventory")
                parser.addoption("--mammoctl-ssh-config")
            @pytest.fixture
            def node(request): return request.param
            def pytest_generate_tests(metafunc):
                if "node" in metafunc.fixturenames:
                    metafunc.parametrize("node", ["n1", "n2"], indirect=True)
            """
        )
    )
    monkeypatch.setattr(paths, "project_root", lambda: root)
    return infra


def test_a_run(cluster, checks, tmp_path):
    (checks / "test_spark.py").write_text(
        textwrap.dedent(
            '''
            import pytest
            class CheckFailed(AssertionError):
                seen, mend = "2 cores", "add two"
            def test_cores(node):
                """It has its cores."""
                if node == "n2":
                    raise CheckFailed
            @pytest.mark.parametrize("module", ["numpy"])
            def test_import(node, module):
                """It imports."""
                assert node == "n1", "no such module"
            @pytest.fixture
            def broken(): raise RuntimeError("connection lost")
            def test_broken(broken):
                """Cannot be set up."""
            def test_left_out(): pytest.skip("not here")
            '''
        )
    )
    total, seen = [], []
    result = run.run(
        cluster, Path("/c"), junit=tmp_path / "j.xml", on_total=total.append, on_check=seen.append
    )
    assert total == [6]
    told = [(c.check, c.host, c.subject, c.outcome, c.seen, c.mend) for c in result.checks]
    assert told == [
        ("cores", "n1", "", "passed", "", ""),
        ("cores", "n2", "", "failed", "2 cores", "add two"),
        ("import", "n1", "numpy", "passed", "", ""),
        ("import", "n2", "numpy", "failed", "no such module", ""),
        ("broken", "n1", "", "error", "RuntimeError: connection lost", ""),
        ("left_out", "n1", "", "skipped", "not here", ""),
    ]
    assert seen == result.checks
    assert {c.role for c in result.checks} == {"spark"}
    assert result.checks[0].what == "It has its cores."
    assert result.exit_code == 1
    assert result.trouble == ""
    assert 'tests="6"' in (tmp_path / "j.xml").read_text()
    assert not list(checks.rglob("__pycache__"))


def test_checks_that_cannot_be_loaded(cluster, checks):
    (checks / "test_spark.py").write_text("import nowhere_to_be_found\n")
    result = run.run(cluster, Path("/c"))
    assert result.exit_code == 2
    assert "nowhere_to_be_found" in result.trouble
