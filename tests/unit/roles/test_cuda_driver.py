"""Which driver a host gets: by its cards, its release and the settings."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
VERSIONS = yaml.safe_load((ROOT / "playbooks/group_vars/all/versions.yml").read_text())
CUDA = VERSIONS["mammoctl_versions"]["cuda"]
# With a cuDNN before 9.11 in the lock, cards from Pascal on could be used.
PASCAL = {**CUDA, "tensorflow": {**CUDA["tensorflow"], "oldest": "pascal"}}
RELEASES = VERSIONS["mammoctl_versions"]["releases"]
SETTINGS = yaml.safe_load((ROOT / "roles/cuda/defaults/main.yml").read_text())

# Devices as the PCI ID database (2026-10-24) names them.
KNOWN = {
    "102d": "kepler",  # Tesla K80
    "1180": "kepler",  # GeForce GTX 680
    "1287": "kepler",  # GeForce GT 730
    "1380": "maxwell",  # GeForce GTX 750 Ti
    "13f2": "maxwell",  # Tesla M60
    "17fd": "maxwell",  # Tesla M40
    "15f8": "pascal",  # Tesla P100
    "1b06": "pascal",  # GeForce GTX 1080 Ti
    "1b38": "pascal",  # Tesla P40
    "1d01": "pascal",  # GeForce GT 1030
    "1db4": "volta",  # Tesla V100
    "1df6": "volta",  # Tesla V100S
    "1e07": "turing",  # GeForce RTX 2080 Ti
    "1eb8": "turing",  # Tesla T4
    "2184": "turing",  # GeForce GTX 1660
    "20b5": "ampere",  # A100 80GB
    "2204": "ampere",  # GeForce RTX 3090
    "2236": "ampere",  # A10
    "2531": "ampere",  # RTX A2000
    "2330": "hopper",  # H100 SXM5
    "2335": "hopper",  # H200 SXM
    "2684": "ada",  # GeForce RTX 4090
    "27b8": "ada",  # L4
    "2901": "blackwell",  # B200
    "2b85": "blackwell",  # GeForce RTX 5090
    "3182": "blackwell",  # B300
}


@pytest.fixture(scope="module")
def driver(plugin):
    return plugin("filter", "mammoctl_driver")


def facts(*ids, arch="x86_64", distribution="debian", **node):
    nvidia = {
        "devices": [{"address": f"0000:{n:02x}:00.0", "id": i} for n, i in enumerate(ids, 1)],
        "switches": 0,
        "kernel": "6.1.0-37-amd64" if distribution == "debian" else "6.8.0-45-generic",
        "headers": False,
        "nouveau": False,
        "driver": "",
        "listed": 0,
        "said": "nvidia-smi is not installed",
        "secure_boot": False,
        "ours": False,
        "pinned": "",
        "codename": "bookworm" if distribution == "debian" else "noble",
        "sources": [
            {
                "uri": f"http://mirror.example.org/{distribution}",
                "suite": "bookworm" if distribution == "debian" else "noble",
                "components": ["main"],
                "file": "debian.sources",
            }
        ],
        **node,
    }
    return {
        "arch": arch,
        "distribution": distribution,
        "gpus": len(ids),
        "nvidia": nvidia if ids else None,
    }


@pytest.fixture
def choose(driver):
    def run(seen, release="debian12", versions=PASCAL, **settings):
        return driver.choose_driver(seen, release, {**SETTINGS, **settings}, versions)

    return run


@pytest.mark.parametrize(("device", "generation"), KNOWN.items())
def test_a_device_is_of_its_generation(driver, device, generation):
    assert driver.card_of(device, CUDA["cards"])["name"] == generation


def test_ids_that_are_older_or_newer_than_the_table(driver):
    assert driver.card_of("0dc0", CUDA["cards"]) is None  # GeForce GT 530 (Fermi)
    assert driver.card_of("1200", CUDA["cards"]) is None  # GeForce GTX 560 Ti (Fermi)
    assert driver.card_of("3501", CUDA["cards"])["name"] == "newer"


def test_the_spans_of_the_table_do_not_overlap():
    spans = sorted(
        tuple(int(end, 16) for end in span.split("-"))
        for card in CUDA["cards"]
        for span in card["ids"]
    )
    assert all(first <= last for first, last in spans)
    assert all(one[1] < two[0] for one, two in pairwise(spans))


def test_the_table_knows_every_release_and_names_no_other():
    assert set(CUDA["repositories"]) == set(CUDA["distribution"]) == set(RELEASES)
    for entry in [*CUDA["drivers"].values(), *CUDA["toolkits"].values()]:
        assert set(entry["releases"]) <= set(RELEASES)
    for branch, entry in CUDA["drivers"].items():
        assert entry["version"].startswith(branch + ".")
    assert CUDA["production"] in CUDA["drivers"]
    assert CUDA["tensorflow"]["oldest"] in [card["name"] for card in CUDA["cards"]]
    assert CUDA["tensorflow"]["toolkit"] in CUDA["toolkits"]


def test_a_host_without_gpus_gets_nothing(choose):
    chosen = choose(facts())
    assert not chosen["wanted"]
    assert chosen["packages"] == chosen["problems"] == chosen["warnings"] == []


def test_never_leaves_gpus_alone(choose):
    assert not choose(facts("1eb8"), cuda_install="never")["wanted"]


def test_always_refuses_a_host_whose_card_is_not_seen(choose):
    chosen = choose(facts(), cuda_install="always")
    assert "no NVIDIA GPU" in chosen["problems"][0]["seen"]
    assert choose(facts("1eb8"), cuda_install="always")["problems"] == []


def test_an_unknown_choice_is_a_problem_on_any_host(choose):
    for seen in (facts(), facts("1eb8")):
        chosen = choose(seen, cuda_driver="nvidia")
        assert [p["seen"] for p in chosen["problems"]] == ["cuda_driver is 'nvidia'"]
        assert not chosen["wanted"]


def test_arm64_is_refused_with_the_reason(choose):
    chosen = choose(facts("2330", arch="aarch64", distribution="ubuntu"), "ubuntu24.04")
    assert "TensorFlow" in chosen["problems"][0]["needed"]
    assert "cuda_install: never" in chosen["problems"][0]["mend"]
    assert chosen["packages"] == []


@pytest.mark.parametrize("device", ["0dc0", "102d", "13f2", "15f8", "1db4"])
def test_cards_that_tensorflow_has_no_code_for_are_refused(choose, device):
    problems = choose(facts(device), versions=CUDA)["problems"]
    assert len(problems) == 1
    assert "turing or newer" in problems[0]["needed"]
    assert choose(facts("1eb8"), versions=CUDA)["problems"] == []


def test_the_oldest_card_is_that_of_the_locked_cudnn():
    for lock in (ROOT / "locks").glob("node-*-gpu.txt"):
        text = lock.read_text()
        major, minor = map(int, re.search(r"^nvidia-cudnn-cu12==(\d+)\.(\d+)", text, re.M).groups())
        oldest = "turing" if (major, minor) >= (9, 11) else "pascal"
        assert CUDA["tensorflow"]["oldest"] == oldest, lock.name
        runtime = re.search(r"^nvidia-cuda-runtime-cu(\d+)==", text, re.M)[1]
        assert CUDA["tensorflow"]["toolkit"].startswith(runtime + "."), lock.name


@pytest.mark.parametrize(
    ("release", "device", "expected"),
    [
        ("debian12", "1eb8", ("distribution", "535", False)),
        ("debian12", "1db4", ("distribution", "535", False)),
        ("debian12", "2901", ("nvidia-repo", "595", True)),
        ("debian13", "2684", ("distribution", "550", False)),
        ("debian13", "1b06", ("distribution", "550", False)),
        ("debian13", "2b85", ("nvidia-repo", "595", True)),
        ("ubuntu22.04", "1b06", ("distribution", "580", False)),
        ("ubuntu24.04", "20b5", ("distribution", "580", True)),
        ("ubuntu24.04", "2901", ("distribution", "580", True)),
        ("ubuntu26.04", "1db4", ("distribution", "580", False)),
    ],
)
def test_the_source_follows_the_cards(choose, release, device, expected):
    system = "debian" if release.startswith("debian") else "ubuntu"
    chosen = choose(facts(device, distribution=system), release)
    assert chosen["problems"] == []
    assert (chosen["source"], chosen["branch"], chosen["open"]) == expected


@pytest.mark.parametrize(
    ("release", "device", "branch"),
    [
        ("debian12", "1eb8", "595"),
        ("debian12", "1b06", "580"),
        ("ubuntu22.04", "1db4", "580"),
        ("ubuntu24.04", "2204", "595"),
        ("ubuntu26.04", "2684", "595"),
    ],
)
def test_the_branch_of_nvidias_repository_follows_the_cards(choose, release, device, branch):
    system = "debian" if release.startswith("debian") else "ubuntu"
    chosen = choose(facts(device, distribution=system), release, cuda_driver="nvidia-repo")
    assert (chosen["branch"], chosen["problems"]) == (branch, [])
    assert chosen["version"] == CUDA["drivers"][branch]["version"]
    assert chosen["repository"].endswith(CUDA["repositories"][release]["path"])
    assert chosen["own_source"]


def test_a_card_that_no_branch_of_the_repository_drives_names_the_way_out(choose):
    problem = choose(facts("1b06"), "debian13", cuda_driver="nvidia-repo")["problems"][0]
    assert "367 to 580" in problem["seen"]
    assert "cuda_driver: distribution (branch 550)" in problem["mend"]


def test_a_distribution_that_is_too_old_for_the_card_names_the_way_out(choose):
    problem = choose(facts("2b85"), cuda_driver="distribution")["problems"][0]
    assert "535" in problem["seen"]
    assert "nvidia-repo" in problem["mend"]


def test_cards_that_no_one_module_drives_are_refused(choose):
    problem = choose(facts("1b06", "2b85"))["problems"][0]
    assert "pascal and blackwell" in problem["seen"]
    mixed = choose(facts("1db4", "1eb8"), cuda_driver="nvidia-repo")
    assert (mixed["branch"], mixed["open"], mixed["problems"]) == ("580", False, [])


def test_the_dissertations_driver_and_toolkit_can_be_chosen(choose):
    seen = facts("2204", distribution="ubuntu")
    asked = {"cuda_driver_branch": "555", "cuda_toolkit": "12.5"}
    chosen = choose(seen, "ubuntu22.04", **asked)
    assert chosen["problems"] == []
    assert (chosen["source"], chosen["version"]) == ("nvidia-repo", "555.42.06")
    assert "nvidia-headless-555" in chosen["packages"]
    assert {"cuda-toolkit-12-5", "libcudnn9-cuda-12"} <= set(chosen["packages"])
    refused = choose(facts("2204"), "debian13", **asked)["problems"]
    assert any("driver branch 555" in p["seen"] for p in refused)
    assert any("cuda_toolkit is '12.5'" in p["seen"] for p in refused)


def test_a_branch_of_the_users_own_finding_needs_a_card_that_it_drives(choose):
    chosen = choose(facts("1eb8"), cuda_driver="nvidia-repo", cuda_driver_branch="610")
    assert (chosen["branch"], chosen["version"], chosen["problems"]) == ("610", "610", [])
    assert choose(facts("1b06"), cuda_driver="nvidia-repo", cuda_driver_branch="610")["problems"]


def test_an_exact_version_is_had_from_nvidias_repository(choose):
    chosen = choose(facts("1eb8"), cuda_driver_version="595.58.03")
    assert (chosen["source"], chosen["version"]) == ("nvidia-repo", "595.58.03")


def test_a_working_driver_of_others_is_left_alone_if_new_enough(choose):
    chosen = choose(facts("1eb8", driver="550.54.15", listed=1))
    assert (chosen["source"], chosen["packages"], chosen["problems"]) == ("present", [], [])
    old = choose(facts("1eb8", driver="470.256.02", listed=1))
    assert old["problems"][0]["needed"] == "525.60.13 or later"
    assert choose(facts("2b85", driver="550.54.15", listed=1))["problems"]
    ours = choose(facts("1eb8", driver="535.261.03", listed=1, ours=True))
    assert ours["source"] == "distribution"


def test_a_driver_of_ours_is_not_exchanged_unasked(choose):
    ours = facts("1eb8", driver="595.71.05", listed=1, ours=True, pinned="595.71.05")
    assert choose(ours)["source"] == "nvidia-repo"
    assert choose(ours)["problems"] == []
    assert "teardown" in choose(ours, cuda_driver="distribution")["problems"][0]["mend"]


def test_none_needs_a_driver_that_is_there(choose):
    assert "no driver works" in choose(facts("1eb8"), cuda_driver="none")["problems"][0]["seen"]
    there = choose(facts("1eb8", driver="580.65.06", listed=1), cuda_driver="none")
    assert (there["wanted"], there["packages"], there["problems"]) == (True, [], [])


def test_debians_parts_are_added_where_the_sources_lack_them(choose):
    chosen = choose(facts("1eb8"))
    assert chosen["components"] == ["contrib", "non-free", "non-free-firmware"]
    assert chosen["mirror"] == "http://mirror.example.org/debian"
    entry = {"uri": "http://mirror.example.org/debian", "suite": "bookworm"}
    parts = ["main", *chosen["components"]]
    own = {**entry, "components": parts, "file": "mammoctl-driver.sources"}
    theirs = {**entry, "components": parts, "file": "debian.sources"}
    assert choose(facts("1eb8", sources=[own]))["components"] == chosen["components"]
    assert choose(facts("1eb8", sources=[theirs]))["components"] == []


def test_a_host_without_its_distributions_archive_is_told_so(choose):
    problems = choose(facts("1eb8", sources=[]))["problems"]
    assert ["no apt source" in found["seen"] for found in problems] == [True]


def test_nvidias_repository_is_not_declared_twice(choose):
    uri = "https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64"
    entry = {"uri": uri, "suite": "/", "components": [], "file": "cuda-debian12-x86_64.list"}
    assert not choose(facts("1eb8", sources=[entry]), cuda_driver="nvidia-repo")["own_source"]
    own = {**entry, "file": "mammoctl-nvidia.sources"}
    assert choose(facts("1eb8", sources=[own]), cuda_driver="nvidia-repo")["own_source"]


def test_debian_gets_headers_for_this_kernel_and_those_to_come(driver):
    assert driver.headers("debian", "6.1.0-37-amd64", False) == [
        "linux-headers-6.1.0-37-amd64",
        "linux-headers-amd64",
    ]
    cloud = ["linux-headers-cloud-amd64"]
    assert driver.headers("debian", "6.12.41+deb13-cloud-amd64", True) == cloud
    assert driver.headers("debian", "6.1.0-37-cloud-amd64", True) == cloud
    assert driver.headers("debian", "6.9.3-of-our-own", True) == []
    assert driver.headers("ubuntu", "6.8.0-45-generic", True) == []


def test_nothing_for_a_desktop_is_asked_for(choose):
    for release in RELEASES:
        system = "debian" if release.startswith("debian") else "ubuntu"
        for source in ("distribution", "nvidia-repo"):
            names = choose(facts("1eb8", distribution=system), release, cuda_driver=source)[
                "packages"
            ]
            assert names, (release, source)
            assert not {"nvidia-driver", "nvidia-open", "cuda-drivers"} & set(names)
            assert len(names) == len(set(names))


def test_secure_boot_warns_or_takes_signed_modules(choose):
    debian = choose(facts("1eb8", secure_boot=True))
    assert "mokutil" in debian["warnings"][0]
    ubuntu = choose(facts("1eb8", distribution="ubuntu", secure_boot=True), "ubuntu24.04")
    assert ubuntu["warnings"] == []
    assert "linux-modules-nvidia-580-server-open-6.8.0-45-generic" in ubuntu["packages"]
    assert not any("dkms-580" in n and "no-dkms" not in n for n in ubuntu["packages"])
    assert choose(facts("1eb8"))["warnings"] == []


def test_gpus_behind_nvswitch_get_their_fabric_manager(choose):
    ubuntu = choose(facts("2330", distribution="ubuntu", switches=4), "ubuntu24.04")
    assert "nvidia-fabricmanager-580" in ubuntu["packages"]
    debian = choose(facts("2330", switches=4))
    assert debian["source"] == "nvidia-repo"
    assert "nvidia-fabricmanager" in debian["packages"]
    refused = choose(facts("2330", switches=4), cuda_driver="distribution")
    assert "NVSwitch" in refused["problems"][0]["seen"]


def test_a_keyring_of_ones_own_needs_its_sum(choose):
    asked = {"cuda_driver": "nvidia-repo", "cuda_keyring": "~/keyring.deb"}
    assert "cuda_keyring_sha256" in choose(facts("1eb8"), **asked)["problems"][0]["seen"]
    assert choose(facts("1eb8"), **asked, cuda_keyring_sha256="0" * 64)["problems"] == []


@pytest.mark.parametrize("name", ["install", "configure", "service"])
def test_no_task_runs_on_a_host_without_gpus(name):
    tasks = yaml.safe_load((ROOT / f"roles/cuda/tasks/{name}.yml").read_text())
    assert tasks
    assert {task["when"] for task in tasks} == {"_cuda_wanted"}


def test_the_preflight_calls_no_module():
    tasks = yaml.safe_load((ROOT / "roles/cuda/tasks/preflight.yml").read_text())
    assert [set(task) - {"name", "vars"} for task in tasks] == [{"mammoctl_check"}]
    action = ROOT / "playbooks/plugins/action/mammoctl_check.py"
    assert "_execute_module" not in action.read_text()
