"""`mammoctl support-bundle` over real connections: what it takes, and what it must not."""

from __future__ import annotations

import json
import re
import stat
import tarfile
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from mammoctl import cluster as clusters
from mammoctl import inventory
from mammoctl.check import run as checking
from mammoctl.cli import app
from mammoctl.errors import RemoteError
from mammoctl.findings import Finding
from mammoctl.jobs import known
from mammoctl.support import archive, control, on_node

pytestmark = pytest.mark.programs

# Each stands somewhere from where something is taken; none may be in the archive.
PLANTED = {
    "spark": "Zq7sparkZq", "hmac": "Zq7hmacZq", "become": "Zq7 become Zq", "token": "Zq7tokenZq",
    "nested": "Zq7nestedZq", "comment": "Zq7commentZq", "node": "Zq7nodeZq", "xml": "Zq7xmlZq",
    "argv": "Zq7argvZq", "url": "Zq7urlZq", "patient": "Zq7patientZq", "env": "Zq7envZq",
    "extra": "Zq7extraZq", "ini": "Zq7iniZq", "program": "Zq7programZq", "map": "Zq7mapZq",
}  # fmt: skip
LOG = "20261120-101112-77-provision-klinik.ansible.log"


def entry(message: str) -> str:
    return json.dumps(
        {"__REALTIME_TIMESTAMP": "10000000", "_SYSTEMD_UNIT": "spark-worker.service",
         "PRIORITY": "3", "MESSAGE": message}
    )  # fmt: skip


@pytest.fixture
def klinik(ward, tmp_path, monkeypatch, program, server):
    """Three hosts with secrets in every place that is looked at; the third does not answer."""
    hosts = {
        name: replace(
            host,
            vars={"ansible_become_password": PLANTED["become"], "spark_var_dir": str(tmp_path)},
            port=1 if name == "ward3" else host.port,
        )
        for name, host in ward.hosts.items()
    }
    folder = tmp_path / "klinik"
    (folder / "secrets").mkdir(parents=True)
    (folder / "secrets" / "spark_auth_secret").write_text(PLANTED["spark"] + "\n")
    (folder / "secrets" / "data_hmac").write_text(PLANTED["hmac"] + "\n")
    (folder / "group_vars" / "all").mkdir(parents=True)
    (folder / "hosts.yml").write_text(
        f"# {PLANTED['comment']}\nall:\n  hosts:\n    ward1:\n      ansible_host: 10.9.8.7\n"
        f"      ansible_become_password: {PLANTED['become']}\n"
    )
    (folder / "group_vars" / "all" / "main.yml").write_text(
        f"api_token: {PLANTED['token']}\ncommon_x: !unsafe stays\n"
        f"my_credentials:\n  deep: [{PLANTED['nested']}]\nlater: !vault |\n"
        "  $ANSIBLE_VAULT;1.1;AES256\n  62313365396662343061\n"
        f"mirror: https://user:{PLANTED['url']}@mirror.example.org/debian\n"
    )
    (folder / "group_vars" / "all" / "vault.yml").write_text(
        "$ANSIBLE_VAULT;1.1;AES256\n62313365396662343061\n"
    )
    (folder / "host_vars").mkdir()
    (folder / "host_vars" / "ward1.ini").write_text(
        f"; {PLANTED['comment']}\ndb_password={PLANTED['ini']}\nname=stays\n"
    )
    (folder / "known_hosts").write_text((tmp_path / "known_hosts").read_text())
    cluster = replace(
        ward, name="klinik", path=folder, source=folder / "hosts.yml", hosts=hosts,
        master=hosts["ward1"], workers=list(hosts.values()),
    )  # fmt: skip
    monkeypatch.setenv("MAMMOCTL_LOG_DIR", str(tmp_path / "log"))
    monkeypatch.setenv("SOME_TOKEN", PLANTED["env"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").mkdir()
    key = server.user_key_file.read_text()
    (tmp_path / "log" / LOG).write_text(
        f"$ ansible-playbook -e db_password={PLANTED['extra']}\nbody of a key: {key}\n"
        f"ward1 said {PLANTED['spark']} and {PLANTED['env']} at 10.9.8.7\n"
    )
    (tmp_path / "log" / LOG.replace("klinik", "other")).write_text("not ours\n")
    (tmp_path / "log" / "unfinished-klinik-0.json").write_text(PLANTED["extra"])
    _node(tmp_path, monkeypatch, program)
    return cluster


def _node(tmp_path, monkeypatch, program):
    """What the hosts have, and what their programs say."""
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "spark-defaults.conf").write_text(
        f"spark.authenticate true\nspark.authenticate.secret   {PLANTED['node']}\n"
        "spark.master spark://ward1:7077\n"
    )
    (etc / "core-site.xml").write_text(
        "<property><name>ssl.server.keystore.password</name>\n"
        f"<value>{PLANTED['xml']}</value></property>\n<name>fs.defaultFS</name>\n"
    )
    (etc / "ids.csv").write_text(f"image_id,file\n1,{PLANTED['map']}\n")
    monkeypatch.setattr(
        on_node, "SETTINGS", (f"{etc}/spark-defaults.conf", f"{etc}/core-site.xml", f"{etc}/none")
    )
    record = {"schema": 1, "cluster": "klinik"}
    (etc / "cluster.json").write_text(json.dumps(record))
    monkeypatch.setattr(clusters, "read", lambda _nodes: record)
    jobs = [
        {
            "spec": {"id": "train-1", "kind": "train", "arguments": [PLANTED["patient"]],
                     "data": PLANTED["patient"], "submitted_by": "jane@laptop"},
            "state": {"state": "killed", "reason": "ended by jane@laptop", "submitted_at": 1.0},
        }
    ]  # fmt: skip
    monkeypatch.setattr(known, "list_jobs", lambda _nodes: jobs)

    def check(nodes, extra_args=()):
        found = Finding("ward1", f"proxy http://a:{PLANTED['url']}@proxy.klinik.example.com:3128")
        return checking.Report(nodes.cluster, findings=[found])

    monkeypatch.setattr(checking, "check", check)
    # a sudo that asks nobody, a journal and units that say more than they should
    program(
        "sudo", 'while [ "$1" != -- ]; do [ "$1" = true ] && exit 0; shift; done; shift; "$@"\n'
    )
    said = entry(f"fetched with {PLANTED['node']} by ward2 (10.9.8.7)")
    program("journalctl", f"cat <<'END'\n{said}\nEND\n")
    program("systemctl", f"echo 'java -Dx.y=1 --password {PLANTED['argv']}'\n")
    program("hostname", "echo ward1.klinik.example.com\n")
    program("nft", f"echo 'comment \"token: {PLANTED['program']}\"'; echo '10.9.8.7'\n")
    for name in ("ss", "ip", "lsblk", "timedatectl", "nvidia-smi"):
        program(name, f"echo {name} says 10.9.8.7\n")


@pytest.fixture
def bundle(klinik, monkeypatch):
    """Run the command on these hosts."""
    monkeypatch.setattr(inventory, "load", lambda _: klinik)
    return lambda *words: CliRunner().invoke(app, ["support-bundle", *words])


def contents(path):
    with tarfile.open(path) as tar:
        found = {}
        for member in tar.getmembers():
            assert member.isfile()
            assert stat.S_IMODE(member.mode) == 0o600
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
            top, _slash, rest = member.name.partition("/")
            assert re.fullmatch(r"mammoctl-support-\d{8}-\d{6}", top)
            found[rest] = tar.extractfile(member).read().decode()
    return found


def test_everything_is_taken_and_no_secret(bundle, klinik, tmp_path, server):
    done = bundle("--output", "b.tar.gz", "--json")
    assert done.exit_code == 1, done.output  # ward3
    told = json.loads(done.stdout)
    assert [node["ok"] for node in told["nodes"]] == [True, True, False]
    assert stat.S_IMODE((tmp_path / "b.tar.gz").stat().st_mode) == 0o600
    files = contents(tmp_path / "b.tar.gz")
    assert [one["path"] for one in told["files"]] == list(files)
    assert next(iter(files)) == "CONTENTS.md"
    whole = "\n".join([*files, *files.values()])
    for place, secret in PLANTED.items():
        assert secret not in whole, place
    body = server.user_key_file.read_text().splitlines()[2]
    assert body not in whole
    assert "62313365" not in whole
    assert "not ours" not in whole
    assert "jane@laptop" in files["jobs.json"]  # who ended it, not what it was given
    etc = f"settings{tmp_path}/etc"
    for path in (
        "control/versions.json", f"control/logs/{LOG}", "inventory/hosts.yml", "status.json",
        "inventory/group_vars/all/main.yml", "inventory/host_vars/ward1.ini", "check.json",
        *(f"nodes/{n}/{f}" for n in ("ward1", "ward2") for f in (
            "system.txt", "memory.txt", "disk.txt", "network.txt", "services.txt", "gpu.txt",
            "units.txt", "packages.txt", "guard.txt", "journal/spark-worker.txt", "kernel.txt",
            f"{etc}/spark-defaults.conf", f"{etc}/core-site.xml",
        )),
    ):  # fmt: skip
        assert files[path].strip(), path
    assert not [path for path in files if "ward3" in path or "ids.csv" in path or "none" in path]
    assert "stays" in files["inventory/group_vars/all/main.yml"]
    assert "mirror.example.org" in files["inventory/group_vars/all/main.yml"]
    assert files["inventory/host_vars/ward1.ini"].endswith("\nname=stays\n")
    assert "encrypted as a whole" in files["inventory/group_vars/all/vault.yml"]
    assert "spark.master spark://ward1:7077" in files[f"nodes/ward1/{etc}/spark-defaults.conf"]
    assert files["nodes/ward1/journal/spark-worker.txt"] == (
        "1970-01-01T00:00:10Z err     fetched with [removed] by ward2 (10.9.8.7)\n"
    )
    assert "ward3 (127.0.0.1 port 1) refuses connections" in files["CONTENTS.md"]
    assert json.loads(files["status.json"])["cluster"] == "klinik"
    assert json.loads(files["jobs.json"])[0]["state"] == "killed"
    for path in files:
        if path != "CONTENTS.md":
            assert f"| {path} | " in files["CONTENTS.md"]


def test_names_become_others(bundle, tmp_path):
    done = bundle("--anonymous", "--output", "b.tar.gz")
    assert done.exit_code == 1
    files = contents(tmp_path / "b.tar.gz")
    whole = "\n".join([*files, *files.values()])
    for name in (
        "klinik",
        "ward1",
        "ward2",
        "ward3",
        "10.9.8.7",
        "jane",
        "laptop",
        *PLANTED.values(),
    ):
        assert name not in whole, re.findall(rf".*{name}.*", whole)[:3]
    assert "nodes/node-1/system.txt" in files
    assert "spark://node-1:7077" in whole
    said = files["nodes/node-1/journal/spark-worker.txt"]
    address = re.search(r"by node-2 \((address-\d+)\)\n", said)[1]
    assert f"ansible_host: {address}" in files["inventory/hosts.yml"]
    assert "ward1 is node-1, ward2 is node-2, ward3 is node-3" in done.stderr
    assert "node-3" in files["CONTENTS.md"]


def test_a_person_is_told_what_it_took(bundle, klinik, tmp_path):
    done = bundle()
    (path,) = tmp_path.glob("mammoctl-support-klinik-*.tar.gz")
    assert path.name in done.stdout
    assert "nodes/ward1" in done.stdout
    assert "Look through it before you send it" in done.stdout
    for step in ("Asking ward1, ward2, ward3", "Writing the archive"):
        assert f"==> {step}" in done.stderr
    assert "ward3 (127.0.0.1 port 1) refuses connections" in done.stderr
    assert "Traceback" not in done.output


def test_all_nodes_answer(bundle, klinik, tmp_path):
    del klinik.hosts["ward3"]
    done = bundle("-o", "b.tar.gz")
    assert done.exit_code == 0, done.output
    assert "every node answered in full" in contents(tmp_path / "b.tar.gz")["CONTENTS.md"]


def test_without_root_the_rest_is_taken(bundle, klinik, program, tmp_path):
    program("sudo", 'echo "sudo: a password is required" >&2; exit 1\n')
    for name, host in klinik.hosts.items():
        klinik.hosts[name] = replace(host, vars={})
    done = bundle("-o", "b.tar.gz")
    assert done.exit_code == 1
    assert "cannot become root" in done.stderr
    files = contents(tmp_path / "b.tar.gz")
    assert "nodes/ward1/system.txt" in files
    assert "ward1: user tester cannot become root" in files["CONTENTS.md"]


def test_a_place_that_cannot_be_written_is_told_first(bundle, tmp_path, server):
    (tmp_path / "there.tar.gz").write_text("mine")
    before = server.connections
    for target, words in (
        ("there.tar.gz", "is there already"),
        ("no/such/b.tar.gz", "there is no folder no/such"),
        (str(tmp_path), "is a folder"),
    ):
        done = bundle("-o", target)
        assert done.exception.exit_code == 2
        assert words in done.exception.message
    assert (tmp_path / "there.tar.gz").read_text() == "mine"
    assert server.connections == before


def test_nothing_is_left_when_writing_fails(bundle, tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive.tarfile, "open", fail)
    assert bundle("-o", "b.tar.gz").exit_code == 1
    assert not [path for path in tmp_path.iterdir() if "b.tar.gz" in path.name]


def test_ctrl_c_leaves_no_archive(bundle, tmp_path, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(control, "versions", interrupted)
    done = bundle("-o", "b.tar.gz")
    assert done.exception.exit_code == 130
    assert not [path for path in tmp_path.iterdir() if "b.tar.gz" in path.name]


def test_what_cannot_be_collected_is_told(bundle, klinik, tmp_path, monkeypatch):
    def fail(*_args):
        raise RemoteError("the records of jobs cannot be read", hint="look there")

    monkeypatch.setattr(known, "list_jobs", fail)
    monkeypatch.setattr(checking, "check", fail)
    del klinik.hosts["ward3"]
    done = bundle("-o", "b.tar.gz", "--json")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert [one["part"] for one in told["missing"]] == ["jobs.json", "check.json"]
    files = contents(tmp_path / "b.tar.gz")
    assert "- jobs.json: the records of jobs cannot be read" in files["CONTENTS.md"]
    assert "nodes/ward1/system.txt" in files


def test_an_answer_that_breaks_off_is_told(klinik):
    text = on_node.script([on_node.Part("a.txt", "", "echo one")], "MARK")
    assert "MARK a.txt" not in text.split("printf")[0]
    answer = on_node.parse("n", "\nMARK names\nn1 n1.x\n\nMARK a.txt\none\n", "MARK")
    assert (answer.names, answer.texts) == (("n1", "n1.x"), {"a.txt": "one\n"})
    assert not answer.complete
    assert on_node.parse("n", "MARK a.txt\none\nMARK end\n", "MARK").complete
