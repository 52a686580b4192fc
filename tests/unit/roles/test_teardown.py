"""A teardown takes what is ours, leaves the data, and the second one has nothing to do."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"


@pytest.fixture
def teardown(plugin):
    return plugin("modules", "mammoctl_teardown")


def test_jobs_that_run_are_stopped_with_the_services() -> None:
    variables = yaml.safe_load((PLAYBOOKS / "vars/teardown.yml").read_text())
    running = ["mammoctl-job-train-1.service", "application by hand", "mammoctl-job-x.service"]
    templar = Templar(DataLoader(), variables={"teardown_seen": {"running": running}})
    found = templar.template(trust_as_template(variables["teardown_jobs"]))
    assert found == [{"name": running[0]}, {"name": running[2]}]
    text = (PLAYBOOKS / "teardown.yml").read_text()
    # From the last to the first: before Spark, which they use.
    assert "mammoctl_units + teardown_jobs }}" in text


def test_what_goes_is_told_in_few_paths_and_once(teardown, tmp_path) -> None:
    for name in ("ours/a/b", "data/keep/1", "data/scratch/2"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "data/link").symlink_to(tmp_path / "data/keep")
    keep = [str(tmp_path / "data/keep")]
    assert teardown.going(str(tmp_path / "ours"), keep) == [str(tmp_path / "ours")]
    assert teardown.going(str(tmp_path / "data"), keep) == [
        str(tmp_path / "data/link"),
        str(tmp_path / "data/scratch"),
    ]
    teardown.clear(str(tmp_path / "data"), keep)
    assert teardown.going(str(tmp_path / "data"), keep) == []
    assert (tmp_path / "data/keep/1").is_dir()


def test_a_file_of_others_is_given_back_whole_with_its_mode(teardown, tmp_path) -> None:
    path = tmp_path / "hosts"
    path.write_text("# BEGIN mammoctl\nx\n# END mammoctl\n#mammoctl: 127.0.1.1 me\nmine\n")
    path.chmod(0o640)
    teardown.restore(str(path))
    assert path.read_text() == "127.0.1.1 me\nmine\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == ["hosts"]


class Ended(Exception):
    """What the module said."""


def run(
    teardown, monkeypatch, ansible_module, root: Path, *, check: bool, **other: object
) -> dict[str, object]:
    """Run the module on the record below ``root``, with data kept; no account, no package."""
    path = str(root / "var/manifest.json")
    kinds = ("packages", "holds", "users", "directories", "files", "blocks")
    manifest: dict[str, list[str]] = {kind: [] for kind in kinds}
    manifest["trees"] = [str(root / name) for name in ("opt", "hdfs")]
    monkeypatch.setattr(teardown, "PATH", path)
    monkeypatch.setattr(teardown, "load", lambda: manifest)
    monkeypatch.setattr(teardown, "save", lambda _manifest: None)
    given = {"keep": [str(root / "hdfs/name")], "empty": [], "packages": True, **other}
    module = ansible_module(check_mode=check, **given)

    def end(**result: object) -> None:
        raise Ended(result)

    module.exit_json = end
    module.run_command = lambda *_args, **_rest: (0, "", "")
    monkeypatch.setattr(teardown, "AnsibleModule", lambda **_rest: module)
    with pytest.raises(Ended) as caught:
        teardown.main()
    return dict(caught.value.args[0])


def test_the_second_teardown_that_keeps_the_data_changes_nothing(
    teardown, monkeypatch, ansible_module, tmp_path
) -> None:
    for name in ("opt/bin", "hdfs/name", "hdfs/old", "var"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "var/manifest.json").write_text("{}")
    gone = [str(tmp_path / "opt"), str(tmp_path / "hdfs/old")]
    for check in (True, False):
        done = run(teardown, monkeypatch, ansible_module, tmp_path, check=check)
        assert (done["changed"], done["removed"]) == (True, gone)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hdfs", "var"]
    for check in (True, False):
        done = run(teardown, monkeypatch, ansible_module, tmp_path, check=check)
        assert (done["changed"], done["removed"]) == (False, [])
    assert (tmp_path / "hdfs/name").is_dir()


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """A folder that was there before us, with blocks in it, and one that we made."""
    (tmp_path / "var").mkdir()
    (tmp_path / "var/manifest.json").write_text("{}")
    (tmp_path / "opt/bin").mkdir(parents=True)
    disk = tmp_path / "data"
    for name in ("current/BP-1/finalized", "lost+found"):
        (disk / name).mkdir(parents=True)
    (disk / "current/BP-1/finalized/blk_1").write_text("pixels")
    (disk / "in_use.lock").touch()
    return disk


def test_with_the_data_goes_what_lies_on_a_disk_that_was_there_before(
    teardown, monkeypatch, ansible_module, mounted
) -> None:
    root, nothing_kept = mounted.parent, {"keep": [], "empty": [str(mounted), str(mounted / "no")]}
    given = teardown, monkeypatch, ansible_module, root
    monkeypatch.setattr(teardown, "accounts", lambda _names: ({os.getuid()}, set()))
    planned = run(*given, check=True, **nothing_kept)
    assert str(mounted / "current") in planned["removed"]
    assert (mounted / "current/BP-1/finalized/blk_1").is_file()
    done = run(*given, check=False, **nothing_kept)
    assert done["removed"] == planned["removed"]
    assert not any("lost+found" in text for text in done["warnings"])
    assert mounted.is_dir(), "a mount point stays"
    assert not (mounted / "current").exists()
    assert not (mounted / "in_use.lock").exists()


def test_what_is_of_others_there_stays_and_is_told(
    teardown, monkeypatch, ansible_module, mounted
) -> None:
    monkeypatch.setattr(teardown, "accounts", lambda _names: (set(), set()))
    given = teardown, monkeypatch, ansible_module, mounted.parent
    done = run(*given, check=False, keep=[], empty=[str(mounted)])
    assert (mounted / "current/BP-1/finalized/blk_1").is_file()
    (warning,) = done["warnings"]
    assert str(mounted / "current") in warning
    assert "lost+found" not in warning


def test_what_nodes_share_is_emptied_by_all_of_them_at_once(teardown, monkeypatch, mounted) -> None:
    scandir, gone = os.scandir, [mounted / "current/BP-1/finalized/blk_1", mounted / "in_use.lock"]

    def listed(folder):
        found = list(scandir(folder))
        for path in gone:
            path.unlink(missing_ok=True)  # by another node
        return found

    with monkeypatch.context() as patch:
        patch.setattr(teardown.os, "scandir", listed)
        teardown.empty(str(mounted), {os.getuid()}, set())
    assert not (mounted / "current").exists()
    teardown.empty(str(mounted / "current"), {os.getuid()}, set())


def variables(**given: object) -> dict[str, list[str]]:
    found = yaml.safe_load((PLAYBOOKS / "group_vars/all/main.yml").read_text())
    found |= yaml.safe_load((PLAYBOOKS / "vars/teardown.yml").read_text())
    templar = Templar(DataLoader(), variables={**_trusted(found), **given})
    names = ("mammoctl_data_paths", "teardown_folders")
    return {name: templar.template(trust_as_template(f"{{{{ {name} }}}}")) for name in names}


def _trusted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _trusted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_trusted(inner) for inner in value]
    return trust_as_template(value) if isinstance(value, str) else value


def test_which_folders_are_kept_and_which_are_emptied() -> None:
    found = variables(
        hdfs_data_dir="/data", spark_var_dir="/fast", mammoctl_shared_path="/mnt/ward"
    )
    assert {"/data", "/mnt/ward"} <= set(found["mammoctl_data_paths"])
    folders = found["teardown_folders"]
    assert {"/data", "/fast/local", "/fast/work", "/mnt/ward/data"} <= set(folders)
    assert "/mnt/ward" not in folders, "others keep theirs beside it"
    assert "/fast" not in folders
    assert "/var/lib/mammoctl/storage" in variables()["mammoctl_data_paths"]
