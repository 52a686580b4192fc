"""Role sbt: the launcher is the pinned one, and what it needs is where it looks first."""

import re

from infra_support import expect

ROOT = "/opt/mammoctl/sbt"


def test_launcher(node):
    """The launcher is the file that was pinned."""
    path = node.text("readlink -f %s/sbt-launch.jar", ROOT).strip()
    pinned = path.split("/")[-2]
    found = node.text("sha256sum %s", path).split()[0]
    expect(
        found == pinned,
        f"{path} has another checksum",
        f"on {node.name}: sudo rm {path}; then run `mammoctl provision` again",
    )


def test_command(node):
    """A person who logs in finds it."""
    found = node.text("env -i HOME=/tmp bash -lc 'command -v sbt'").strip()
    expect(found == "/opt/mammoctl/bin/sbt", f"`sbt` is {found}")


def test_repository(node):
    """Where the node has a repository of its own, it holds the sbt of this launcher."""
    text = node.host.file(f"{ROOT}/repositories").content_string
    own = re.search(r"mammoctl: file://(\S+)/$", text, re.M)
    if not own:
        expect(not node.is_master, f"{ROOT}/repositories names no repository of the node's own")
        return
    jar = node.text("readlink -f %s/sbt-launch.jar", ROOT)
    version = re.search(r"sbt-launch-(.+)\.jar", jar)[1]
    file = node.host.file(f"{own[1]}/org/scala-sbt/sbt/{version}/sbt-{version}.jar")
    expect(file.exists, f"sbt {version} is not in {own[1]}")
