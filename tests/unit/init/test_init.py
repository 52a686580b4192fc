"""Which machines are meant, who becomes what, and what the inventory says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mammoctl import inventory
from mammoctl.errors import UsageError
from mammoctl.init import choose, draft, keys, look, write
from mammoctl.init.draft import Draft, Login
from mammoctl.init.look import Disk, Machine

LOGIN = Login(user="admin")


ROOT = (Disk("/", "ext4", 100_000, 50_000),)


def machine(memory_mb=8000, gpus=0, disks=ROOT, cores=4):
    return Machine("debian12", "Debian GNU/Linux 12", "3.11", cores, memory_mb, gpus, disks)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    return folder


def test_words():
    drafts = draft.from_words(
        ["ward1=10.0.0.1", "root@10.0.0.2:2222", "ward3.example.org", "v6=[fd00::1]:23"], LOGIN
    )
    assert [(d.name, d.address, d.login.user, d.login.port) for d in drafts] == [
        ("ward1", "10.0.0.1", "admin", 22),
        ("node2", "10.0.0.2", "root", 2222),
        ("ward3", "ward3.example.org", "admin", 22),
        ("v6", "fd00::1", "admin", 23),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a b"], "not a host"),
        (["h:99999"], "not a host"),
        (["x=h:abc"], "not a host"),
        (["-x=h"], "not a name for a node"),
        (["a=h", "a=i"], "a and a are the same: a"),
        (["a=h", "b=h"], "a and b are the same: h port 22"),
    ],
)
def test_words_that_cannot_be(words, said):
    with pytest.raises(UsageError, match=said):
        draft.from_words(words, LOGIN)


@pytest.mark.parametrize("name", ["", "Ward", "a/b", "..", "example", "-x"])
def test_names_that_no_cluster_can_have(name):
    with pytest.raises(UsageError, match="not a name for a cluster"):
        draft.cluster_name(name)


def test_from_ssh_config(home):
    (home / ".ssh" / "config").write_text(
        "Host gate\n  HostName gate.example.org\n  User me\n  Port 2200\n"
        "Host ward1\n  HostName 10.0.0.1\n  User admin\n  IdentityFile ~/.ssh/ward\n"
        "Host ward2\n  HostName 10.0.0.2\n  Port 2222\n  ProxyJump gate\n"
        "Host far\n  ProxyJump a,b\nHost *\n  Compression yes\n"
    )
    one, two = draft.from_ssh_config(["ward*"], Login())
    assert (one.name, one.address, one.login.user) == ("ward1", "10.0.0.1", "admin")
    assert one.login.key == home / ".ssh" / "ward"
    assert (two.login.port, two.login.jump) == (2222, "me@gate.example.org:2200")
    (one,) = draft.from_ssh_config(["ward1"], Login(user="root", port=24))
    assert (one.login.user, one.login.port) == ("root", 24)
    with pytest.raises(UsageError, match="several jumps"):
        draft.from_ssh_config(["far"], Login())
    with pytest.raises(UsageError) as caught:
        draft.from_ssh_config(["x*"], Login())
    assert caught.value.hint == "it has: far, gate, ward1, ward2"
    (home / ".ssh" / "config").unlink()
    with pytest.raises(UsageError, match="there is no"):
        draft.from_ssh_config(["x"], Login())


def test_from_an_ansible_inventory(tmp_path):
    path = tmp_path / "other.yml"
    path.write_text(
        "all:\n  vars: {ansible_user: ops, ansible_ssh_common_args: '-o ProxyJump=gate'}\n"
        "  children:\n    web: {hosts: {w1: {}}}\n"
        "    ward: {hosts: {n1: {ansible_host: 10.0.0.1, ansible_port: 2222}, n2: {}}}\n"
    )
    one, two = draft.from_ansible(str(path), "ward", Login())
    assert (one.address, one.login) == ("10.0.0.1", Login("ops", None, 2222, "gate"))
    assert two.address == "n2"
    with pytest.raises(UsageError) as caught:
        draft.from_ansible(str(path), "nobody", Login())
    assert "ward, web" in caught.value.hint
    with pytest.raises(UsageError, match="there is no inventory"):
        draft.from_ansible(str(tmp_path / "none"), "all", Login())


@pytest.mark.parametrize(
    ("options", "jump"),
    [
        ({}, ""),
        ({"proxyjump": "none", "ProxyCommand": "none"}, ""),
        ({"ProxyJump": "me@gate:2200"}, "me@gate:2200"),
        ({"ProxyJump": "a,b"}, None),
        ({"ProxyCommand": keys.jump_command(Login(jump="me@gate:2200"), "/k")}, "me@gate:2200"),
        ({"ProxyCommand": "/usr/bin/ssh -W %h:%p gate"}, "gate"),
        ({"ProxyCommand": "nc -X 5 -x proxy:1080 %h %p"}, None),
    ],
)
def test_the_jump_in_options_of_ssh(options, jump):
    assert draft.jump_of(options) == jump


def test_machines_behind_a_jump_that_only_a_command_names(monkeypatch, tmp_path):
    """As `init` itself writes it: without it they would be looked for on this network."""

    def described(args):
        variables = {"n1": {"ansible_ssh_common_args": args}}
        document = {"ward": {"hosts": ["n1"]}, "_meta": {"hostvars": variables}}
        monkeypatch.setattr(inventory, "read_document", lambda _: document)
        return draft.from_ansible(str(tmp_path), "ward", Login())[0].login.jump

    assert described('-o "ProxyCommand=ssh -p 2200 -l me -W %h:%p gate"') == "me@gate:2200"
    with pytest.raises(UsageError, match="several jumps or a command of its own"):
        described("-o ProxyJump=a,b")


def names(duties, what):
    return [name for name, duty in duties.items() if getattr(duty, what)]


def test_the_largest_without_a_gpu_is_the_master():
    machines = {"a": machine(16000, gpus=1), "b": machine(8000), "c": machine(12000)}
    duties = choose.choose(machines)
    assert names(duties, "master") == ["c"]
    assert names(duties, "worker") == ["a", "b", "c"]
    assert names(choose.choose(machines, "a"), "master") == ["a"]
    assert names(choose.choose({"a": machine(), "b": machine()}), "master") == ["a"]
    assert names(choose.choose({"a": machine(gpus=1)}), "master") == ["a"]
    with pytest.raises(UsageError, match="none of the hosts"):
        choose.choose(machines, "z")


def test_a_machine_without_room_for_an_executor_does_not_work():
    duties = choose.choose({"a": machine(4000), "b": machine(4000), "c": machine(3000)})
    assert (names(duties, "master"), names(duties, "worker")) == (["a"], ["b"])
    with pytest.raises(UsageError, match="the largest: 2000 MiB"):
        choose.choose({"a": machine(2000)})


def test_the_heap_is_what_the_role_says():
    """The figures of docs/roles.md: what provisioning gives is what was promised."""
    text = (Path(__file__).parents[3] / "docs" / "roles.md").read_text()
    duties = choose.choose({"a": machine(6144), "b": machine(6144)})
    assert f"{duties['b'].heap_mb} MiB on a worker" in text
    assert f"{duties['a'].heap_mb} MiB on a node that is master and worker" in text


def test_a_master_that_makes_all_executors_small_is_told():
    drafts = [Draft(name, f"10.0.0.{number}", LOGIN) for number, name in enumerate("abc", 1)]

    def text(memory_mb):
        machines = {one.name: machine(memory_mb) for one in drafts}
        return write.hosts_yaml(drafts, machines, choose.choose(machines))

    small = choose.choose({"a": machine(6144), "b": machine(6144)})
    assert f"Without a among them it would be {small['b'].heap_mb} MiB instead of" in text(6144)
    assert f"# {small['a'].heap_mb}, on 2 instead of 3 workers." in text(6144)
    assert "Without" not in text(64000)


def test_look():
    seen = look.parse(
        "disk=ext4 100000000 51200000 /\ndisk=xfs 2000000000 1900000000 /data disk\n"
        "id=debian\nversion=12\npretty=Debian 12\ncores=4\nmemory_kb=8192000\npython=3.11\n"
    )
    assert seen.disks == (
        Disk("/", "ext4", 97656, 50000),
        Disk("/data disk", "xfs", 1953125, 1855468),
    )
    assert (seen.cores, seen.memory_mb, seen.release) == (4, 8000, "debian12")
    assert look.larger_disk(seen).path == "/data disk"
    assert look.larger_disk(machine()) is None
    both = (Disk("/", "ext4", 1, 1), Disk("/var", "ext4", 9, 9), Disk("/srv", "ext4", 9, 17))
    assert look.larger_disk(machine(disks=both)) is None
    nfs = (Disk("/", "ext4", 1, 1), Disk("/mnt", "nfs4", 99, 99))
    assert look.larger_disk(machine(disks=nfs)) is None


KEY = keys.HostKey("n1", "10.0.0.1", "ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIA==")
DRAFTS = [
    Draft("n1", "10.0.0.1", Login("admin", Path("/keys/ward"), 22, "me@gate:2200")),
    Draft("n2", "10.0.0.2", Login("admin", Path("/keys/ward"), 22, "me@gate:2200")),
    Draft("n3", "no", Login("root", Path("/keys/ward"), 2222, "")),
]
MACHINES = {
    "n1": machine(16000),
    "n2": machine(8000, disks=(Disk("/", "ext4", 9, 9), Disk("/data", "ext4", 99, 99_999))),
    "n3": machine(2000, gpus=2),
}


def files():
    duties = choose.choose(MACHINES)
    return {
        "hosts.yml": write.hosts_yaml(DRAFTS, MACHINES, duties),
        "group_vars/all.yml": write.group_vars_yaml("ward", DRAFTS),
        "known_hosts": KEY.line(),
    }


def test_the_inventory_is_one_that_is_understood(tmp_path, snapshot):
    folder = tmp_path / "inventory" / "ward"
    write.write(folder, files())
    assert {name: (folder / name).read_text() for name in files()} == snapshot
    cluster = inventory.load(str(folder))
    assert (cluster.name, cluster.master.name) == ("ward", "n1")
    assert [host.name for host in cluster.workers] == ["n1", "n2"]
    assert cluster.known_hosts == folder / "known_hosts"
    one = cluster.hosts["n1"]
    assert (one.user, one.key_file, one.port) == ("admin", Path("/keys/ward"), 22)
    command = one.ssh_option("ProxyCommand")
    assert command.endswith("-p 2200 -l me -i /keys/ward -W %h:%p gate")
    assert f"UserKnownHostsFile={folder}/known_hosts" in command
    assert one.ssh_option("StrictHostKeyChecking") == "yes"


def test_a_machine_with_another_login(tmp_path):
    drafts = [
        Draft("n1", "10.0.0.1", Login("admin")),
        Draft("n2", "10.0.0.2", Login("admin")),
        Draft("n3", "10.0.0.3", Login("root", None, 2222, "gate")),
    ]
    machines = {one.name: machine() for one in drafts}
    duties = choose.choose(machines)
    folder = tmp_path / "ward"
    write.write(
        folder,
        {
            "hosts.yml": write.hosts_yaml(drafts, machines, duties),
            "group_vars/all.yml": write.group_vars_yaml("ward", drafts),
        },
    )
    cluster = inventory.load(str(folder))
    other = cluster.hosts["n3"]
    assert (other.user, other.port) == ("root", 2222)
    assert other.ssh_option("ProxyCommand").endswith("-W %h:%p gate")
    assert cluster.hosts["n1"].ssh_option("ProxyCommand") is None
    assert cluster.hosts["n1"].ssh_option("UserKnownHostsFile") == str(folder / "known_hosts")


def test_an_inventory_is_never_written_over(tmp_path):
    folder = tmp_path / "inventory" / "ward"
    folder.mkdir(parents=True)
    write.write(folder, files())  # an empty folder is none
    before = (folder / "hosts.yml").read_text()
    with pytest.raises(UsageError, match="is there already"):
        write.write(folder, {"hosts.yml": "other"})
    assert (folder / "hosts.yml").read_text() == before
    assert [path.name for path in folder.parent.iterdir()] == ["ward"]


@pytest.mark.parametrize(
    ("text", "scalar"),
    [("10.0.0.1", "10.0.0.1"), ("fd00::1", "fd00::1"), ("007", '"007"'), ("~/k", "~/k"),
     ("a: b", '"a: b"'), ("ward-1.example.org", "ward-1.example.org")],
)  # fmt: skip
def test_scalars(text, scalar):
    import yaml

    assert write.scalar(text) == scalar
    assert yaml.safe_load(f"x: {scalar}") == {"x": text}


def test_a_fingerprint_is_the_one_that_openssh_shows(tmp_path):
    import subprocess

    path = tmp_path / "k"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    kind, blob = path.with_suffix(".pub").read_text().split()[:2]
    done = subprocess.run(["ssh-keygen", "-lf", path], capture_output=True, text=True, check=True)
    assert keys.HostKey("n", "n", kind, blob).fingerprint in done.stdout


def test_the_words_yes_and_no_stay_words():
    import yaml

    for text in ("no", "yes", "on", "null", "1e3", "0x1f"):
        assert yaml.safe_load(f"x: {write.scalar(text)}") == {"x": text}
    assert json.loads(write.scalar("no")) == "no"


def test_nobody_else_can_change_it_under_any_umask(tmp_path):
    before = os.umask(0o002)
    try:
        write.write(tmp_path / "inventory" / "ward", {"known_hosts": "n1 ssh-ed25519 QQ==\n"})
    finally:
        os.umask(before)
    assert (tmp_path / "inventory" / "ward" / "known_hosts").stat().st_mode & 0o777 == 0o644
