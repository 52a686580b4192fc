from __future__ import annotations

from mammoctl.lab import views

V2 = """anon 1048576
file 4194304
shmem 0
active_file 1048576
inactive_file 3145728
slab_reclaimable 524288
slab_unreclaimable 1024
"""
V1 = """cache 1
rss 2
total_cache 4194304
total_rss 1048576
total_active_file 1048576
total_inactive_file 3145728
"""
CPUINFO = """processor\t: 0
physical id\t: 0
siblings\t: 4
core id\t\t: 0
cpu cores\t: 2
flags\t\t: fpu avx2

processor\t: 1
physical id\t: 1
siblings\t: 4
core id\t\t: 1
cpu cores\t: 2
flags\t\t: fpu avx2

"""


def _rows(text: str) -> dict[str, int]:
    return {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()}


def test_both_cgroup_versions_give_the_same_numbers() -> None:
    v1, v2 = views.parse_stat(V1), views.parse_stat(V2)
    for key in ("anon", "file", "active_file", "inactive_file"):
        assert v1[key] == v2[key] > 0


def test_meminfo_says_what_is_left_of_the_limit() -> None:
    rows = _rows(views.meminfo(512 << 20, 6 << 20, views.parse_stat(V2)))
    assert rows["MemTotal"] == 512 * 1024
    assert rows["MemFree"] == 506 * 1024
    assert rows["MemAvailable"] == 510 * 1024 + 512  # free, page cache and reclaimable slab
    assert rows["SwapTotal"] == 0
    assert rows["Cached"] == 4096


def test_meminfo_never_changes_its_length_and_never_goes_below_zero() -> None:
    stat = views.parse_stat(V2)
    small, large = views.meminfo(256 << 20, 1 << 40, stat), views.meminfo(1 << 40, 0, stat)
    assert len(small) == len(large)
    assert _rows(small)["MemFree"] == 0
    assert _rows(large)["MemAvailable"] == _rows(large)["MemTotal"]


def test_cpuinfo_is_cut_and_renumbered() -> None:
    text = views.cpuinfo(CPUINFO, 1)
    assert text.count("processor") == 1
    assert "cpu cores\t: 1" in text and "siblings\t: 1" in text and "avx2" in text
    both = views.cpuinfo(CPUINFO, 2)
    assert both.count("physical id\t: 0") == 2
    assert both.endswith("\n\n")


def test_online_is_a_range_from_zero() -> None:
    assert views.online(1) == "0\n"
    assert views.online(4) == "0-3\n"
