"""What a node tells about its GPUs, and what is made of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import jinja2
import pytest

ROLE = Path(__file__).resolve().parents[3] / "roles" / "cuda"
# In the form of nvidia-smi --query-gpu=...  --format=csv,noheader,nounits of a host with two cards.
LISTED = """\
0, GPU-5a9c0f0e-9f7d-1c5b-8a55-3f1f6f6b2d10, NVIDIA H200, 570.172.08, 00000000:18:00.0, 143771
1, GPU-0d0cbb0d-6f6e-4d62-9d3a-b0b7a3a0c7f1, NVIDIA H200, 570.172.08, 00000000:2A:00.0, 143771
"""
# What nvidia-smi says when it fails, with its exit status.
NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running.\n"
)
MISMATCH = (
    "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 535.183\n"
)
NO_MODULE = "modprobe: FATAL: Module nvidia not found in directory /lib/modules/6.1.0-37-amd64"


@pytest.fixture(scope="module")
def nvidia(plugin):
    return plugin("module_utils", "mammoctl_nvidia")


@pytest.fixture(scope="module")
def gpu(plugin):
    return plugin("modules", "mammoctl_gpu")


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def device(root, address, vendor, kind, number="0x1eb8"):
    for name, value in {"vendor": vendor, "class": kind, "device": number}.items():
        put(root / address / name, value + "\n")


def test_gpus_are_nvidias_display_controllers_only(nvidia, tmp_path):
    device(tmp_path, "0000:3b:00.0", "0x10de", "0x030200", "0x1eb8")
    device(tmp_path, "0000:af:00.0", "0x10de", "0x030000", "0x2204")
    device(tmp_path, "0000:af:00.1", "0x10de", "0x040300", "0x1aef")  # its sound
    device(tmp_path, "0000:c1:00.0", "0x10de", "0x068000", "0x22a3")  # NVSwitch
    device(tmp_path, "0000:03:00.0", "0x1a03", "0x030000", "0x2000")  # the board's own graphics
    (tmp_path / "0000:00:00.0").mkdir()  # gone while we look
    gpus, switches = nvidia.pci_devices(str(tmp_path))
    assert gpus == [
        {"address": "0000:3b:00.0", "id": "1eb8"},
        {"address": "0000:af:00.0", "id": "2204"},
    ]
    assert switches == 1


def test_a_node_without_gpus_is_asked_nothing_more(nvidia, monkeypatch):
    monkeypatch.setattr(nvidia, "pci_devices", lambda: ([], 0))
    monkeypatch.setattr(nvidia, "ask_driver", lambda: pytest.fail("nvidia-smi was asked"))
    assert nvidia.look({}) is None


@pytest.mark.parametrize(
    ("firmware", "shim", "expected"),
    [(1, None, True), (0, None, False), (None, None, False), (1, 1, False), (1, 0, True)],
)
def test_secure_boot(nvidia, tmp_path, firmware, shim, expected):
    for name, value in ((nvidia.SECURE_BOOT, firmware), (nvidia.SHIM_OFF, shim)):
        if value is not None:
            (tmp_path / name).write_bytes(b"\x06\x00\x00\x00" + bytes([value]))
    assert nvidia.secure_boot(str(tmp_path)) is expected


def test_the_drivers_list_of_gpus(nvidia):
    first, second = nvidia.parse_gpus(LISTED)
    assert first == {
        "index": 0,
        "uuid": "GPU-5a9c0f0e-9f7d-1c5b-8a55-3f1f6f6b2d10",
        "name": "NVIDIA H200",
        "driver": "570.172.08",
        "bus": "00000000:18:00.0",
        "memory_mb": 143771,
    }
    assert (second["index"], second["bus"]) == (1, "00000000:2a:00.0")
    assert nvidia.parse_gpus("\n") == []
    with pytest.raises(ValueError, match="No devices"):
        nvidia.parse_gpus("No devices were found\n")


def test_a_card_that_does_not_know_its_memory_is_listed_all_the_same(nvidia):
    line = LISTED.splitlines()[0].replace("143771", "[N/A]")
    assert nvidia.parse_gpus(line)[0]["memory_mb"] == 0


def smi(folder, text, status=0):
    path = folder / "nvidia-smi"
    put(path, f"#!/bin/sh\ncat <<'END'\n{text}END\nexit {status}\n")
    path.chmod(0o755)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Return a folder that programs are looked for first in, without nvidia-smi elsewhere."""
    assert shutil.which("nvidia-smi", path="/usr/bin:/bin") is None, "this machine has a driver"
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path / "bin"


@pytest.mark.parametrize(
    ("answer", "gpus", "said"),
    [
        ((LISTED, 0), 2, ""),
        ((NO_DRIVER, 9), 0, "couldn't communicate"),
        ((MISMATCH, 18), 0, "version mismatch"),
        (("No devices were found\n", 6), 0, "No devices were found"),
        (("something new\n", 0), 0, "something new"),
    ],
)
def test_asking_the_driver(nvidia, path, answer, gpus, said):
    smi(path, *answer)
    listed, told = nvidia.ask_driver()
    assert len(listed) == gpus
    assert said in told
    assert bool(told) == bool(said)


def test_asking_a_host_without_the_program(nvidia, path):
    assert nvidia.ask_driver() == ([], "nvidia-smi is not installed")


def test_a_driver_that_hangs_is_not_waited_for(nvidia, path):
    put(path / "nvidia-smi", "#!/bin/sh\nexec sleep 20\n")
    (path / "nvidia-smi").chmod(0o755)
    assert "did not answer" in nvidia.ask_driver(timeout_s=0.2)[1]


def test_apt_sources_of_both_forms(nvidia, tmp_path):
    put(
        tmp_path / "sources.list",
        "# deb http://old.example.org/ x main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://deb.example.org/debian/ bookworm main contrib\n"
        "deb-src http://deb.example.org/debian bookworm main\n",
    )
    put(
        tmp_path / "sources.list.d/cuda.list", "deb https://nvidia.example.org/debian12/x86_64/ /\n"
    )
    put(
        tmp_path / "sources.list.d/a.sources",
        "Types: deb deb-src\nURIs: http://one.example.org\n http://two.example.org/\n"
        "# a remark\nSuites: trixie trixie-updates\nComponents: main\n non-free\n"
        "\nEnabled: no\nTypes: deb\nURIs: http://off.example.org\nSuites: x\nComponents: main\n",
    )
    found = nvidia.apt_sources(str(tmp_path))
    assert found[0] == {
        "uri": "http://deb.example.org/debian",
        "suite": "bookworm",
        "components": ["main", "contrib"],
        "file": "sources.list",
    }
    assert (found[1]["uri"], found[1]["suite"]) == (
        "https://nvidia.example.org/debian12/x86_64",
        "/",
    )
    assert {(e["uri"], e["suite"]) for e in found[2:]} == {
        (f"http://{host}.example.org", suite)
        for host in ("one", "two")
        for suite in ("trixie", "trixie-updates")
    }
    assert found[2]["components"] == ["main", "non-free"]


def test_what_a_driver_that_does_not_answer_needs(gpu):
    def told(said=NO_DRIVER, loading="", secure=False, nouveau=False, other=""):
        return gpu.diagnose(said, loading, secure, nouveau, other)

    assert told(nouveau=True)[0]
    assert told(said=MISMATCH)[0]
    assert told(loading=NO_MODULE, other="6.1.0-38-amd64")[0]
    assert not told(loading=NO_MODULE)[0]
    assert "dkms status" in told(loading=NO_MODULE)[1]
    refused = "modprobe: ERROR: could not insert 'nvidia': Key was rejected by service"
    assert not told(loading=refused)[0]
    assert "mokutil" in told(loading=refused)[1]
    unsigned = "modprobe: ERROR: could not insert 'nvidia': Operation not permitted"
    assert not told(loading=unsigned, secure=True)[0]
    assert told(loading=unsigned)[0]


def test_the_drivers_packages_are_held_and_no_others(gpu):
    text = (
        "ii  nvidia-driver-cuda\nii  libnvidia-ml1\nii  libcuda1\nrc  nvidia-kernel-dkms\n"
        "ii  nvidia-container-toolkit\nii  libnvidia-container1\nii  nvidia-cuda-toolkit\n"
        "hi  nvidia-smi\nun  nvidia-open\n"
    )
    assert gpu.driver_packages(text) == [
        "libcuda1",
        "libnvidia-ml1",
        "nvidia-driver-cuda",
        "nvidia-smi",
    ]


def render(name, **values):
    environment = jinja2.Environment(  # noqa: S701  no HTML here
        loader=jinja2.FileSystemLoader(ROLE / "templates"),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["urlsplit"] = lambda url, part: {"hostname": url.split("/")[2]}[part]
    return environment.get_template(name).render(ansible_managed="managed", **values)


@pytest.fixture
def discover(tmp_path, path):
    script = tmp_path / "gpu-discovery"
    script.write_text(render("gpu-discovery.j2"))

    def run():
        done = subprocess.run(
            ["/bin/sh", script], capture_output=True, text=True, check=False, env=dict(os.environ)
        )
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    return run


def test_discovery_tells_spark_the_gpus(discover, path):
    smi(path, "0\n1\n")
    assert discover() == {"name": "gpu", "addresses": ["0", "1"]}


@pytest.mark.parametrize(("text", "status"), [(NO_DRIVER, 9), (MISMATCH, 18), ("No devices\n", 0)])
def test_discovery_on_a_node_whose_driver_is_broken(discover, path, text, status):
    smi(path, text, status)
    assert discover() == {"name": "gpu", "addresses": []}


def test_discovery_on_a_node_without_a_gpu(discover):
    assert discover() == {"name": "gpu", "addresses": []}


CHOICE = {
    "version": "595.71.05",
    "branch": "595",
    "repository": "https://nvidia.example.org/debian12/x86_64",
    "toolkit": "",
}


def pins(**choice):
    text = render(
        "preferences.j2",
        _cuda_choice={**CHOICE, **choice},
        _cuda_driver_names="nvidia-* libcuda1",
        _cuda_cudnn="9.3.0",
    )
    stanzas = re.split(r"\n\n+", "\n".join(x for x in text.splitlines() if x[:1] != "#").strip())
    return [dict(line.split(": ", 1) for line in s.splitlines()) for s in stanzas]


def test_apt_takes_one_version_of_the_driver_and_nothing_unasked(tmp_path):
    driver, rest = pins()
    assert (driver["Pin"], driver["Pin-Priority"]) == ("version 595.71.05-*", "1000")
    assert pins(version="610")[0]["Pin"] == "version 610.*"
    assert (rest["Package"], rest["Pin"]) == ("*", "origin nvidia.example.org")
    assert int(rest["Pin-Priority"]) < 500


def test_with_a_toolkit_only_the_driver_stays_the_distributions():
    driver, cudnn, _rest = pins(version="", toolkit="12.5")
    assert (driver["Pin"], driver["Pin-Priority"]) == ("origin nvidia.example.org", "-1")
    assert cudnn["Pin"] == "version 9.3.0.*"


def test_what_the_preferences_pin_is_read_back(nvidia):
    def text(**choice):
        return render(
            "preferences.j2",
            _cuda_choice={**CHOICE, **choice},
            _cuda_driver_names="nvidia-* libcuda1",
            _cuda_cudnn="9.3.0",
        )

    assert nvidia.pinned(text()) == "595.71.05"
    assert nvidia.pinned(text(version="610")) == "610"
    assert nvidia.pinned(text(version="", toolkit="12.5")) == ""
    assert nvidia.pinned("") == ""


def test_packages_in_another_version_are_replaced(plugin):
    packages = plugin("modules", "mammoctl_packages")
    text = "ii  a 595.71.05-1\nhi  b 1:595.58.03-1\nrc  c 595.71.05-1\n"
    wanted = ["a", "b", "c", "d"]
    assert packages.unfit(text, wanted, {}) == ["c", "d"]
    assert packages.unfit(text, wanted, {"a": "595.71.05", "b": "595.71.05"}) == ["b", "c", "d"]
    assert packages.unfit(text, ["b"], {"b": "595.58"}) == []


def test_apt_never_removes_what_it_may_not(plugin):
    packages = plugin("modules", "mammoctl_packages")
    plan = "Inst a (1 x [amd64])\nRemv nvidia-kernel-dkms [535]\nRemv slurmd [22]\n"
    assert packages.removals(plan, "(lib)?nvidia-.*") == ["slurmd"]
    assert packages.removals(plan, "") == ["nvidia-kernel-dkms", "slurmd"]


class Apt:
    """Stands in for apt-mark and dpkg-query: which packages are installed and which are held."""

    def __init__(self, installed, held):
        self.installed, self.held = set(installed), set(held)

    def run_command(self, command, **_rest):
        program, verb, *names = command
        if program == "dpkg-query":
            lines = [f"ii  {name} 1\n" for name in sorted(self.installed)]
            return 0, "".join(lines), ""
        if verb == "unhold":
            self.held -= set(names)
        if verb == "hold":
            self.held |= set(names)
        return 0, "\n".join(sorted(self.held)), ""


def test_held_packages_move_and_only_what_is_left_is_held_again(plugin):
    packages = plugin("modules", "mammoctl_packages")
    apt = Apt(["libcuda1", "nvidia-smi", "slurmd"], ["libcuda1", "nvidia-smi", "slurmd"])
    with pytest.raises(SystemExit), packages.released(apt, "nvidia-.*|libcuda1"):
        assert apt.held == {"slurmd"}
        apt.installed.remove("nvidia-smi")
        raise SystemExit  # as fail_json does
    assert apt.held == {"libcuda1", "slurmd"}


def test_holds_are_not_looked_at_where_nothing_may_go(plugin):
    packages = plugin("modules", "mammoctl_packages")
    apt = Apt(["libcuda1"], ["libcuda1"])
    with packages.released(apt, ""):
        assert apt.held == {"libcuda1"}


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """Return (keyring package, its sum, the key's fingerprint) of a key made here."""
    import hashlib

    folder = tmp_path_factory.mktemp("keyring")
    home = folder / "home"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--batch", "--homedir", home]
    make = ["--passphrase", "", "--quick-generate-key", "t@example.org", "rsa2048", "sign", "never"]
    subprocess.run([*gpg, *make], check=True, capture_output=True)
    listed = subprocess.run(
        [*gpg, "--with-colons", "--fingerprint"], check=True, capture_output=True, text=True
    )
    root = folder / "root"
    put(root / "DEBIAN/control", "Package: cuda-keyring\nVersion: 1.1-1\nArchitecture: all\n"
        "Maintainer: t <t@example.org>\nDescription: t\n")  # fmt: skip
    ring = root / "usr/share/keyrings/cuda-archive-keyring.gpg"
    ring.parent.mkdir(parents=True)
    key = subprocess.run([*gpg, "--export"], check=True, capture_output=True).stdout
    ring.write_bytes(key)
    package = folder / "cuda-keyring_1.1-1_all.deb"
    subprocess.run(["dpkg-deb", "-Zxz", "-b", root, package], check=True, capture_output=True)
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
    total = hashlib.sha256(package.read_bytes()).hexdigest()
    return package, total, re.search(r"^fpr:+(\w+):", listed.stdout, re.M)[1], key


def test_the_key_inside_the_keyring_package(plugin, signed, tmp_path):
    keyring = plugin("filter", "mammoctl_keyring")
    package, total, fingerprint, key = signed
    text = keyring.signing_key(str(package), total, fingerprint)
    done = subprocess.run(
        ["gpg", "--batch", "--homedir", tmp_path, "--dearmor"],
        input=text.encode(), capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout == key


def test_a_keyring_package_that_is_not_the_one_meant(plugin, signed, tmp_path):
    keyring = plugin("filter", "mammoctl_keyring")
    package, total, fingerprint, _key = signed
    with pytest.raises(ValueError, match="needed is 000"):
        keyring.signing_key(str(package), "0" * 64)
    with pytest.raises(ValueError, match=f"its key is {fingerprint}"):
        keyring.signing_key(str(package), total, "A" * 40)
    other = tmp_path / "other.deb"
    other.write_bytes(b"<html>not found</html>")
    import hashlib

    with pytest.raises(ValueError, match="no Debian package"):
        keyring.signing_key(str(other), hashlib.sha256(other.read_bytes()).hexdigest())


def worker(gpus, **rest):
    return {
        "mammoctl_node_memory_mb": 16384,
        "mammoctl_node_cores": 4,
        "mammoctl_is_master": False,
        "mammoctl_is_worker": True,
        "mammoctl_gpus": gpus,
        **rest,
    }


def test_gpus_count_for_jobs_where_every_worker_has_some(plugin):
    sizing = plugin("filter", "mammoctl_sizing")
    names = ("system", "daemon", "hdfs", "history", "driver", "python")
    settings = dict.fromkeys([*names, "executor_overhead", "executor_min"], 100)
    settings["executor_max"] = 4096

    def size(*gpus):
        hosts = {f"n{number}": worker(count) for number, count in enumerate(gpus)}
        return sizing.cluster_sizing(hosts, list(hosts), False, settings)

    whole = size(4, 2)
    assert whole["executor"]["gpus"] == 2
    assert [entry["gpus"] for entry in whole["workers"].values()] == [4, 2]
    mixed = size(4, 0)
    assert "gpus" not in mixed["executor"]
    assert set(mixed["workers"]["n1"]) == {"cores", "memory_mb"}
    none = size(0, 0)
    hosts = {"n0": worker(0), "n1": worker(0)}
    for host in hosts.values():
        del host["mammoctl_gpus"]
    assert none == sizing.cluster_sizing(hosts, list(hosts), False, settings)
    assert set(none["executor"]) == {"cores", "memory_mb"}


def test_a_worker_that_registered_without_its_gpus_is_told(plugin):
    spark = plugin("modules", "mammoctl_spark")
    alive = {"host": "a", "state": "ALIVE", "cores": 2, "memory": 1024, "resources": {}}
    wanted = {"a": {"cores": 2, "memory_mb": 1024, "gpus": 2}}
    assert spark.differences({"workers": [alive]}, wanted) == ["a has 0 GPUs, declared are 2"]
    alive["resources"] = {"gpu": {"name": "gpu", "addresses": ["0", "1"]}}
    assert spark.differences({"workers": [alive]}, wanted) == []


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("never", "cuda_reboot: when_needed"),
        ("when_needed", "a job runs on it"),
        ("done", "do not work after the reboot either: because"),
    ],
)
def test_what_is_said_where_a_reboot_is_not_done(gpu, ansible_module, monkeypatch, policy, told):
    steps = gpu.Gpu(ansible_module(reboot=policy))
    monkeypatch.setattr(steps, "running_jobs", lambda: {"mammoctl-job-"})
    with pytest.raises(AssertionError, match=told):
        steps.reboot("because")


def test_a_reboot_that_is_allowed_is_left_to_the_playbook(gpu, ansible_module, monkeypatch):
    steps = gpu.Gpu(ansible_module(reboot="when_needed"))
    monkeypatch.setattr(steps, "running_jobs", set)
    steps.reboot("because")
