"""Which files of a NameNode are its whole name table."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mammoctl.backup import name_table
from mammoctl.errors import RemoteError


def image(number):
    name = f"fsimage_{number:019d}"
    return [name, f"{name}.md5"]


def edits(first, last):
    return f"edits_{first:019d}-{last:019d}"


def test_the_newest_image_and_the_finished_edits_after_it():
    names = [
        *image(0), *image(40), "fsimage.ckpt_0000000000000000050", "VERSION", "seen_txid",
        edits(1, 20), edits(21, 40), edits(41, 60), edits(61, 61),
        "edits_inprogress_0000000000000000062",
    ]  # fmt: skip
    table = name_table.choose(names, {"clusterID": "CID-1", "layoutVersion": "-67"})
    assert table.image == image(40)[0]
    assert table.edits == (edits(41, 60), edits(61, 61))
    assert table.last == 61
    assert table.files == ["VERSION", *image(40), edits(41, 60), edits(61, 61)]
    assert table.as_json()["cluster_id"] == "CID-1"


def test_an_image_in_the_middle_of_a_segment():
    table = name_table.choose([*image(15), edits(1, 20), edits(21, 22)], {})
    assert (table.edits, table.last) == ((edits(1, 20), edits(21, 22)), 22)


def test_an_image_without_its_sum_was_never_finished():
    table = name_table.choose([*image(0), image(40)[0], edits(1, 40)], {})
    assert (table.image, table.last) == (image(0)[0], 40)
    with pytest.raises(RemoteError, match="no image"):
        name_table.choose([image(40)[0]], {})


def test_a_gap_is_no_table():
    with pytest.raises(RemoteError, match="have a gap"):
        name_table.choose([*image(0), edits(1, 20), edits(22, 30)], {})


def test_a_version_file():
    text = "#Sat Nov 21\nnamespaceID=1\nclusterID=CID-a=b\n\nlayoutVersion=-67\n"
    assert name_table.version(text) == {
        "namespaceID": "1", "clusterID": "CID-a=b", "layoutVersion": "-67",
    }  # fmt: skip


def test_what_the_namenode_counts():
    """Beans and their names as NameNode 3.5.0 gives them."""
    beans = {
        "FSNamesystem": {"BlocksTotal": 3, "MissingBlocks": 0, "FilesTotal": 6},
        "NameNodeInfo": {"ClusterId": "CID-1", "TotalBlocks": 3},
    }
    nodes = SimpleNamespace(
        cluster=SimpleNamespace(master="n1"),
        http_json=lambda _node, url, timeout: {"beans": [beans[url.rpartition("=")[2]]]},
    )
    assert name_table.counts(nodes, "http://n1:9870") == {
        "files": 6, "blocks": 3, "missing_blocks": 0, "cluster_id": "CID-1",
    }  # fmt: skip
    assert name_table._bean(nodes, "http://n1:9870", "NameNodeInfo")["ClusterId"] == "CID-1"
    del beans["FSNamesystem"]["FilesTotal"]
    with pytest.raises(RemoteError, match="not understood"):
        name_table.counts(nodes, "http://n1:9870")
