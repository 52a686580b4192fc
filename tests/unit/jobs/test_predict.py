from __future__ import annotations

import csv
import hashlib
import stat
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest

from mammoctl.errors import JobError, RemoteError, UsageError
from mammoctl.jobs import predict
from mammoctl.jobs.names import add_names
from mammoctl.jobs.predict import Request, find_model

OLD, NEW = "train-20261121-104512-ab12", "train-20261122-104512-cd34"
JUDGED = "predict-20261123-104512-ef56"
ROOT = "hdfs://m:8020/mammoctl"


class Storage:
    """A storage that is a dictionary of files."""

    def __init__(self, *files: str) -> None:
        self.files = {name: name.encode() for name in files}
        self.paths = SimpleNamespace(results=f"{ROOT}/results", weights=f"{ROOT}/weights")
        self.moved: list[str] = []

    def names(self, uri: str) -> list[str]:
        inside = [name[len(uri) + 1 :] for name in self.files if name.startswith(f"{uri}/")]
        return sorted({name.split("/")[0] for name in inside})

    def sha256(self, uri: str) -> str:
        return hashlib.sha256(self.files[uri]).hexdigest()

    def send_all(self, uri: str, stream: BinaryIO) -> str:
        self.files[uri] = stream.read()
        return self.sha256(uri)

    def change(self, *steps: tuple[str, ...]) -> None:
        for verb, source, *target in steps:
            if verb == "move":
                for name in [name for name in self.files if name.startswith(source)]:
                    self.files[target[0] + name[len(source) :]] = self.files.pop(name)


def job(name: str, state: str, kind: str = "train") -> dict[str, Any]:
    return {"spec": {"id": name, "kind": kind}, "state": {"state": state}}


def model(path: Path, name: str = "mammotrain.json") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "{}")
    return path


def test_latest_is_the_newest_training_that_succeeded(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [job(OLD, "succeeded"), job(NEW, "failed"), job(JUDGED, "succeeded", "predict")]
    monkeypatch.setattr(predict, "list_jobs", lambda _: jobs)
    uri = f"{ROOT}/results/{OLD}/model.keras"
    storage: Any = Storage(uri)
    found = find_model(None, storage, "latest")  # type: ignore[arg-type]
    assert (found.uri, found.sha256) == (uri, hashlib.sha256(uri.encode()).hexdigest())
    assert find_model(None, storage, OLD) == found  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"the job {NEW} has left no model"):
        find_model(None, storage, NEW)  # type: ignore[arg-type]
    jobs[0]["state"]["state"] = "lost"
    with pytest.raises(UsageError, match="no training has succeeded"):
        find_model(None, storage, "latest")  # type: ignore[arg-type]


def test_a_model_here_travels_once_under_its_checksum(tmp_path: Path) -> None:
    path = model(tmp_path / "model.keras")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    storage: Any = Storage()
    for named in (str(path), str(tmp_path)):
        found = find_model(None, storage, named)  # type: ignore[arg-type]
        assert found.uri == f"{ROOT}/weights/{sha256}/model.keras"
        assert list(storage.files) == [found.uri]
        assert storage.files[found.uri] == path.read_bytes()


@pytest.mark.parametrize("mendable", [True, False])
def test_a_model_that_arrives_damaged_is_told_and_not_kept(tmp_path: Path, mendable: bool) -> None:
    path = model(tmp_path / "model.keras")

    class Damaging(Storage):
        def send_all(self, uri: str, stream: BinaryIO) -> str:
            super().send_all(uri, stream)
            return "0" * 64

        def change(self, *steps: tuple[str, ...]) -> None:
            if steps[0][0] == "remove":
                if not mendable:
                    raise RemoteError("the connection is gone")
                self.files.clear()

    storage: Any = Damaging()
    with pytest.raises(RemoteError, match="arrived damaged"):
        find_model(None, storage, str(path))  # type: ignore[arg-type]
    assert (storage.files == {}) is mendable


def test_what_is_no_model_is_told_before_anything_runs(tmp_path: Path) -> None:
    storage: Any = Storage()
    (tmp_path / "text").write_text("no zip")
    for named, message in (
        (str(model(tmp_path / "other.keras", "config.json")), "no model of this application"),
        (str(tmp_path / "text"), "no model of this application"),
        (str(tmp_path / "gone.keras"), "there is no model"),
        ("../x", "there is no model"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            find_model(None, storage, named)  # type: ignore[arg-type]
        assert caught.value.hint
    assert storage.files == {}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(data="a", folder="/b"), "both --data and --folder"),
        (Request(data="a", watch=True), "--watch needs a folder"),
        (Request(folder="/b", once=True), "--once belongs to --watch"),
        (Request(data="a", workers=4), "the cluster has 3 workers"),
        (Request(data="a", name="No Name"), "cannot be called"),
    ],
)
def test_wrong_requests(request_: Request, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "Storage", lambda *_: Storage(f"{ROOT}/data/a/x"))
    deployment: Any = SimpleNamespace(workers={"a": 1, "b": 2, "c": 3})
    with pytest.raises(UsageError, match=message):
        predict.prepare(None, deployment, request_)  # type: ignore[arg-type]


def test_a_watched_folder_has_one_place_and_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"{ROOT}/results/{OLD}/model.keras"
    monkeypatch.setattr(predict, "Storage", lambda *_: Storage(uri))
    monkeypatch.setattr(predict, "account", lambda _: "spark")
    paths = SimpleNamespace(results=f"{ROOT}/results")
    deployment: Any = SimpleNamespace(workers={"a": 1, "b": 2, "c": 3}, paths=paths)
    specs = [
        predict.prepare(None, deployment, request)  # type: ignore[arg-type]
        for request in (
            Request(folder="/in/Some DICOMs/", model=OLD, watch=True),
            Request(folder="/in/Some DICOMs", model=OLD, watch=True, once=True, workers=2),
            Request(folder="/on/Some DICOMs", model=OLD, file_names=True),
        )
    ]
    first, second, third = specs
    assert (first.workers, second.workers, third.workers) == (1, 2, 0)
    assert list(first.options) == ["watch", "predictions"]
    assert list(second.options) == ["watch", "predictions", "once"]
    assert third.options == {"file-names": None}
    place = str(first.options["predictions"])
    assert place.startswith(f"{ROOT}/results/watched/some-dicoms-")
    assert second.options["predictions"] == place
    assert predict.watched_at(deployment, "/on/Some DICOMs") != place


class Master:
    """A master with a map of ids, or without."""

    def __init__(self, ids: str | None) -> None:
        self.cluster = SimpleNamespace(master=SimpleNamespace(name="m"))
        self.ids = ids

    def run(self, host: str, argv: list[str], *, sudo: bool, check: bool) -> Any:
        assert (host, sudo) == ("m", True)
        assert argv[-1] == "/var/lib/mammoctl/datasets/new/ids.csv"
        return SimpleNamespace(rc=self.ids is None, stdout=self.ids or "")


def test_names_are_added_here_and_for_their_owner_only(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text("image_id,score\ni1,0.5\ni2,\ni3,0.25\n")
    ids = 'image_id,file,label\ni1,"Doe, Jane/1.dcm",\ni2,b.png,\ni1,a copy.dcm,\n'
    nodes: Any = Master(ids)
    for _ in range(2):
        path = add_names(nodes, "new", tmp_path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(csv.reader(path.open(newline=""))) == [
            ["file", "image_id", "score"],
            ["", "i3", "0.25"],
            ["Doe, Jane/1.dcm", "i1", "0.5"],
            ["a copy.dcm", "i1", "0.5"],
            ["b.png", "i2", ""],
        ]
    nodes.ids = None
    with pytest.raises(JobError, match="no map"):
        add_names(nodes, "new", tmp_path)
