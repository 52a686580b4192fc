"""The module that lays files down: true check mode, permissions, blocks, secrets."""

from __future__ import annotations

import os
import pwd
import stat

import pytest

ME = pwd.getpwuid(os.getuid()).pw_name
MINE = {"owner": ME, "group": __import__("grp").getgrgid(os.getgid()).gr_name}


@pytest.fixture
def layer(plugin, ansible_module, tmp_path, monkeypatch):
    module = plugin("modules", "mammoctl_files")
    records = []
    monkeypatch.setattr(module, "record", lambda kind, names: records.append((kind, *names)))

    def make(check=False):
        made = module.Layer(ansible_module(check))
        made.records = records
        return made

    return make


def item(path, **rest):
    base = {
        "path": str(path),
        "state": "file",
        "content": None,
        "secret_content": None,
        "target": None,
        "mode": None,
        "validate": None,
        "disable": None,
    }
    return {**base, **MINE, **rest}


def test_a_file_is_written_once(layer, tmp_path):
    path = tmp_path / "a" / "b.conf"
    wanted = item(path, content="x\n", mode="0640")
    old = os.umask(0o077)
    try:
        first = layer()
        first.file(wanted)
    finally:
        os.umask(old)
    assert path.read_text() == "x\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    assert first.changed == [str(path)]
    assert ("files", str(path)) in first.records
    second = layer()
    second.file(wanted)
    assert second.changed == []


def test_check_mode_predicts_and_writes_nothing(layer, tmp_path):
    path = tmp_path / "b.conf"
    predicted = layer(check=True)
    predicted.file(item(path, content="x\n"))
    assert predicted.changed == [str(path)]
    assert predicted.diff[0]["after"] == "x\n"
    assert not path.exists()


def test_only_the_mode_differs(layer, tmp_path):
    path = tmp_path / "b.conf"
    path.write_text("x\n")
    path.chmod(0o600)
    made = layer()
    made.file(item(path, content="x\n", mode="0644"))
    assert made.changed == [str(path)]
    assert "mode 0600" in made.diff[0]["before"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_secret_is_in_the_file_and_nowhere_else(layer, tmp_path):
    path = tmp_path / "s.conf"
    path.write_text("old-secret\n")
    made = layer()
    made.file(item(path, secret_content="hunter2\n", mode="0600"))
    assert path.read_text() == "hunter2\n"
    assert "hunter2" not in repr(made.diff)
    assert "old-secret" not in repr(made.diff)


def test_an_invalid_file_leaves_the_old_one(layer, tmp_path):
    path = tmp_path / "run.sh"
    path.write_text("echo old\n")
    with pytest.raises(AssertionError, match="not valid"):
        layer().file(item(path, content="if then\n", validate="sh -n %s"))
    assert path.read_text() == "echo old\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.sh"]


def test_a_link_is_switched_and_a_folder_is_never_replaced(layer, tmp_path):
    path = tmp_path / "link"
    path.symlink_to("/one")
    made = layer()
    made.link(item(path, state="link", target="/two"))
    assert str(path.readlink()) == "/two"
    assert made.changed == [str(path)]
    again = layer()
    again.link(item(path, state="link", target="/two"))
    assert again.changed == []
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(AssertionError, match="move it away"):
        layer().link(item(folder, state="link", target="/two"))


def test_a_block_leaves_the_lines_of_others(plugin):
    text = plugin("module_utils", "mammoctl_files_text")
    before = "127.0.0.1 localhost\n127.0.1.1 node1\n192.0.2.9 printer\n"
    after = text.with_block(before, "10.0.0.1 node1\n", r"^127\.0\.1\.1\s")
    assert after.startswith("# BEGIN mammoctl\n10.0.0.1 node1\n# END mammoctl\n")
    assert "\n#mammoctl: 127.0.1.1 node1\n" in after
    assert text.with_block(after, "10.0.0.1 node1\n", r"^127\.0\.1\.1\s") == after
    assert text.without_block(after) == before


def test_flattened_items(plugin):
    action = plugin("action", "mammoctl_files")
    assert action.flattened([{"a": 1}, [{"b": 2}, {"c": 3}], []]) == [{"a": 1}, {"b": 2}, {"c": 3}]


@pytest.mark.parametrize("check", [True, False])
def test_what_others_put_there_is_refused_by_a_prediction_as_well(layer, tmp_path, check):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(AssertionError, match="folder is a folder that mammoctl did not make"):
        layer(check).link(item(tmp_path / "folder", target="/opt/x"))
    with pytest.raises(AssertionError, match="file is there and is no folder"):
        layer(check).directory(item(tmp_path / "file"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_an_account_is_made_by_one_command(plugin):
    making = plugin("module_utils", "mammoctl_account").making
    assert making("spark", "/var/lib/spark", "/usr/sbin/nologin") == [
        *("useradd", "--system", "--user-group", "--no-create-home"),
        *("--home-dir", "/var/lib/spark", "--shell", "/usr/sbin/nologin", "spark"),
    ]


@pytest.mark.parametrize("check", [True, False])
def test_what_is_wanted_no_more_goes_and_nothing_else(layer, tmp_path, check):
    for name in ("mammoctl-a.crt", "mammoctl-b.crt", "theirs.crt"):
        (tmp_path / name).touch()
    made = layer(check)
    wanted = {str(tmp_path / "mammoctl-a.crt")}
    made.others_absent(item(tmp_path / "mammoctl-*.crt", state="others_absent"), wanted)
    assert made.changed == [str(tmp_path / "mammoctl-b.crt")]
    left = ["mammoctl-a.crt", "theirs.crt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == (
        ["mammoctl-a.crt", "mammoctl-b.crt", "theirs.crt"] if check else left
    )
