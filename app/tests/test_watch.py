"""A drop folder: every file is judged exactly once, whatever happens in between."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from packing import dicom, encode, phantom

APP = Path(__file__).parents[1]


def put(folder, number):
    """Add a file as one should: under a hidden name first. Every third is a DICOM file."""
    pixels = phantom(100 + number, malignant=number % 2 == 0)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{number}.dcm" if number % 3 == 0 else f"{number}.png"
    hidden = folder / f".{name}"
    hidden.write_bytes(dicom(pixels) if number % 3 == 0 else encode(pixels))
    hidden.rename(folder / name)
    return name


def arguments(judge, folder, output, *more):
    return [
        *("--model", str(judge / "model.keras"), "--folder", str(folder / "in")),
        *("--predictions", str(folder / "judged"), "--output", str(output), "--watch"),
        *("--progress", str(output.with_suffix(".jsonl")), "--file-names", *more),
    ]


def messages(output):
    path = output.with_suffix(".jsonl")
    lines = path.read_text().splitlines() if path.exists() else []
    return [event["text"] for event in map(json.loads, lines) if event["event"] == "message"]


def once(judge, folder, output, *more):
    """Judge what is there; returns the rows of the whole table."""
    from mammotrain.predict_cli import main

    assert main([*arguments(judge, folder, output), "--once", *more]) == 0
    return pq.read_table(output / "predictions.parquet").to_pylist()


def test_what_belongs_together(capsys):
    from mammotrain.predict_cli import main

    for wrong, message in (
        (("--folder", "f", "--watch"), "--watch needs"),
        (("--data", "d", "--watch", "--predictions", "p"), "--watch needs"),
        (("--folder", "f", "--cache", "c", "--once"), "--once belongs"),
        (("--folder", "f"), "--cache is needed"),
        (("--folder", "f", "--data", "d"), "not allowed with"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["--model", "m", "--output", "o", *wrong])
        assert caught.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.spark
@pytest.mark.slow
def test_new_files_only_and_the_same_scores_as_a_batch(judge, tmp_path):
    from mammotrain.predict_cli import main

    names = [put(tmp_path / "in" / "a b", number) for number in range(4)]
    (tmp_path / "in" / "cut.png").write_bytes(encode(phantom(9, malignant=False))[:200])
    old = time.time() - 400 * 86400
    first = once(judge, tmp_path, tmp_path / "one")
    assert Counter(row["file"] for row in first) == Counter(
        [*(f"a b/{name}" for name in names), "cut.png"]
    )
    assert {row["file"]: row["reason"] for row in first if row["reason"]} == {
        "cut.png": "truncated or damaged",
    }
    # moved here, and older than all that was seen before
    late = put(tmp_path / "in", 7)
    os.utime(tmp_path / "in" / late, (old, old))
    second = once(judge, tmp_path, tmp_path / "two")
    assert len(second) == 6
    assert [row for row in second if row["file"] != late] == first
    assert any(
        text.startswith("1 new; in all 5 images judged") for text in messages(tmp_path / "two")
    )
    metrics = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert metrics["data"] == {
        "images": 5,
        "rejected": 1,
        "reasons": {"truncated or damaged": 1},
        "warnings": metrics["data"]["warnings"],
    }
    # nothing new: nothing happens
    assert once(judge, tmp_path, tmp_path / "three") == second

    batch = [
        *("--model", str(judge / "model.keras"), "--folder", str(tmp_path / "in")),
        *("--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "batch"), "--file-names"),
    ]
    assert main(batch) == 0
    found = {row["file"]: row for row in second}
    for row in pq.read_table(tmp_path / "batch" / "predictions.parquet").to_pylist():
        same = found[row["file"]]
        assert row["reason"] == same["reason"]
        assert row["called"] == same["called"]
        if row["score"] is not None:
            assert row["score"] == pytest.approx(same["score"], abs=1e-5)
            assert row["image_id"] == same["image_id"]


@pytest.mark.spark
@pytest.mark.slow
def test_a_kill_in_the_middle_costs_no_file_and_doubles_none(judge, tmp_path):
    names = [put(tmp_path / "in", number) for number in range(6)]
    output = tmp_path / "killed"
    argv = [sys.executable, str(APP / "predict.py")]
    argv += arguments(judge, tmp_path, output, "--files-per-batch", "1", "--every", "1")
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        try:
            end = time.monotonic() + 300
            while not any(text.startswith("batch 1:") for text in messages(output)):
                assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
                assert time.monotonic() < end
                time.sleep(0.2)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the JVM and the workers too
            process.wait()
    names.append(put(tmp_path / "in", 6))
    found = once(judge, tmp_path, tmp_path / "after")
    assert Counter(row["file"] for row in found) == Counter(names)
    assert all(row["score"] is not None for row in found)
    # some were known already
    assert not any(text.startswith("7 new") for text in messages(tmp_path / "after"))


@pytest.mark.spark
def test_nothing_there(judge, tmp_path):
    from mammotrain.predict_cli import main

    output = tmp_path / "out"
    assert main([*arguments(judge, tmp_path, output), "--once"]) == 2
    assert "nothing at the --folder address" in messages(output)[-1]
    (tmp_path / "in").mkdir()
    assert once(judge, tmp_path, tmp_path / "empty") == []
