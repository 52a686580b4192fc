"""The Vagrantfile: what it asks of each provider, and the inventory that it writes."""

from __future__ import annotations

import functools
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import paramiko
import pytest

from mammoctl import inventory

pytestmark = pytest.mark.programs

ROOT = Path(__file__).resolve().parents[3]
PREFIX = "MAMMOCTL_VAGRANT_"


def environment(folder: Path, settings: dict[str, str]) -> dict[str, str]:
    """Return an environment without the caller's own settings of Vagrant."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("VAGRANT_", PREFIX))}
    own |= {PREFIX + key: value for key, value in settings.items()}
    return own | {
        "VAGRANT_HOME": str(folder / "home"),
        "VAGRANT_DOTFILE_PATH": str(folder / "state"),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
    }


def vagrant(
    cwd: Path, folder: Path, *args: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    program = shutil.which("vagrant")
    if not program:
        pytest.skip("vagrant is not installed")
    return subprocess.run(
        [program, *args],
        cwd=cwd,
        env=environment(folder, settings),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def ruby(
    folder: Path, program: str, *args: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run Ruby with vagrant/cluster.rb; ``CLUSTER`` stands for the one in ``folder``."""
    found = shutil.which("ruby") or shutil.which("ruby", path="/opt/vagrant/embedded/bin")
    if not found:
        pytest.skip("there is no Ruby here (it comes with vagrant)")
    head = "CLUSTER = Mammoctl::Cluster.new(ARGV.shift)\n"
    return subprocess.run(
        [
            *(found, "-rjson", "-r", str(ROOT / "vagrant" / "cluster.rb")),
            *("-e", head + program, str(folder), *args),
        ],
        env=environment(folder, settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@functools.cache
def host_keys(machine: str) -> dict[str, str]:
    """Return the host keys of a machine of the test: type -> key."""
    keys = [paramiko.ECDSAKey.generate(bits=bits) for bits in (256, 384)]
    return {key.get_name(): key.get_base64() for key in keys}


def render(folder: Path, machines: list[str], **settings: str) -> Path:
    """Write the inventory of ``machines`` as `vagrant up` does, and return its folder."""
    keys = {
        name: [f"{kind} {key} root@{name}\n" for kind, key in host_keys(name).items()]
        for name in machines
    }
    identities = {name: str(folder / f"key of {name}") for name in machines}
    done = ruby(
        folder,
        "CLUSTER.write_inventory(*ARGV.map { |a| JSON.parse(a) }); print CLUSTER.inventory",
        json.dumps(keys),
        json.dumps(identities),
        **settings,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout)


def test_inventory_is_one_that_mammoctl_reads(tmp_path: Path) -> None:
    where = render(tmp_path, ["mammo1", "mammo2", "mammo3"])
    cluster = inventory.load(str(where))
    assert where == tmp_path / "inventory" / "vagrant"
    assert cluster.name == "vagrant"
    assert cluster.master.name == "mammo1"
    assert [worker.name for worker in cluster.workers] == ["mammo1", "mammo2", "mammo3"]
    addresses = {name: host.address for name, host in cluster.hosts.items()}
    assert addresses == {f"mammo{n}": f"192.168.56.1{n}" for n in (1, 2, 3)}
    for name, host in cluster.hosts.items():
        assert (host.user, host.key_file) == ("vagrant", tmp_path / f"key of {name}")
        assert host.vars["ansible_become"] is True


def test_host_keys_are_pinned_under_the_addresses_that_are_connected_to(tmp_path: Path) -> None:
    where = render(tmp_path, ["mammo1", "mammo2"], NODES="2", SUBNET="10.99.7")
    cluster = inventory.load(str(where))
    known = paramiko.HostKeys(str(cluster.known_hosts))
    assert set(known) == {"10.99.7.11", "10.99.7.12"}
    for host in cluster.hosts.values():
        pinned = known.lookup(host.address)
        assert pinned is not None
        told = {kind: pinned[kind].get_base64() for kind in pinned}
        assert told == host_keys(host.name)


def test_machine_without_a_host_key_is_refused(tmp_path: Path) -> None:
    program = 'CLUSTER.known_hosts(\'mammo1\' => ["\\n", "cat: no such file\\n"])'
    done = ruby(tmp_path, program, NODES="1")
    assert done.returncode != 0
    assert "mammo1 told no host key" in done.stderr


def test_writing_again_keeps_the_secrets_and_destroying_removes_them(tmp_path: Path) -> None:
    where = render(tmp_path, ["mammo1"], NODES="1")
    assert stat.S_IMODE(where.stat().st_mode) == 0o700
    secret = where / "secrets" / "spark_auth_secret"
    secret.parent.mkdir()
    secret.write_text("kept")
    before = {name: (where / name).read_bytes() for name in ("hosts.yml", "known_hosts")}
    render(tmp_path, ["mammo1"], NODES="1")
    assert {path.name for path in where.iterdir()} == {*before, "secrets"}
    assert {name: (where / name).read_bytes() for name in before} == before
    assert secret.read_text() == "kept"
    assert ruby(tmp_path, "CLUSTER.remove_inventory", NODES="1").returncode == 0
    assert list((tmp_path / "inventory").iterdir()) == []


def test_variables_of_ones_own_reach_every_machine(tmp_path: Path) -> None:
    own = tmp_path / "ward.yml"
    own.write_text("spark_timeout_s: 900\nansible_become: false\n")
    where = render(tmp_path, ["mammo1", "mammo2"], NODES="2", NAME="ward", VARS="ward.yml")
    cluster = inventory.load(str(where))
    assert cluster.name == "ward"
    for host in cluster.hosts.values():
        assert host.vars["spark_timeout_s"] == 900
        assert host.vars["ansible_become"] is False


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("NODES", "0", "between 1 and 30"),
        ("NODES", "three", "between 1 and 30"),
        ("MEMORY_MB", "512", "between 1024"),
        ("CPUS", "1.5", "between 1 and 256"),
        ("DISK_GB", "-1", "between 12"),
        ("SUBNET", "192.168.56.0/24", "first three numbers"),
        ("SUBNET", "192.168.256", "first three numbers"),
        ("NAME", "../lab", "lower-case letters"),
        ("EMULATION", "yes", "0 or 1"),
    ],
)
def test_wrong_setting_is_named_with_what_it_may_be(
    tmp_path: Path, key: str, value: str, named: str
) -> None:
    done = ruby(tmp_path, "print CLUSTER.nodes", **{key: value})
    assert done.returncode != 0
    assert done.stdout == ""
    assert f"{PREFIX}{key}: " in done.stderr
    assert named in done.stderr


@pytest.mark.parametrize(
    ("content", "cause"), [(None, "there is no file"), ("- a list\n", "no mapping of variables")]
)
def test_wrong_file_of_variables_is_named(tmp_path: Path, content: str | None, cause: str) -> None:
    if content is not None:
        (tmp_path / "own.yml").write_text(content)
    done = ruby(tmp_path, "CLUSTER.hosts('mammo1' => 'key')", NODES="1", VARS="own.yml")
    assert done.returncode != 0
    assert f"{PREFIX}VARS: " in done.stderr
    assert cause in done.stderr


def test_only_64_bit_arm_counts_as_arm64(tmp_path: Path) -> None:
    program = "puts %w[aarch64 arm64 x86_64 arm].map { |cpu| Mammoctl::Cluster.arm64?(cpu) }"
    assert ruby(tmp_path, program).stdout.split() == ["true", "true", "false", "false"]


# A Vagrantfile around the project's own, with a command that tells what it amounts to: in Vagrant's
# own words, for providers too that are not installed here.
DESCRIBE = """
require 'json'
load '{vagrantfile}'

class Describe < Vagrant.plugin('2', :command)
  def execute
    described = @env.machine_names.to_h do |name|
      [name, %i[libvirt virtualbox].to_h {{ |provider| [provider, machine(name, provider)] }}]
    end
    puts JSON.generate(described)
    0
  end

  def machine(name, provider)
    config = @env.vagrantfile.machine_config(name, provider, nil, nil, false)[:config]
    {{ box: config.vm.box, hostname: config.vm.hostname, insert_key: config.ssh.insert_key,
       addresses: config.vm.networks.filter_map {{ |_kind, options| options[:ip] }},
       provisioners: config.vm.provisioners.map(&:type),
       folders: config.vm.synced_folders.reject {{ |_name, options| options[:disabled] }}.keys,
       provider: settings(config.vm.get_provider_config(provider)) }}
  end

  def settings(provider)
    return {{}} unless provider

    names = provider.instance_variables
    values = names.to_h {{ |v| [v.to_s.delete_prefix('@'), provider.instance_variable_get(v)] }}
    values.select {{ |_name, value| [Integer, String, Array].any? {{ |kind| value.is_a?(kind) }} }}
  end
end

class DescribePlugin < Vagrant.plugin('2')
  name 'describe'
  command('describe') {{ Describe }}
end
"""


def describe(folder: Path, first: str = "", **settings: str) -> Any:
    """Return machine -> provider -> what the Vagrantfile asks for, after the Ruby of ``first``."""
    around = folder / "around"
    around.mkdir()
    text = first + DESCRIBE.format(vagrantfile=ROOT / "Vagrantfile")
    (around / "Vagrantfile").write_text(text)
    done = vagrant(around, folder, "describe", **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_three_machines_sized_alike_for_both_providers(tmp_path: Path) -> None:
    seen = describe(tmp_path)
    assert list(seen) == ["mammo1", "mammo2", "mammo3"]
    for number, (name, providers) in enumerate(seen.items(), start=1):
        memory = 6144 if number == 1 else 4096
        for machine in providers.values():
            assert (machine["hostname"], machine["insert_key"]) == (name, True)
            assert machine["addresses"] == [f"192.168.56.{10 + number}"]
            assert machine["folders"] == []
            assert machine["provisioners"] == (["mammoctl"] if number == 3 else [])
            assert machine["box"].endswith("/ubuntu-24.04")
        box = providers["virtualbox"]["provider"]["customizations"]
        sizes = {words[2]: str(words[3]) for _when, words in box}
        assert (sizes["--memory"], sizes["--cpus"]) == (str(memory), "2")
        domain = providers["libvirt"]["provider"]
        if "memory" not in domain:
            pytest.skip("the plugin vagrant-libvirt is not installed")
        assert (domain["memory"], domain["cpus"]) == (memory, 2)
        assert (domain["driver"], domain["cpu_mode"]) == ("kvm", "host-passthrough")
        assert (domain["default_prefix"], domain["machine_virtual_size"]) == ("vagrant_", 32)


def test_settings_change_the_machines_and_emulation_the_processor(tmp_path: Path) -> None:
    settings = {
        **{"NODES": "2", "MEMORY_MB": "3800", "MASTER_MEMORY_MB": "8192", "CPUS": "1"},
        **{"BOX": "my/box", "NAME": "ward", "DISK_GB": "40", "EMULATION": "1"},
    }
    seen = describe(tmp_path, **settings)
    assert list(seen) == ["mammo1", "mammo2"]
    assert [seen[name]["virtualbox"]["provisioners"] for name in seen] == [[], ["mammoctl"]]
    assert {provider["box"] for machine in seen.values() for provider in machine.values()} == {
        "my/box"
    }
    domains = [machine["libvirt"]["provider"] for machine in seen.values()]
    if "memory" not in domains[0]:
        pytest.skip("the plugin vagrant-libvirt is not installed")
    assert [domain["memory"] for domain in domains] == [8192, 3800]
    for domain in domains:
        assert (domain["cpus"], domain["machine_virtual_size"]) == (1, 40)
        assert domain["default_prefix"] == "ward_"
        assert (domain["driver"], domain["cpu_mode"]) == ("qemu", "maximum")


def test_arm64_gets_the_machine_that_arm64_has(tmp_path: Path) -> None:
    seen = describe(tmp_path, "RbConfig::CONFIG['host_cpu'] = 'aarch64'\n", NODES="1")
    domain = seen["mammo1"]["libvirt"]["provider"]
    if "memory" not in domain:
        pytest.skip("the plugin vagrant-libvirt is not installed")
    assert (domain["machine_type"], domain["machine_arch"]) == ("virt", "aarch64")
    assert domain["loader"].endswith("/QEMU_EFI.fd")
    assert "nvram" not in domain  # its file would outlive `vagrant destroy`
    assert domain["features"] == []
    assert domain["inputs"] == [{"type": "keyboard", "bus": "virtio"}]


def test_vagrant_finds_the_vagrantfile_valid(tmp_path: Path) -> None:
    done = vagrant(ROOT, tmp_path, "validate", "--ignore-provider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "validated successfully" in done.stdout


def test_vagrant_tells_a_wrong_setting_without_a_traceback(tmp_path: Path) -> None:
    done = vagrant(ROOT, tmp_path, "validate", "--ignore-provider", NODES="many")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert f"{PREFIX}NODES: many is no number between 1 and 30" in said
    assert "Traceback" not in said
    assert ".rb:" not in said
