"""Role java: a JDK that Spark supports, at the recorded JAVA_HOME."""

import re

from infra_support import expect


def test_version(node):
    """Java 17 or later runs."""
    home = node.record["java_homes"][node.name]
    said = node.text("%s/bin/java -version 2>&1", home)
    found = re.search(r'version "(\d+)', said)
    expect(found, f"`java -version` says: {said.strip()[:100]}")
    expect(int(found[1]) >= 17, f"Java {found[1]} at {home}; Spark needs 17 or later")


def test_compiler(node):
    """The Java compiler is of the same version."""
    home = node.record["java_homes"][node.name]
    java = re.search(r'version "(\d+)', node.text("%s/bin/java -version 2>&1", home))
    compiler = re.search(r"javac (\d+)", node.text("%s/bin/javac -version 2>&1", home))
    expect(
        java and compiler and java[1] == compiler[1],
        f"java and javac at {home} differ in version",
    )


def test_services(node):
    """Spark and logins use this node's Java, also where other nodes have another one."""
    home = node.record["java_homes"][node.name]
    for path in ("/etc/spark/spark-env.sh", "/etc/profile.d/mammoctl-java.sh"):
        said = node.text('sh -c \'JAVA_HOME=; . "$0"; echo "$JAVA_HOME"\' %s', path).strip()
        expect(said == home, f"{path} says JAVA_HOME={said or 'nothing'} instead of {home}")
