import textwrap
from pathlib import Path

import pytest

from mammoctl import inventory
from mammoctl.errors import InventoryError

pytestmark = pytest.mark.programs

HOSTS = """
all:
  hosts:
    n1: {ansible_host: 192.0.2.1, spark_node_cores: 2}
    n2: {ansible_host: 192.0.2.2, ansible_port: 2222}
  children:
    spark_master: {hosts: {n1: }}
    spark_workers: {hosts: {n1: , n2: }}
"""


@pytest.fixture
def folder(tmp_path):
    where = tmp_path / "inventory" / "ward"
    (where / "group_vars").mkdir(parents=True)
    (where / "hosts.yml").write_text(textwrap.dedent(HOSTS))
    return where


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAMMOCTL_INVENTORY", raising=False)


def document(**groups):
    """What ansible-inventory prints, in short: group=hosts, and _meta as `hostvars`."""
    hostvars = groups.pop("hostvars", {})
    names = sorted({name for hosts in groups.values() for name in hosts})
    listing = {group: {"hosts": hosts} for group, hosts in groups.items()}
    return {
        "_meta": {"hostvars": hostvars},
        "all": {"children": ["ungrouped", *groups]},
        "ungrouped": {"hosts": [n for n in names if not any(n in h for h in groups.values())]},
        **listing,
    }


def read(doc):
    return inventory._cluster(Path("/x/ward/hosts.yml"), doc)


# --- read by Ansible --------------------------------------------------------------------------


def test_values_are_what_a_task_would_see(folder):
    (folder / "group_vars" / "all.yml").write_text(
        textwrap.dedent(
            """
            mammoctl_cluster: radiology
            ansible_user: "{{ login }}"
            login: admin
            ansible_ssh_private_key_file: "{{ inventory_dir }}/key"
            ansible_ssh_common_args: >-
              -o UserKnownHostsFile={{ inventory_dir }}/pinned -o StrictHostKeyChecking=yes
              -o ProxyJump=gate@{{ hostvars['n1'].ansible_host }}
            later: "{{ ansible_facts['mammoctl']['cores'] }}"
            """
        )
    )
    cluster = inventory.load(str(folder))
    assert cluster.name == "radiology"
    assert cluster.source == folder / "hosts.yml"
    assert cluster.known_hosts == folder / "pinned"
    assert cluster.master.name == "n1"
    assert [host.name for host in cluster.workers] == ["n1", "n2"]
    n2 = cluster.hosts["n2"]
    assert (n2.address, n2.port, n2.user) == ("192.0.2.2", 2222, "admin")
    assert n2.key_file == folder / "key"
    assert n2.ssh_option("proxyjump") == "gate@192.0.2.1"
    assert n2.groups >= {"all", "spark_workers"}
    assert cluster.master.vars["spark_node_cores"] == 2
    # What only a running play knows stays as it is written.
    assert cluster.vars["later"] == "{{ ansible_facts['mammoctl']['cores'] }}"


def test_a_talkative_ansible_is_understood(folder, monkeypatch):
    monkeypatch.setenv("ANSIBLE_VERBOSITY", "3")
    assert inventory.load(str(folder)).name == inventory.load("ward").name == "ward"


def test_malformed_yaml_names_file_and_line(folder):
    (folder / "hosts.yml").write_text("all:\n  children:\n    spark_master: [\n")
    with pytest.raises(InventoryError) as caught:
        inventory.load(str(folder))
    assert caught.value.message.startswith(f"{folder}/hosts.yml:4:1: ")
    assert "Traceback" not in "".join(caught.value.details)


@pytest.mark.parametrize("text", ["", "---\n", "all:\n"])
def test_empty(folder, text):
    (folder / "hosts.yml").write_text(text)
    with pytest.raises(InventoryError, match=r"is empty|has no hosts") as caught:
        inventory.load(str(folder))
    assert "spark_workers" in caught.value.hint


# --- which inventory --------------------------------------------------------------------------


def test_the_only_one_is_taken(folder, tmp_path):
    (tmp_path / "inventory" / "example").mkdir()
    (tmp_path / "inventory" / "example" / "hosts.yml").touch()
    assert inventory.find() == folder / "hosts.yml"


@pytest.mark.parametrize(
    "selector", ["ward", "inventory/ward", "inventory/ward/", "inventory/ward/hosts.yml"]
)
def test_selectors(folder, selector):
    assert inventory.find(selector) == folder / "hosts.yml"


def test_environment_chooses(folder, monkeypatch):
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "hosts.yml").touch()
    monkeypatch.setenv("MAMMOCTL_INVENTORY", "ward")
    assert inventory.find() == folder / "hosts.yml"
    assert inventory.find("other") == folder.parent / "other" / "hosts.yml"


def test_a_name_means_the_inventory_not_a_folder_here(folder, tmp_path):
    (tmp_path / "ward").mkdir()
    (tmp_path / "ward" / "hosts.yml").touch()
    assert inventory.find("ward") == folder / "hosts.yml"


def test_several(folder):
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "hosts.yml").touch()
    with pytest.raises(InventoryError, match=r"several inventories.*other, ward") as caught:
        inventory.find()
    assert "-i NAME" in caught.value.hint


def test_none():
    with pytest.raises(InventoryError, match="no inventory under") as caught:
        inventory.find()
    assert "mammoctl lab up" in caught.value.hint


def test_unknown_suggests(folder):
    with pytest.raises(InventoryError, match="unknown inventory: wart") as caught:
        inventory.find("wart")
    assert "-i ward" in caught.value.hint
    assert "ward" in caught.value.details[0]


def test_folder_without_a_file(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InventoryError, match="no inventory file in"):
        inventory.find(str(tmp_path / "empty"))


# --- contradictions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"spark_workers": ["a"]}, "exactly one host in `spark_master`; it has none"),
        ({"spark_master": ["a", "b"], "spark_workers": ["a"]}, "it has a, b"),
        ({"spark_master": ["a"]}, "no host in `spark_workers`"),
        ({}, "has no hosts"),
    ],
)
def test_groups(groups, said):
    with pytest.raises(InventoryError) as caught:
        read(document(**groups))
    assert said in caught.value.message


def test_groups_of_groups_and_others():
    doc = document(spark_master=["m"], small=["w1"], big=["w2", "w1"], monitoring=["x"])
    doc["spark_workers"] = {"children": ["small", "big"]}
    cluster = read(doc)
    assert [host.name for host in cluster.workers] == ["w1", "w2"]
    assert list(cluster.hosts) == ["m", "w1", "w2"]  # x is somebody else's


def both(**hostvars):
    return document(spark_master=["a"], spark_workers=["a", "b"], hostvars=hostvars)


def test_two_hosts_with_one_name(tmp_path):
    path = tmp_path / "hosts.yml"
    path.write_text(
        "spark_master:\n  hosts:\n"
        "    a: {ansible_host: 192.0.2.1}\n    a: {ansible_host: 192.0.2.2}\n"
        "spark_workers:\n  hosts:\n    a:\n"
    )
    with pytest.raises(InventoryError) as refused:
        inventory.load(str(path))
    said = f"{refused.value.message} {refused.value.details} {refused.value.hint}"
    assert str(path) in said
    assert "uplicate" in said


def test_same_address_twice():
    with pytest.raises(InventoryError, match="a and b have the same address"):
        read(both(a={"ansible_host": "192.0.2.1"}, b={"ansible_host": "192.0.2.1"}))
    other_port = {"ansible_host": "192.0.2.1", "ansible_port": 2222}
    assert read(both(a={"ansible_host": "192.0.2.1"}, b=other_port)).hosts["b"].port == 2222


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"ansible_connection": "local"}, "ansible_connection=local"),
        ({"ansible_port": "ssh"}, "is not a port: ssh"),
        ({"ansible_port": 70000}, "is not a port: 70000"),
        ({"ansible_host": "{{ missing }}"}, "`ansible_host` of b cannot be resolved"),
        ({"ansible_ssh_common_args": "-o StrictHostKeyChecking=no"}, "StrictHostKeyChecking=no"),
        ({"ansible_ssh_extra_args": "-oStrictHostKeyChecking=off"}, "StrictHostKeyChecking=off"),
        ({"ansible_ssh_extra_args": "-o 'ProxyCommand=x"}, "SSH arguments of b cannot be read"),
    ],
)
def test_unusable_variables(values, said):
    with pytest.raises(InventoryError) as caught:
        read(both(b=values))
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gpu_1", "rename it to gpu-1"),
        ("gpu_.ward", "rename it to gpu.ward"),
        ("-gpu", "rename it to gpu"),
        ("ward..x", "rename it to ward.x"),
        ("ward.1", "ansible_host"),
        ("fd00::1", "ansible_host"),
        ("localhost", "ansible_host"),
        ("x" * 254, "ansible_host"),
    ],
)
def test_a_name_that_no_address_can_have(name, hint):
    with pytest.raises(InventoryError, match="not a name for a node") as caught:
        read(document(spark_master=["a"], spark_workers=["a", name]))
    assert repr(name) in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", ["gpu-1", "1a", "Ward1.example.org", "192.0.2.7", "a.b-c.d2"])
def test_names_of_hosts(name):
    assert name in read(document(spark_master=[name], spark_workers=[name])).hosts


def test_defaults():
    cluster = read(both())
    host = cluster.hosts["b"]
    assert (host.address, host.port, host.user, host.key_file) == ("b", 22, None, None)
    assert cluster.name == "ward"
    assert cluster.known_hosts == Path("/x/ward/known_hosts")


def test_secrets_are_not_shown():
    cluster = read(both(a={"ansible_become_password": "hunter2"}))
    assert "hunter2" not in repr(cluster)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("-o A=1 -oB=2 -J gate", {"A": "1", "B": "2", "ProxyJump": "gate"}),
        ("-o 'ProxyCommand=ssh -W %h:%p gate'", {"ProxyCommand": "ssh -W %h:%p gate"}),
        ("-o A=1 -o a=2", {"A": "1"}),
        ("-v -C", {}),
    ],
)
def test_ssh_options(text, options):
    assert inventory.ssh_options(text) == options
