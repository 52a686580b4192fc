"""The way back from an upgrade, and what is tidied up behind one."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

OLD, NEW, OLDER = "a" * 16, "b" * 16, "c" * 16


@pytest.fixture
def upgrade(plugin):
    return plugin("modules", "mammoctl_upgrade")


@pytest.fixture
def node(tmp_path, upgrade, monkeypatch):
    """A node in a folder: two settings and the link to its environment."""
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "one.conf").write_text("one\n")
    (etc / "two.conf").write_text("secret\n")
    (etc / "two.conf").chmod(0o640)
    link = tmp_path / "env"
    link.symlink_to(f"/envs/{OLD}")
    manifest = {"files": [str(etc / "one.conf"), str(etc / "two.conf")]}
    monkeypatch.setattr(upgrade, "SETTINGS", (str(tmp_path),))
    monkeypatch.setattr(upgrade, "load", lambda: manifest)
    monkeypatch.setattr(upgrade, "save", manifest.update)
    module = SimpleNamespace(check_mode=False, params={"link": str(link)}, ran=[])
    module.run_command = module.ran.append
    kept = tmp_path / "previous"
    return SimpleNamespace(etc=etc, link=link, manifest=manifest, module=module, kept=str(kept))


def kept_by(upgrade, node):
    names = upgrade.settings(node.manifest, str(node.link))
    upgrade.keep(node.kept, names, {"bundle": OLD, "spark_version": "1", "env": "x"}, NEW)
    return upgrade.read_json(f"{node.kept}/{upgrade.RECORD}")


def test_what_an_upgrade_replaced_comes_back(upgrade, node):
    record = kept_by(upgrade, node)
    assert Path(node.kept).stat().st_mode & 0o777 == 0o700
    (node.etc / "one.conf").write_text("another\n")
    (node.etc / "two.conf").chmod(0o644)
    (node.etc / "three.conf").write_text("new\n")
    node.manifest["files"].append(str(node.etc / "three.conf"))
    node.link.unlink()
    node.link.symlink_to(f"/envs/{NEW}")

    changed = upgrade.restore(node.module, node.kept, record)

    assert set(changed) == {
        *(str(node.etc / name) for name in ("one.conf", "two.conf", "three.conf")),
        str(node.link),
    }
    assert (node.etc / "one.conf").read_text() == "one\n"
    assert (node.etc / "two.conf").stat().st_mode & 0o777 == 0o640
    assert not (node.etc / "three.conf").exists()
    assert str(node.etc / "three.conf") not in node.manifest["files"]
    assert node.link.readlink() == Path(f"/envs/{OLD}")
    assert upgrade.restore(node.module, node.kept, record) == []


def test_the_copies_are_for_root_alone(upgrade, node):
    kept_by(upgrade, node)
    modes = [
        entry.stat().st_mode & 0o077 for entry in os.scandir(node.kept) if entry.name.isdigit()
    ]
    assert modes
    assert not any(modes)


def test_check_mode_changes_nothing(upgrade, node):
    record = kept_by(upgrade, node)
    (node.etc / "one.conf").write_text("another\n")
    node.module.check_mode = True
    assert upgrade.restore(node.module, node.kept, record) == [str(node.etc / "one.conf")]
    assert (node.etc / "one.conf").read_text() == "another\n"


@pytest.mark.parametrize(
    ("kept", "bundle", "same"),
    [
        ({}, OLD, False),
        ({"from": {"bundle": OLD}, "to": NEW}, OLD, True),  # interrupted before the end of a node
        ({"from": {"bundle": OLD}, "to": NEW}, NEW, True),  # the node was through
        ({"from": {"bundle": OLDER}, "to": OLD}, OLD, False),  # that was the upgrade before
        ({"from": {"bundle": OLDER}, "to": NEW}, OLD, False),  # provisioned with others since
    ],
)
def test_an_interrupted_upgrade_does_not_forget_what_was_before_it(upgrade, kept, bundle, same):
    assert upgrade.is_same_upgrade(kept, NEW, bundle) is same


def test_only_what_neither_environment_needs_is_pruned(upgrade, tmp_path):
    envs = tmp_path / "envs"
    for key in (OLDER, OLD, NEW, f"{NEW}-{OLD}"):
        (envs / key).mkdir(parents=True)
    (envs / ".lock").touch()
    old = upgrade.superfluous(str(envs), str(tmp_path / "no"), {OLD, NEW})
    assert old == [str(envs / f"{NEW}-{OLD}"), str(envs / OLDER)]


def test_an_interpreter_goes_with_the_last_environment_on_it(upgrade, tmp_path):
    interpreters = tmp_path / "python"
    for key in (OLD, OLDER):
        (interpreters / key).mkdir(parents=True)
    old = upgrade.superfluous(str(tmp_path / "no"), str(interpreters), {f"{NEW}-{OLD}"})
    assert old == [str(interpreters / OLDER)]


def test_an_unpacked_archive_goes_when_no_setting_names_it(upgrade, tmp_path):
    """What is kept for the way back names its own; where nothing is named, nothing goes."""
    roots = [tmp_path / name for name in ("spark", "sbt", "python")]
    for root in roots:
        for key in (OLDER, OLD, NEW):
            (root / key).mkdir(parents=True)
    link, repositories = tmp_path / "etc-spark", tmp_path / "repositories"
    link.symlink_to(roots[0] / NEW)
    repositories.write_text(f"  mammoctl: file://{roots[1]}/{NEW}/\n")
    kept = tmp_path / "previous"
    names = [str(link), str(repositories), str(tmp_path / "gone")]
    upgrade.keep(str(kept), names, {"bundle": "b"}, "to")
    record = upgrade.read_json(str(kept / "kept.json"))
    link.unlink()
    link.symlink_to(roots[0] / OLD)
    said = upgrade.said_by_settings(str(kept), record, names)
    assert upgrade.unnamed([str(root) for root in roots], said) == [
        str(roots[0] / OLDER),
        *(str(roots[1] / key) for key in sorted((OLDER, OLD))),
    ]
    assert upgrade.unnamed([str(tmp_path / "no")], said) == []


def test_a_worker_is_asked_itself(plugin):
    spark = plugin("modules", "mammoctl_spark")
    pages = {
        "m/json/": {"workers": [{"host": "a", "state": "ALIVE", "cores": 2, "memory": 9}]},
        "w/json/": {"masterurl": ""},
    }
    workers = {"a": {"cores": 2, "memory_mb": 9}}
    assert spark.problems(pages.__getitem__, "m", workers, "") == []
    assert "not registered" in spark.problems(pages.__getitem__, "m", workers, "w")[0]
    pages["w/json/"] = {"masterurl": "spark://m:7077"}
    assert spark.problems(pages.__getitem__, "m", workers, "w") == []


def test_a_datanode_is_asked_itself(plugin):
    hdfs = plugin("modules", "mammoctl_hdfs")

    def info(actors):
        return {"beans": [{"BPServiceActorInfo": actors}]}

    assert hdfs.serves(info('[{"ActorState": "RUNNING", "LastHeartbeat": "2"}]'))
    assert not hdfs.serves(info('[{"ActorState": "RUNNING", "LastHeartbeat": "90"}]'))
    assert not hdfs.serves(info('[{"ActorState": "INIT", "LastHeartbeat": "0"}]'))
    assert not hdfs.serves(info("[]"))


NEEDS = {"jdk": {"jdk"}, "nft": {"nft"}, "lib": {"lib", "jdk", "theirs"}}


def purge(names):
    """Return what goes with the packages: each with what depends on it."""
    return sorted(set().union(*(NEEDS[name.split(":")[0]] for name in names)))


def test_packages_that_others_need_now_stay(plugin):
    teardown = plugin("modules", "mammoctl_teardown")
    assert teardown.removable(["jdk", "nft:amd64"], purge) == ["jdk", "nft:amd64"]
    assert teardown.removable(["jdk", "nft:amd64", "lib"], purge) == ["jdk", "nft:amd64"]
    assert teardown.removable(["lib"], purge) == []
    assert teardown.removable([], purge) == []
