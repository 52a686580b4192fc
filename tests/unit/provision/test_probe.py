import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest

from mammoctl import probe
from mammoctl.ansible import control
from mammoctl.bundle.interpreter import Interpreter
from mammoctl.bundle.model import Target
from mammoctl.bundle.sources import Sources

DEBIAN = probe.Facts(
    release="debian12", pretty="Debian GNU/Linux 12 (bookworm)", arch="x86_64", python="3.11",
    cores=4, memory_mb=8000, free_mb=50_000, glibc="2.36",
)  # fmt: skip


def refused(runtime="auto", managed=None, **facts):
    with pytest.raises(probe.NodesUnfit) as caught:
        probe.choose_target(facts, runtime=runtime, managed=managed)
    return caught.value.details


def test_the_script_runs_under_any_sh():
    done = subprocess.run(["sh", "-c", probe.SCRIPT], capture_output=True, text=True, check=True)
    seen = probe.parse(done.stdout)
    assert seen.arch
    assert seen.cores >= 1
    assert seen.memory_mb > 0
    assert seen.free_mb > 0
    assert seen.release.startswith(("debian", "ubuntu"))
    assert seen.glibc.startswith("2.")


def test_parse():
    seen = probe.parse(
        "id=ubuntu\nversion=24.04\npretty=Ubuntu 24.04.1 LTS\narch=aarch64\npython=3.12\n"
        "cores=8\nmemory_kb=16384000\nfree_kb=10240000\nfree_kb=2048000\ngpu=1\ngpu=1\n"
        "systemd=1\ninstalled=1\nglibc=2.39\ntime_service=host\nsudo_rs=1\n"
    )
    assert seen == probe.Facts(
        release="ubuntu24.04", pretty="Ubuntu 24.04.1 LTS", arch="aarch64", python="3.12",
        cores=8, memory_mb=16000, free_mb=2000, gpus=2, systemd=True, installed=True,
        glibc="2.39", time_service="host", sudo_rs=True,
    )  # fmt: skip


def test_point_releases_of_debian_do_not_matter():
    assert probe.parse("id=debian\nversion=12.9\n").release == "debian12"


def test_a_host_that_tells_nothing():
    seen = probe.parse("")
    assert (seen.python, seen.cores, seen.systemd, seen.free_mb) == ("", 0, False, 0)


def test_target():
    assert probe.choose_target({"a": DEBIAN, "b": DEBIAN}) == Target("3.11", "x86_64", ("cpu",))


def test_target_of_a_mixed_cluster():
    target = probe.choose_target({"a": DEBIAN, "b": replace(DEBIAN, gpus=1)})
    assert target.variants == ("cpu", "gpu")


def test_every_problem_of_every_host_is_told():
    details = refused(
        a=replace(DEBIAN, release="fedora41", pretty="Fedora 41", python="3.13"),
        b=replace(DEBIAN, python="", free_mb=100),
        c=replace(DEBIAN, systemd=False),
        d=replace(DEBIAN, release="ubuntu22.04", pretty="Ubuntu 22.04", python="3.10", glibc=""),
    )
    text = "\n".join(details)
    assert "a: unsupported system: Fedora 41; supported: debian12" in text
    assert "b: python3 is missing: sudo apt-get install python3" in text
    assert "b: 100 MiB free" in text
    assert "c: systemd does not run there" in text
    assert "d: glibc unknown (Ubuntu 22.04): the managed Python needs 2.17 or later" in text


DEBIAN13 = replace(DEBIAN, release="debian13", python="3.13", glibc="2.41")
JAMMY = replace(DEBIAN, release="ubuntu22.04", pretty="Ubuntu 22.04", python="3.10", glibc="2.35")
RESOLUTE = replace(DEBIAN, release="ubuntu26.04", python="3.14", glibc="2.43")
MANAGED = Target("3.12", "x86_64", ("cpu",), Sources(interpreter="managed"))
OWN = Interpreter("3.13", ("x86_64",), "2.36", "f" * 64)


@pytest.fixture(autouse=True)
def _able(monkeypatch):
    monkeypatch.setattr(control, "core_version", lambda: "2.21.5")


def test_system_asks_for_one_supported_python():
    (detail,) = refused(runtime="system", a=DEBIAN, b=DEBIAN13, c=DEBIAN)
    assert detail == (
        "the hosts differ in Python (3.11 on a, c; 3.13 on b): a cluster needs one minor version "
        "of Python (python_runtime: auto or managed brings it)"
    )
    (detail,) = refused(runtime="system", a=JAMMY)
    assert detail.startswith("a: Python 3.10 (Ubuntu 22.04): needs one of 3.11, ")
    assert detail.endswith("python_runtime: auto or managed")


@pytest.mark.parametrize(
    ("hosts", "target"),
    [
        ([DEBIAN, DEBIAN], Target("3.11", "x86_64")),
        ([DEBIAN13], Target("3.13", "x86_64")),
        ([DEBIAN, DEBIAN13], MANAGED),
        ([JAMMY, JAMMY], MANAGED),
        ([RESOLUTE], MANAGED),
        ([DEBIAN13, JAMMY, RESOLUTE], MANAGED),
    ],
)
def test_auto(hosts, target):
    facts = {f"n{number}": host for number, host in enumerate(hosts)}
    assert probe.choose_target(facts) == target


def test_managed_though_the_systems_would_do():
    assert probe.choose_target({"a": DEBIAN}, runtime="managed") == MANAGED
    target = probe.choose_target({"a": DEBIAN}, runtime="managed", managed=OWN)
    assert target == Target("3.13", "x86_64", ("cpu",), Sources("managed", "f" * 64))


def test_an_own_archive_that_is_too_new_for_a_host_or_of_another_processor():
    (detail,) = refused(managed=OWN, a=JAMMY, b=DEBIAN13)
    assert detail.startswith("a: glibc 2.35 (Ubuntu 22.04): the managed Python needs 2.36 or later")
    arm = replace(DEBIAN, arch="aarch64")
    (detail,) = refused(runtime="managed", managed=OWN, a=arm)
    assert detail == "a: aarch64: the managed Python is for x86_64 (python_archive)"


def test_clocks_that_nothing_keeps_right_are_told():
    facts = {"a": DEBIAN, "b": replace(DEBIAN, time_service="chrony.service"), "c": DEBIAN}
    (warning,) = probe.warnings(facts)
    assert warning.startswith("no time service runs on a, c: ")
    assert "apt-get install systemd-timesyncd" in warning
    assert probe.warnings({"b": facts["b"]}) == []


def test_sudo_rs_is_refused_only_where_it_gets_a_password():
    facts = {"a": replace(DEBIAN, sudo_rs=True), "b": replace(DEBIAN, sudo_rs=True), "c": DEBIAN}
    probe.choose_target(facts)
    with pytest.raises(probe.NodesUnfit) as caught:
        probe.choose_target(facts, asking={"a", "c"})
    (detail,) = caught.value.details
    assert detail.startswith("a: its sudo is sudo-rs")
    assert "ansible_become_exe: sudo.ws" in detail


def test_a_host_that_the_ansible_here_cannot_manage(monkeypatch):
    monkeypatch.setattr(control, "core_version", lambda: "2.19.14")
    (detail,) = refused(a=RESOLUTE, b=DEBIAN13)
    assert detail.startswith("a: its own Python is 3.14, which ansible-core 2.19.14")


def test_mixed_architectures():
    (detail,) = refused(a=DEBIAN, b=replace(DEBIAN, arch="aarch64"))
    assert "(aarch64 on b; x86_64 on a)" in detail


def test_an_installed_node_needs_no_room_for_a_first_installation():
    full = replace(DEBIAN, free_mb=2000)
    assert refused(a=full) == [
        "a: 2000 MiB free below /opt and /var/lib: needs 9000 MiB (common_min_free_mb)"
    ]
    probe.choose_target({"a": replace(full, installed=True)})


def test_how_much_room_is_needed_is_the_inventorys_to_say():
    hosts = {"a": SimpleNamespace(vars={"common_min_free_mb": 1500}), "b": SimpleNamespace(vars={})}
    cluster = SimpleNamespace(hosts=hosts)
    assert probe.room_needed(cluster, {}) == {"a": 1500, "b": 9000}
    assert probe.room_needed(cluster, {"common_min_free_mb": "0"}) == {"a": 0, "b": 0}
    full = replace(DEBIAN, free_mb=2000)
    with pytest.raises(probe.NodesUnfit) as caught:
        probe.choose_target({"a": full, "b": full}, room_mb=probe.room_needed(cluster, {}))
    assert [line[:2] for line in caught.value.details] == ["b:"]
    probe.choose_target({"a": full}, room_mb={"a": 0})


def test_a_gpu_that_tensorflow_cannot_use_is_refused_with_the_reason():
    details = refused(a=replace(DEBIAN, arch="aarch64", gpus=1))
    assert details == [
        "a: an NVIDIA GPU on aarch64: TensorFlow is not built for CUDA there; "
        "cuda_install: never uses the processor alone"
    ]


@pytest.mark.parametrize(
    ("inventory", "given", "gpus"),
    [("auto", {}, 2), ("never", {}, 0), ("auto", {"cuda_install": "never"}, 0),
     ("never", {"cuda_install": "auto"}, 2)],
)  # fmt: skip
def test_gpus_that_are_to_be_left_alone_do_not_count(monkeypatch, inventory, given, gpus):
    text = "id=debian\nversion=12\narch=x86_64\ngpu=1\ngpu=1\n"
    hosts = {"a": SimpleNamespace(name="a", vars={"cuda_install": inventory})}
    nodes = SimpleNamespace(
        cluster=SimpleNamespace(hosts=hosts),
        run_all=lambda *_a, **_k: {"a": SimpleNamespace(stdout=text)},
    )
    monkeypatch.setattr(probe, "require_all", lambda outcomes: outcomes)
    assert probe.probe(nodes, given)["a"].gpus == gpus


def bundle_for(target, kinds=()):
    files = tuple(SimpleNamespace(kind=kind, name=name, sha256="s") for kind, name in kinds)
    return SimpleNamespace(key="0123", target=target, files=files)


def misfits(target, kinds=(), **facts):
    with pytest.raises(probe.NodesUnfit) as caught:
        probe.require_fit(facts, bundle_for(target, kinds))
    assert "mammoctl bundle create" in caught.value.hint
    return caught.value.details


def test_hosts_that_a_bundle_is_for():
    trixie = replace(DEBIAN, release="debian13", python="3.13", glibc="2.41")
    probe.require_fit({"a": DEBIAN}, bundle_for(Target("3.11", "x86_64")))
    managed = Target("3.12", "x86_64", sources=Sources(interpreter="managed"))
    brought = [("interpreter", "cpython-3.12-x86_64-glibc2.36.tar.gz")]
    probe.require_fit({"a": DEBIAN, "b": trixie}, bundle_for(managed, brought))
    both = Target("3.11", "x86_64", ("cpu", "gpu"))
    probe.require_fit({"a": DEBIAN, "b": replace(DEBIAN, gpus=1)}, bundle_for(both))


def test_every_host_that_a_bundle_is_not_for_is_told():
    found = misfits(
        Target("3.11", "x86_64"),
        a=replace(DEBIAN, release="debian13", python="3.13"),
        b=replace(DEBIAN, arch="aarch64"),
        c=replace(DEBIAN, gpus=1),
        d=replace(DEBIAN, free_mb=100),
    )
    assert [line.partition(" MiB")[0] for line in found] == [
        "a: Python 3.13: the bundle is for 3.11",
        "b: aarch64: the bundle is for x86_64",
        "c: the bundle has no TensorFlow for it (gpu: bundle create --variant)",
        "d: 100",
    ]


def test_a_managed_python_in_a_bundle_that_a_host_is_too_old_for():
    managed = Target("3.12", "x86_64", sources=Sources(interpreter="managed"))
    brought = [("interpreter", "cpython-3.12-x86_64-glibc2.40.tar.gz")]
    (line,) = misfits(managed, brought, a=DEBIAN)
    assert line.startswith("a: glibc 2.36")


def test_the_hosts_say_for_which_releases_packages_are_brought():
    trixie = replace(DEBIAN, release="debian13", python="3.11")
    chosen = Sources(packages=("hosts",), packages_extra=("htop",))
    target = probe.choose_target({"a": trixie, "b": DEBIAN}, sources=chosen)
    assert target.sources.packages == ("debian12", "debian13")
    assert target.sources.packages_extra == ("htop",)
