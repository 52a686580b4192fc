"""What people find when they log in: variables for their shell, and the commands scala and sbt."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest


def run(script: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", script, *args], env={"PATH": os.environ["PATH"], **env},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def java(tmp_path: Path) -> Path:
    """Return a JAVA_HOME whose java tells its arguments, one a line."""
    program = tmp_path / "java" / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    program.chmod(0o755)
    return program.parents[1]


@pytest.fixture
def spark(tmp_path: Path) -> Path:
    """Return a SPARK_HOME with the jars that Scala is made of, and one that it is not."""
    home = tmp_path / "spark"
    (home / "jars").mkdir(parents=True)
    names = ("compiler-2.13.18", "library-2.13.18", "reflect-2.13.18", "xml_2.13-2.4.0")
    for name in (*(f"scala-{n}" for n in names), "jline-2.14.6", "jline-3.29.0-jdk8"):
        (home / "jars" / f"{name}.jar").touch()
    return home


@pytest.mark.parametrize(
    ("name", "main"),
    [("scala", "scala.tools.nsc.MainGenericRunner"), ("scalac", "scala.tools.nsc.Main")],
)
def test_scala_runs_out_of_sparks_own_jars(render, java, spark, name, main) -> None:
    tmp_path = spark.parent
    (tmp_path / "scala").write_text(render("scala", "scala.j2"))
    command = tmp_path / name
    if name != "scala":
        command.symlink_to("scala")
    done = run(command, "-d", "a folder", SPARK_HOME=str(spark), JAVA_HOME=str(java))
    arguments = done.stdout.splitlines()
    assert arguments[-3:] == [main, "-d", "a folder"]
    jars = arguments[arguments.index("-cp") + 1].split(":")
    assert [Path(jar).name for jar in jars] == [
        "scala-compiler-2.13.18.jar", "scala-library-2.13.18.jar", "scala-reflect-2.13.18.jar",
        "jline-3.29.0-jdk8.jar",
    ]  # fmt: skip


def test_scala_says_which_jar_is_missing(render, tmp_path, java, spark) -> None:
    script = tmp_path / "scala"
    script.write_text(render("scala", "scala.j2"))
    (spark / "jars" / "scala-reflect-2.13.18.jar").unlink()
    done = run(script, SPARK_HOME=str(spark), JAVA_HOME=str(java))
    assert done.returncode == 1
    assert re.match(r"scala: Spark's scala-reflect-\S+ is missing below /", done.stderr)
    assert done.stdout == ""


def test_sbt_looks_into_the_nodes_own_repository_first(render, tmp_path, java) -> None:
    script = tmp_path / "sbt"
    script.write_text(render("sbt", "sbt.j2"))
    done = run(script, "clean", "package", JAVA_HOME=str(java), SBT_OPTS="-Da=1 -Db=2")
    arguments = done.stdout.splitlines()
    assert arguments[-2:] == ["clean", "package"]
    assert "-Dsbt.repository.config=/opt/mammoctl/sbt/repositories" in arguments
    assert arguments.index("-Da=1") < arguments.index("-Db=2") < arguments.index("-jar")
    lines = [line.strip() for line in render("sbt", "repositories.j2").splitlines()[1:]]
    assert lines == [
        "[repositories]", f"mammoctl: file:///opt/mammoctl/sbt/{'5' * 16}/", "local",
        "maven-central",
    ]  # fmt: skip
    without = render(
        "sbt", "repositories.j2", _sbt_cached=False, sbt_repositories=["my: https://x/"]
    )
    assert without.splitlines()[1:] == ["[repositories]", "  my: https://x/"]


def shell_variables(text: str) -> set[str]:
    return set(re.findall(r"(?:export|set -gx) (\w+)", text))


def test_a_login_finds_the_commands_once(render, tmp_path) -> None:
    profile = tmp_path / "profile.sh"
    profile.write_text(render("spark", "spark.sh.j2"))
    script = tmp_path / "script"
    script.write_text(f". {profile}\n. {profile}\necho $SPARK_HOME $SPARK_CONF_DIR\necho $PATH\n")
    homes, path = run(script).stdout.splitlines()
    assert homes == "/opt/spark /etc/spark"
    assert path.split(":")[:2] == ["/opt/mammoctl/bin", "/opt/spark/bin"]
    assert path.count("/opt/spark/bin") == 1


def test_fish_gets_what_other_shells_get(render) -> None:
    others = render("spark", "spark.sh.j2") + render("java", "java.sh.j2")
    assert shell_variables(render("spark", "spark.fish.j2")) == shell_variables(others)


def test_the_history_server_has_its_own_heap(render) -> None:
    unit = render("spark", "spark-history.service.j2")
    assert "SPARK_DAEMON_MEMORY=192m" in unit
    text = render("spark", "spark-env.sh.j2")
    line = next(line for line in text.splitlines() if "SPARK_DAEMON_MEMORY" in line)
    for given, wanted in (("", "256m"), ("192m", "192m")):
        script = f"SPARK_DAEMON_MEMORY={given}; {line}; echo $SPARK_DAEMON_MEMORY"
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == wanted


@pytest.mark.parametrize(("uid", "name"), [("0", "spark"), ("1000", "")])
def test_root_is_the_clusters_own_account_to_hdfs(render, tmp_path, uid: str, name: str) -> None:
    (tmp_path / "id").write_text(f"#!/bin/sh\necho {uid}\n")
    (tmp_path / "id").chmod(0o755)
    script = tmp_path / "script"
    script.write_text(render("spark", "spark-env.sh.j2") + 'echo "name=$HADOOP_USER_NAME"\n')
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert f"name={name}\n" in run(script, PATH=path).stdout
    kept = run(script, PATH=path, HADOOP_USER_NAME="other").stdout
    assert "name=other\n" in kept
