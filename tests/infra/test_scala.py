"""Role scala: the commands of people who log in have the Scala that is inside Spark."""

import re

from infra_support import expect, setting

PROGRAM = 'object Sum { def main(a: Array[String]): Unit = println("sum " + (1 to 100).sum) }'


def login(node, command):
    """Run a command in a login shell that knows nothing else, as the user of the jobs."""
    user = setting(node, "spark_user")
    return node.text(f"runuser -u {user} -- env -i HOME=/tmp bash -lc %s 2>&1", command)


def test_version(node):
    """`scala` and `scalac` are of the version of Spark's jars."""
    jars = node.text("ls %s/jars", node.record["spark_home"])
    spark = re.search(r"^scala-library-(.+)\.jar$", jars, re.M)
    expect(spark, "Spark's jars have no scala-library")
    for command in ("scala", "scalac"):
        said = login(node, f"{command} -version")
        found = re.search(r"version (\S+)", said)
        expect(
            found and found[1] == spark[1],
            f"{command} is {found[1] if found else said.strip()[:80]}, Spark has Scala {spark[1]}",
        )


def test_compiler(master):
    """A program is compiled and runs."""
    become = f"runuser -u {setting(master, 'spark_user')} --"
    folder = master.text(f"{become} mktemp -d /tmp/mammoctl-verify-XXXXXXXX").strip()
    try:
        # Root's umask may keep from others what root writes.
        file = f"{folder}/Sum.scala"
        master.text("printf %%s %s > %s && chmod 644 %s", PROGRAM, file, file)
        said = login(master, f"cd {folder} && scalac Sum.scala && scala -cp . Sum")
    finally:
        master.host.run("rm -rf -- %s", folder)
    expect(said.split() == ["sum", "5050"], f"the program said: {said.strip()[:200]}")
