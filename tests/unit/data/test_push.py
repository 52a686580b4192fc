"""Pushing for real, onto storage that is a folder: the master is this machine."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from masters import Local
from pictures import PLANTED, jpeg
from PIL import Image

from mammoctl.cluster import ClusterFile
from mammoctl.data import deid
from mammoctl.data import push as pushing
from mammoctl.data.push import Pushed, list_data, push
from mammoctl.data.scan import scan_folder
from mammoctl.data.storage import Storage
from mammoctl.errors import DataError, RemoteError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    for number in range(6):
        label = ("benign", "malignant")[number % 2]
        path = source / label / f"P{number} ł.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
    return source


def shown(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def bring(nodes: Local, deployment: ClusterFile, folder: Path, **options: Any) -> Pushed:
    scan = scan_folder(folder, patient_pattern=r"(P\d+)")
    return push(nodes, deployment, scan, "set", **options)  # type: ignore[arg-type]


def entries(deployment: ClusterFile) -> list[str]:
    root = Path(deployment.paths.data.removeprefix("file://"))
    return sorted(path.name for path in root.iterdir())


def test_a_pushed_set_is_complete_described_and_mapped(
    nodes: Local, deployment: ClusterFile, folder: Path, tmp_path: Path
) -> None:
    read: list[int] = []
    pushed = bring(nodes, deployment, folder, advance=read.append)
    assert pushed.changed
    assert sorted(read) == sorted(path.stat().st_size for path in folder.rglob("*.jpg"))
    assert entries(deployment) == ["set"]
    here = tmp_path / "storage" / "data" / "set"
    about = json.loads((here / "dataset.json").read_text())
    assert about == pushed.description
    assert (about["images"], about["patients"], about["patient_source"]) == (6, 6, "pattern")
    assert about["labels"] == {"benign": 3, "malignant": 3}
    part = here / about["parts"][0]["name"]
    assert about["parts"][0]["size"] == part.stat().st_size
    rows = {row["image_id"]: row for row in pq.read_table(part).to_pylist()}
    ids = tmp_path / "datasets" / "set" / "ids.csv"
    assert ids.stat().st_mode & 0o777 == 0o600
    mapped = list(csv.DictReader(io.StringIO(ids.read_text())))
    assert {row["image_id"] for row in mapped} == set(rows)
    for row in mapped:
        content = (folder / row["file"]).read_bytes()
        travelled = rows[row["image_id"]]["content"]
        assert np.array_equal(shown(travelled), shown(content))
        assert travelled != content
        assert row["patient_id"] == rows[row["image_id"]]["patient_id"]
    assert sorted(row["patient"] for row in mapped) == [f"P{n}" for n in range(6)]
    assert [item["name"] for item in list_data(nodes, deployment)] == ["set"]  # type: ignore[arg-type]


def test_no_identifier_is_in_anything_that_is_written(
    nodes: Local, deployment: ClusterFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The map of ids, for root on the master, is the one place that holds names, by design."""
    from test_deid_dicom import planted

    source = tmp_path / "named"
    source.mkdir()
    (source / "a.dcm").write_bytes(planted()[0])
    (source / "b.jpg").write_bytes(jpeg(1))
    (source / "c.jpg").write_bytes(b"\xff\xd8\xff" + PLANTED.encode() * 9)
    (source / "manifest.csv").write_text(
        "file,label,patient_id,view,laterality,age,density,machine_id,site_id,radiologist\n"
        + "".join(
            f"{name},{label},{PLANTED},{','.join([PLANTED] * 7)}\n"
            for name, label in (("a.dcm", "benign"), ("b.jpg", "malignant"), ("c.jpg", "benign"))
        )
    )
    caplog.clear()
    push(nodes, deployment, scan_folder(source), "set")  # type: ignore[arg-type]
    here = tmp_path / "storage" / "data" / "set"
    texts = [path.read_bytes() for path in here.iterdir() if path.suffix == ".json"]
    for part in here.glob("*.parquet"):
        texts.append(str(pq.ParquetFile(part).metadata.to_dict()).encode())
        texts += [
            value if isinstance(value, bytes) else str(value).encode()
            for row in pq.read_table(part).to_pylist()
            for value in row.values()
        ]
    assert len(texts) > 40
    assert not [text for text in texts if PLANTED.encode() in text]
    assert PLANTED not in "".join(nodes.lines) + caplog.text
    assert PLANTED in (tmp_path / "datasets" / "set" / "ids.csv").read_text()


def test_keeping_identifiers_is_another_data_set(
    nodes: Local, deployment: ClusterFile, folder: Path
) -> None:
    first = bring(nodes, deployment, folder)
    assert first.description["deidentified"] == deid.VERSION
    with pytest.raises(DataError, match="other content"):
        bring(nodes, deployment, folder, keep_identifiers=True)
    second = bring(nodes, deployment, folder, keep_identifiers=True, overwrite=True)
    assert second.description["deidentified"] is None
    assert not bring(nodes, deployment, folder, keep_identifiers=True).changed


def test_an_unchanged_set_is_not_read_again(
    nodes: Local, deployment: ClusterFile, folder: Path
) -> None:
    bring(nodes, deployment, folder)
    read: list[int] = []
    assert not bring(nodes, deployment, folder, advance=read.append).changed
    assert read == []


def test_touched_files_are_compared_by_content(
    nodes: Local, deployment: ClusterFile, folder: Path
) -> None:
    bring(nodes, deployment, folder)
    for path in folder.rglob("*.jpg"):
        os.utime(path, (1, 1))
    nodes.lines.clear()
    assert not bring(nodes, deployment, folder).changed
    assert not sent(nodes)


def test_other_content_needs_a_word(
    nodes: Local, deployment: ClusterFile, folder: Path, tmp_path: Path
) -> None:
    first = bring(nodes, deployment, folder)
    (folder / "benign" / "P9.jpg").write_bytes(jpeg(9))
    with pytest.raises(DataError, match="already") as caught:
        bring(nodes, deployment, folder)
    assert "--replace" in caught.value.hint
    assert (
        json.loads((tmp_path / "storage" / "data" / "set" / "dataset.json").read_text())
        == first.description
    )
    assert bring(nodes, deployment, folder, overwrite=True).description["images"] == 7
    assert entries(deployment) == ["set"]


def test_interruption_leaves_only_what_the_next_push_removes(
    nodes: Local, deployment: ClusterFile, folder: Path
) -> None:
    def stop(_count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(nodes, deployment, folder, advance=stop)
    assert [name[:9] for name in entries(deployment)] == [".tmp-set-"]
    assert list_data(nodes, deployment) == []  # type: ignore[arg-type]
    bring(nodes, deployment, folder)
    assert entries(deployment) == ["set"]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make several parts of a few images."""
    monkeypatch.setattr(pushing, "pack", partial(pushing.pack, part_bytes=1))


def sent(nodes: Local) -> list[str]:
    """Return the parts that travelled."""
    found = [re.search(r"tee -- .*/(part-\d+\.parquet)", line) for line in nodes.lines]
    return [match[1] for match in found if match]


@pytest.mark.usefixtures("small_parts")
def test_only_what_changed_travels(nodes: Local, deployment: ClusterFile, folder: Path) -> None:
    first = bring(nodes, deployment, folder)
    assert (len(sent(nodes)), first.kept) == (6, 0)
    nodes.lines.clear()
    (folder / "benign" / "P9.jpg").write_bytes(jpeg(9))
    second = bring(nodes, deployment, folder, overwrite=True)
    assert len(sent(nodes)) == 1
    assert second.kept == sum(part["size"] for part in first.description["parts"])
    assert second.description["images"] == 7
    root = Storage(nodes, deployment).path(second.uri)  # type: ignore[arg-type]
    for part in second.description["parts"]:
        content = (Path(root) / part["name"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == part["sha256"]
    assert entries(deployment) == ["set"]


@pytest.mark.usefixtures("small_parts")
def test_an_interrupted_push_goes_on_with_what_has_arrived(
    nodes: Local, deployment: ClusterFile, folder: Path
) -> None:
    seen: list[int] = []

    def stop(count: int) -> None:
        seen.append(count)
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(nodes, deployment, folder, advance=stop)
    arrived = len(sent(nodes))
    assert 1 <= arrived < 6
    nodes.lines.clear()
    done = bring(nodes, deployment, folder)
    assert done.kept > 0
    assert 1 <= len(sent(nodes)) <= 6 - arrived + 1  # the last may have been cut
    assert done.description["images"] == 6
    assert entries(deployment) == ["set"]


def test_two_pushes_of_one_name_at_once(
    nodes: Local, deployment: ClusterFile, folder: Path, tmp_path: Path
) -> None:
    refused: list[DataError] = []

    def second(_count: int) -> None:
        if not refused:
            with pytest.raises(DataError) as caught:
                bring(nodes, deployment, folder)
            refused.append(caught.value)

    bring(nodes, deployment, folder, advance=second)
    assert "the data set set is being changed by " in refused[0].message
    assert "@" in refused[0].message
    # the lock ended with the push
    assert not bring(nodes, deployment, folder).changed


def test_a_replacement_that_was_cut_short_is_taken_back(
    nodes: Local, deployment: ClusterFile, folder: Path, tmp_path: Path
) -> None:
    bring(nodes, deployment, folder)
    root = tmp_path / "storage" / "data"
    (root / "set").rename(root / ".old-set-00000000")
    (root / ".old-other-00000000").mkdir()  # somebody else's
    assert not bring(nodes, deployment, folder).changed
    assert entries(deployment) == [".old-other-00000000", "set"]


def cut_short(nodes: Local, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Interrupt what is done on the master, once, when a command of this kind is about to run."""
    run = nodes.run

    def until(host: str, command: Any, **options: Any) -> Any:
        line = command if isinstance(command, str) else " ".join(command)
        if line.startswith(at):
            monkeypatch.setattr(nodes, "run", run)
            raise KeyboardInterrupt
        return run(host, command, **options)

    monkeypatch.setattr(nodes, "run", until)


@pytest.mark.parametrize("replaces", [False, True])
def test_a_push_cut_short_before_its_map_counts_is_mended_by_the_next(
    nodes: Local,
    deployment: ClusterFile,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    replaces: bool,
) -> None:
    ids = nodes.cluster.path / "datasets" / "set"
    if replaces:
        bring(nodes, deployment, folder)
        (folder / "benign" / "P9.jpg").write_bytes(jpeg(9))
    cut_short(nodes, monkeypatch, "mv -f ")
    with pytest.raises(KeyboardInterrupt):
        bring(nodes, deployment, folder, overwrite=True)
    assert not bring(nodes, deployment, folder).changed
    mapped = [row["file"] for row in csv.DictReader(io.StringIO((ids / "ids.csv").read_text()))]
    assert sorted(mapped) == sorted(str(p.relative_to(folder)) for p in folder.rglob("*.jpg"))
    assert [path.name for path in ids.iterdir()] == ["ids.csv"]
    assert entries(deployment) == ["set"]
    (ids / "ids.csv").unlink()  # `data verify` says then: push it again
    assert not bring(nodes, deployment, folder).changed
    assert (ids / "ids.csv").is_file()


def test_damage_on_the_way_is_noticed(
    nodes: Local, deployment: ClusterFile, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Storage.receive_line
    monkeypatch.setattr(
        Storage, "receive_line", lambda self, uri: "head -c 500 | " + line(self, uri)
    )
    with pytest.raises(RemoteError, match="damaged on its way"):
        bring(nodes, deployment, folder)
    assert "set" not in entries(deployment)


def test_a_failing_storage_is_reported_not_waited_for(
    nodes: Local, deployment: ClusterFile, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "echo disk on fire >&2; exit 3"
    monkeypatch.setattr(Storage, "receive_line", lambda self, uri: line)
    with pytest.raises(RemoteError, match="status 3") as caught:
        bring(nodes, deployment, folder)
    assert caught.value.details == ["disk on fire"]


@pytest.mark.parametrize("name", ["", "../x", "a b", ".hidden", "x" * 64, "a/b"])
def test_awkward_names_are_refused(
    nodes: Local, deployment: ClusterFile, folder: Path, name: str
) -> None:
    with pytest.raises(DataError, match="cannot be called"):
        push(nodes, deployment, scan_folder(folder), name)  # type: ignore[arg-type]
