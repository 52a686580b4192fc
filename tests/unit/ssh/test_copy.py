"""`mammoctl cp`: what lands where."""

from __future__ import annotations

import json

import pytest

from mammoctl.errors import UsageError
from mammoctl.ssh.copy import Place, place

pytestmark = pytest.mark.programs


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a.txt", Place(None, "a.txt")),
        ("./a:b", Place(None, "./a:b")),
        ("/x/a:b", Place(None, "/x/a:b")),
        ("ward1:/etc/x", Place("ward1", "/etc/x")),
        ("ward*:", Place("ward*", ".")),
        ("ward1:~/x", Place("ward1", "x")),
        ("ward1:-x", Place("ward1", "./-x")),
        (":x", Place(None, ":x")),
    ],
)
def test_places(text, meant):
    assert place(text) == meant


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Two folders: what is here, and what the hosts (all the same machine) have."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here" / "run.sh").write_text("true\n")
    (tmp_path / "here" / "run.sh").chmod(0o755)
    (tmp_path / "here" / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "here" / "tree" / "sub" / "a b").write_text("A")
    (tmp_path / "here" / "tree" / "link").symlink_to("sub/a b")
    return tmp_path


def test_a_file_under_a_new_name_keeps_its_mode(command, here):
    done = command("cp", "run.sh", f"ward1:{here}/there/new name")
    assert done.exit_code == 0, done.output
    target = here / "there" / "new name"
    assert target.read_text() == "true\n"
    assert target.stat().st_mode & 0o777 == 0o755
    assert "ward1: copied, 0.0 MB" in done.stderr
    assert done.stdout == ""


def test_into_a_folder_that_is_there(command, here):
    done = command("cp", "-r", "run.sh", "tree", f"ward1:{here}/there")
    assert done.exit_code == 0, done.output
    assert (here / "there" / "run.sh").is_file()
    assert (here / "there" / "tree" / "sub" / "a b").read_text() == "A"
    assert (here / "there" / "tree" / "link").is_symlink()


def test_a_folder_under_a_new_name(command, here):
    assert command("cp", "tree", f"ward1:{here}/there/copy").exit_code == 0
    assert (here / "there" / "copy" / "sub" / "a b").read_text() == "A"


def test_several_need_a_folder(command, here):
    done = command("cp", "run.sh", "tree", f"ward1:{here}/there/none", "--json")
    (node,) = json.loads(done.stdout)["nodes"]
    assert done.exit_code == 1
    assert node["error"] == f"ward1: {here}/there/none is not a folder"
    assert node["hint"] == f"make it first: mammoctl exec ward1 -- mkdir -p {here}/there/none"


def test_from_one_node(command, here):
    (here / "there" / "log").write_text("L" * 1000)
    done = command("cp", f"ward2:{here}/there/log", "got", "--json")
    assert done.exit_code == 0, done.output
    assert (here / "here" / "got").read_text() == "L" * 1000
    assert json.loads(done.stdout)["nodes"] == [{"name": "ward2", "ok": True, "bytes": 1000}]
    assert command("cp", f"ward2:{here}/there", ".").exit_code == 0
    assert (here / "here" / "there" / "log").is_file()


def test_from_several_nodes_each_has_its_folder(command, here):
    (here / "there" / "log").write_text("L")
    done = command("cp", f"all:{here}/there/log", "logs/")
    assert done.exit_code == 0, done.output
    found = sorted(str(path.relative_to(here / "here")) for path in here.glob("here/logs/*/*"))
    assert found == [f"logs/{name}/log" for name in ("ward1", "ward2", "ward3")]


def test_what_is_not_there(command, here):
    done = command("cp", f"ward1:{here}/there/none", ".", "--json")
    (node,) = json.loads(done.stdout)["nodes"]
    assert node["error"] == f"ward1: there is no {here}/there/none"
    assert "--sudo" in node["hint"]
    assert done.exit_code == 1


def test_as_root(command, here, sudo):
    assert command("cp", "--sudo", "run.sh", f"ward1:{here}/there/x").exit_code == 0
    assert command("cp", "--sudo", f"ward1:{here}/there/x", "back").exit_code == 0
    assert (here / "here" / "back").read_text() == "true\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run.sh", "other"], "no node is meant"),
        (["ward1:/x", "ward2:/x"], "from node to node is two steps"),
        (["none.txt", "ward1:/tmp"], "there is no file none.txt here"),
        (["run.sh", "wrad1:/tmp"], "test has no node wrad1"),
        (["ward1:/x", "none/there"], "there is no folder none"),
        (["all:/x", "run.sh"], "run.sh is not a folder"),
    ],
)
def test_refused_before_anything_is_done(command, here, words, message):
    done = command("cp", *words)
    assert isinstance(done.exception, UsageError)
    assert done.exception.message == message
