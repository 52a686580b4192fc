"""A backup and its restoration over real connections, with a NameNode's folder made of files."""

from __future__ import annotations

import getpass
import hashlib
import json
import shutil
import tarfile
from dataclasses import replace
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from mammoctl import cluster as clusters
from mammoctl import lock
from mammoctl.backup import name_table, records
from mammoctl.backup.archive import Damaged
from mammoctl.cli import app
from mammoctl.errors import MammoctlError, PlaybookFailed, RemoteError, UsageError

pytestmark = pytest.mark.programs

VERSION = "#A date\nclusterID=CID-{}\nblockpoolID=BP-1\nlayoutVersion=-67\n"
IMAGE = "fsimage_0000000000000000000"
SEGMENT = "edits_0000000000000000001-0000000000000000016"
OPEN = "edits_inprogress_0000000000000000001"

# Ends the open segment, as the NameNode does.
HDFS = f"""
[ "$*" = "dfsadmin -safemode forceExit" ] && echo "$*" >> {{root}}/systemctl && exit
[ "$*" = "dfsadmin -rollEdits" ] || exit 9
cd "$(cat {{root}}/where)/current" || exit 1
[ ! -e {OPEN} ] || mv {OPEN} {SEGMENT}
echo later > edits_inprogress_0000000000000000017
echo 17 > seen_txid
"""
RECORD = SimpleNamespace(
    spark_version="4.3.0", bundle="b" * 16, storage=SimpleNamespace(kind="hdfs"),
    master=SimpleNamespace(address="10.0.0.1"),
)  # fmt: skip


@pytest.fixture
def site(ward, tmp_path, monkeypatch, sudo, program):
    """A cluster: its inventory here, and what its master keeps in folders."""
    root = tmp_path / "master"
    name, data = root / "name", root / "data"
    monkeypatch.setattr(records, "ROOTS", {k: str(root / k) for k in ("jobs", "data-ids")})
    monkeypatch.setattr(lock, "FILE", str(root / "lock"))
    monkeypatch.setattr(name_table, "HDFS", str(tmp_path / "bin" / "hdfs"))
    monkeypatch.setattr(name_table, "JARS", str(root / "jars"))
    program("hdfs", HDFS.replace("{root}", str(root)))
    program("systemctl", f'echo "$*" >> {root}/systemctl\n')
    for folder in (name / "current", data / "current", root / "jars"):
        folder.mkdir(parents=True)
    (root / "jars" / "hdfs-3.5.0.jar").touch()
    (root / "where").write_text(str(name))
    (name / "current" / "VERSION").write_text(VERSION.format("one"))
    (data / "current" / "VERSION").write_text(VERSION.format("one"))
    (name / "current" / IMAGE).write_text("the names")
    total = hashlib.md5(b"the names").hexdigest()  # noqa: S324  as HDFS does
    (name / "current" / f"{IMAGE}.md5").write_text(f"{total} *{IMAGE}\n")
    (name / "current" / OPEN).write_text("what happened since")
    for job in ("train-1", "count-2"):
        (root / "jobs" / job).mkdir(parents=True)
        (root / "jobs" / job / "state.json").write_text(job)
    (root / "data-ids" / "small").mkdir(parents=True)
    (root / "data-ids" / "small" / "ids.csv").write_text("a.dcm,1\n")
    (root / "data-ids" / "small" / "ids.csv").chmod(0o600)
    here = tmp_path / "here"
    here.mkdir()
    folder = here / "inventory" / "test"
    (folder / "secrets").mkdir(parents=True)
    (folder / "secrets" / "spark_auth_secret").write_text("s3cret\n")
    (folder / "hosts.yml").write_text("all:\n")
    shutil.copy(tmp_path / "known_hosts", folder)
    (folder / "notes.txt").write_text("nobody's to copy")
    variables = {
        "hdfs_name_dir": str(name), "hdfs_data_dir": str(data), "hdfs_user": getpass.getuser(),
        "hdfs_formatted_marker": str(root / "formatted"),
    }  # fmt: skip
    hosts = {name: replace(host, vars=variables) for name, host in ward.hosts.items()}
    cluster = replace(
        ward, path=folder, source=folder / "hosts.yml", vars=variables, hosts=hosts,
        master=hosts[ward.master.name], workers=[hosts[one.name] for one in ward.workers],
    )  # fmt: skip
    monkeypatch.setattr("mammoctl.inventory.load", lambda *_a, **_k: cluster)
    monkeypatch.setattr(clusters, "read", lambda _nodes: RECORD)
    counted = {"files": 7, "blocks": 3, "missing_blocks": 0, "cluster_id": "CID-one"}
    monkeypatch.setattr(name_table, "counts", lambda *_a: counted)
    beans = {"Safemode": "", "BytesInFutureReplicatedBlocks": 0}
    monkeypatch.setattr(name_table, "_bean", lambda *_a: beans)
    monkeypatch.setattr("mammoctl.backup.restore._alive", lambda _nodes: {"train-1"})
    monkeypatch.setattr("mammoctl.backup.restore._refuse_work", lambda _nodes: None)
    ran = []
    monkeypatch.setattr(
        "mammoctl.ansible.runner.run_playbook", lambda verb, *_a, **_k: ran.append(verb)
    )
    monkeypatch.chdir(here)
    return SimpleNamespace(
        root=root, folder=folder, name=name, data=data, beans=beans, ran=ran, cluster=cluster
    )


def mammoctl(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(done.exception, MammoctlError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if "--json" in words else done


@pytest.fixture
def saved(site, tmp_path):
    target = tmp_path / "ward.backup"
    mammoctl("backup", "--output", target)
    return target


def restore(saved, *words):
    return mammoctl("restore", saved, "--yes", "--json", *words)


def test_a_backup_has_everything_and_nothing_else(site, tmp_path):
    target = tmp_path / "x.backup"
    done = mammoctl("backup", "--output", target, "--json")
    assert target.stat().st_mode & 0o777 == 0o600
    manifest = done["manifest"]
    assert (manifest["jobs"], manifest["data-ids"]) == (["count-2", "train-1"], ["small"])
    assert manifest["name-table"]["last_transaction"] == 16
    assert manifest["name-table"]["jar"] == "hdfs-3.5.0.jar"
    with tarfile.open(target) as tar:
        names = tar.getnames()
    assert "inventory/secrets/spark_auth_secret" in names
    assert "inventory/known_hosts" in names
    assert not [name for name in names if "notes" in name]


def test_where_nothing_is_missing_nothing_is_done(site, saved):
    done = restore(saved)
    assert done["inventory"]["written"] == []
    assert not {"jobs", "data-ids", "name-table"} & set(done)
    assert site.ran == []


def test_a_lost_name_table_comes_back(site, saved):
    shutil.rmtree(site.name)
    done = restore(saved)
    current = site.name / "current"
    assert (current / IMAGE).read_text() == "the names"
    assert (current / SEGMENT).read_text() == "what happened since"
    # What came after the backup is not asked for: the NameNode would refuse to start without it.
    assert (current / "seen_txid").read_text() == "16\n"
    assert done["name-table"]["aside"] == ""
    assert site.ran == ["start"]
    assert "stop hdfs-namenode.service" in (site.root / "systemctl").read_text()
    assert (site.root / "formatted").exists()
    assert [path.name for path in site.name.iterdir()] == ["current"]


def test_blocks_that_are_newer_than_the_table_go_only_when_told(site, saved):
    """HDFS does not leave its safe mode by itself, for it would remove them."""
    shutil.rmtree(site.name)
    site.beans |= {"Safemode": "blocks in the future", "BytesInFutureReplicatedBlocks": 77}
    with pytest.raises(name_table.NewerBlocks) as caught:
        restore(saved)
    assert "77 bytes" in caught.value.message
    assert "--only name-table --discard-newer" in caught.value.hint
    assert (site.name / "current" / IMAGE).exists()  # what it names can be read
    assert site.ran == []
    done = restore(saved, "--only", "name-table", "--discard-newer")
    assert done["name-table"]["discarded_bytes"] == 77
    assert done["name-table"]["aside"] == ""
    assert (site.root / "systemctl").read_text().endswith("dfsadmin -safemode forceExit\n")
    assert site.ran == ["start"]


def test_blocks_that_are_missing_keep_hdfs_from_becoming_whole(site, saved, monkeypatch):
    monkeypatch.setattr(name_table, "_PAUSE_S", 0.05)
    monkeypatch.setitem(site.cluster.vars, "hdfs_timeout_s", 1)
    site.beans["Safemode"] = "The reported blocks 1 needs additional 2 blocks"
    with pytest.raises(MammoctlError, match="not whole after 1 s") as caught:
        restore(saved, "--only", "name-table", "--force")
    assert caught.value.details[0] == site.beans["Safemode"]
    assert "lie in" in caught.value.details[1]


def test_one_that_is_there_stays_unless_told_and_then_lies_aside(site, saved):
    (site.name / "current" / "later").touch()
    told = restore(saved, "--only", "name-table")
    assert "--only name-table --force replaces it" in told["notes"][0]
    assert site.ran == []
    done = restore(saved, "--only", "name-table", "--force")
    assert not (site.name / "current" / "later").exists()
    aside = done["name-table"]["aside"]
    assert aside.startswith(f"{site.name}/current.before-restore-")
    assert (site.name / aside / "later").exists()


def test_the_names_of_other_blocks_are_refused(site, saved):
    shutil.rmtree(site.name)
    (site.data / "current" / "VERSION").write_text(VERSION.format("two"))
    with pytest.raises(name_table.OtherCluster) as caught:
        restore(saved)
    assert caught.value.details[0] == "ward1 keeps blocks of HDFS CID-two"
    assert not site.name.exists()


def test_each_workers_own_folder_is_asked_and_blocks_nowhere_are_a_refusal(
    site, saved, monkeypatch
):
    nodes, table = SimpleNamespace(), {"cluster_id": "CID-one"}
    own = {"w1": {}, "w2": {"hdfs_data_dir": "/disk2"}}
    workers = [SimpleNamespace(name=name, vars=values) for name, values in own.items()]
    nodes.cluster = SimpleNamespace(workers=workers)
    asked = {}

    def run_all(argv, **_rest):
        asked.update({name: line[-1] for name, line in argv.items()})
        return {name: SimpleNamespace(stdout=said.get(name, "")) for name in argv}

    nodes.run_all = run_all
    monkeypatch.setattr(name_table, "require_all", lambda found: found)
    said = {"w2": VERSION.format("one")}
    name_table.require_same(nodes, table)
    assert asked == {"w1": "/var/lib/hdfs/data", "w2": "/disk2"}
    said.clear()
    with pytest.raises(RemoteError, match="no worker keeps blocks") as caught:
        name_table.require_same(nodes, table)
    assert "w2: nothing in /disk2/current" in caught.value.details


def test_a_table_that_another_version_wrote_is_refused(site, saved):
    shutil.rmtree(site.name)
    (site.root / "jars" / "hdfs-3.5.0.jar").rename(site.root / "jars" / "hdfs-3.4.0.jar")
    with pytest.raises(UsageError, match=r"written by hdfs-3\.5\.0\.jar"):
        restore(saved)


def test_a_table_that_does_not_start_names_the_one_before(site, saved, monkeypatch):
    def fail(*_arguments, **_options):
        raise PlaybookFailed("start failed")

    monkeypatch.setattr("mammoctl.ansible.runner.run_playbook", fail)
    with pytest.raises(PlaybookFailed) as caught:
        restore(saved, "--only", "name-table", "--force")
    assert "lie in" in caught.value.details[0]


def test_an_image_that_is_damaged_is_not_put_in_place(site, tmp_path):
    (site.name / "current" / IMAGE).write_text("the names, altered on the disk")
    target = tmp_path / "bad.backup"
    mammoctl("backup", "--output", target)
    with pytest.raises(MammoctlError):
        restore(target, "--only", "name-table", "--force")
    assert not (site.root / "systemctl").exists()  # the NameNode was not touched
    assert sorted(path.name for path in site.name.iterdir()) == ["current"]


def test_jobs_and_maps_that_are_missing_come_back(site, saved):
    shutil.rmtree(site.root / "jobs")
    shutil.rmtree(site.root / "data-ids" / "small")
    done = restore(saved)
    assert (done["jobs"], done["data-ids"]) == (["count-2", "train-1"], ["small"])
    assert (site.root / "jobs" / "train-1" / "state.json").read_text() == "train-1"
    assert (site.root / "data-ids" / "small" / "ids.csv").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in (site.root / "jobs").iterdir()) == ["count-2", "train-1"]


def test_jobs_that_are_there_are_replaced_only_when_told_and_never_while_they_run(site, saved):
    for job in ("train-1", "count-2"):
        (site.root / "jobs" / job / "state.json").write_text("newer")
    assert "jobs" not in restore(saved, "--only", "jobs")
    done = restore(saved, "--only", "jobs", "--force")
    assert done["jobs"] == ["count-2"]
    assert done["notes"] == ["job train-1 runs: it is left alone"]
    assert (site.root / "jobs" / "count-2" / "state.json").read_text() == "count-2"
    assert (site.root / "jobs" / "train-1" / "state.json").read_text() == "newer"


def test_a_machine_that_knows_nothing_gets_the_inventory(site, saved):
    secret = site.folder / "secrets" / "spark_auth_secret"
    shutil.rmtree(site.folder)
    done = restore(saved, "--only", "inventory")
    assert secret.read_text() == "s3cret\n"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.parent.stat().st_mode & 0o777 == 0o700
    assert "hosts.yml" in done["inventory"]["written"]


def test_an_inventory_that_differs_stays_unless_told(site, saved):
    secret = site.folder / "secrets" / "spark_auth_secret"
    secret.write_text("another\n")
    assert restore(saved)["inventory"]["left"] == ["secrets/spark_auth_secret"]
    assert secret.read_text() == "another\n"
    done = restore(saved, "--only", "inventory", "--force")
    assert secret.read_text() == "s3cret\n"
    aside = done["inventory"]["aside"]
    assert (site.folder / aside / "secrets" / "spark_auth_secret").read_text() == "another\n"


def test_what_is_refused_before_anything_is_done(site, saved, monkeypatch):
    with pytest.raises(UsageError, match="must be told what"):
        restore(saved, "--force")
    with pytest.raises(UsageError, match="no part blocks"):
        restore(saved, "--only", "blocks")
    shutil.rmtree(site.name)
    with pytest.raises(UsageError, match="needs a confirmation"):
        mammoctl("restore", saved, "--json")
    assert not site.name.exists()
    other = replace(site.cluster, name="ward9")
    monkeypatch.setattr("mammoctl.inventory.load", lambda *_a, **_k: other)
    with pytest.raises(UsageError, match="is of the cluster test"):
        restore(saved)
    saved.write_bytes(saved.read_bytes().replace(b"s3cret", b"S3cret"))
    with pytest.raises(Damaged):
        restore(saved)


def test_a_namenode_that_is_silent_is_no_reason_for_half_a_backup(site, tmp_path, program):
    program("hdfs", "echo Connection refused >&2; exit 1\n")
    target = tmp_path / "x.backup"
    with pytest.raises(MammoctlError, match="does not write its names down"):
        mammoctl("backup", "--output", target)
    assert not target.exists()
    assert not list(tmp_path.glob(".mammoctl-*"))
