import subprocess
from dataclasses import replace

import pytest

from mammoctl import probe
from mammoctl.bundle.model import Target

DEBIAN = probe.Facts(
    release="debian12", pretty="Debian GNU/Linux 12 (bookworm)", arch="x86_64", python="3.11",
    cores=4, memory_mb=8000, free_mb=50_000,
)  # fmt: skip


def refused(**facts):
    with pytest.raises(probe.NodesUnfit) as caught:
        probe.choose_target(facts)
    return caught.value.details


def test_the_script_runs_under_any_sh():
    done = subprocess.run(["sh", "-c", probe.SCRIPT], capture_output=True, text=True, check=True)
    seen = probe.parse(done.stdout)
    assert seen.arch
    assert seen.cores >= 1
    assert seen.memory_mb > 0
    assert seen.free_mb > 0
    assert seen.release.startswith(("debian", "ubuntu"))


def test_parse():
    seen = probe.parse(
        "id=ubuntu\nversion=24.04\npretty=Ubuntu 24.04.1 LTS\narch=aarch64\npython=3.12\n"
        "cores=8\nmemory_kb=16384000\nfree_kb=10240000\nfree_kb=2048000\ngpu=1\ngpu=1\n"
        "systemd=1\ninstalled=1\n"
    )
    assert seen == probe.Facts(
        release="ubuntu24.04", pretty="Ubuntu 24.04.1 LTS", arch="aarch64", python="3.12",
        cores=8, memory_mb=16000, free_mb=2000, gpus=2, systemd=True, installed=True,
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
        d=replace(DEBIAN, release="ubuntu22.04", pretty="Ubuntu 22.04", python="3.10"),
    )
    text = "\n".join(details)
    assert "a: unsupported system: Fedora 41; supported: debian12" in text
    assert "b: python3 is missing: sudo apt-get install python3" in text
    assert "b: 100 MiB free" in text
    assert "c: systemd does not run there" in text
    assert "d: Python 3.10 (Ubuntu 22.04): needs one of 3.11" in text


def test_mixed_pythons():
    (detail,) = refused(a=DEBIAN, b=replace(DEBIAN, release="debian13", python="3.13"), c=DEBIAN)
    assert detail == (
        "the hosts differ in Python (3.11 on a, c; 3.13 on b): "
        "a cluster needs one minor version of Python"
    )


def test_mixed_architectures():
    (detail,) = refused(a=DEBIAN, b=replace(DEBIAN, arch="aarch64"))
    assert "(aarch64 on b; x86_64 on a)" in detail


def test_an_installed_node_needs_no_room_for_a_first_installation():
    full = replace(DEBIAN, free_mb=2000)
    assert refused(a=full) == ["a: 2000 MiB free below /opt and /var/lib: needs 9000 MiB"]
    probe.choose_target({"a": replace(full, installed=True)})
