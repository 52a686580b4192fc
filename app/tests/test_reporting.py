import csv
import json
import math

import pytest
from mammotrain import cli, failures, report
from mammotrain.dataset import Reject
from mammotrain.events import Progress
from mammotrain.session import local_cores
from mammotrain.storage import has_scheme


def test_events_are_lines_of_strict_json(tmp_path):
    path = tmp_path / "sub" / "progress.jsonl"
    progress = Progress(path)
    with pytest.raises(ValueError, match="x"), progress.stage("read", total=3):
        progress.advance("read", 1, 3)
        progress.warn("careful")
        raise ValueError("x")
    progress.emit("epoch", "train", done=1, total=1, val_auc=math.nan)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == [
        "stage_started",
        "stage_progress",
        "message",
        "stage_finished",
        "epoch",
    ]
    assert all(line["v"] == 1 and line["t"] > 1e9 for line in lines)
    assert lines[1] == {**lines[1], "stage": "read", "done": 1, "total": 3}
    assert lines[3]["ok"] is False
    assert lines[4]["val_auc"] is None
    assert progress.warnings == ["careful"]
    assert progress.seconds["read"] >= 0


def test_rejects_have_a_heading_even_when_there_are_none(tmp_path):
    path = tmp_path / "rejects.csv"
    report.write_rejects(path, [])
    assert path.read_text().strip() == "image_id,reason"
    report.write_rejects(path, [Reject("b", "x, y"), Reject("a", "z")])
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [["image_id", "reason"], ["a", "z"], ["b", "x, y"]]


def test_plots(tmp_path):
    history = {"accuracy": [0.5, 0.6], "val_accuracy": [0.4, math.nan]}
    report.plot(tmp_path / "a.png", history, "accuracy", "title", ("majority class", 0.6))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


NEEDED = ["--data", "d", "--features", "f", "--output", "o", "--weights", "none"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--validation", "0.6", "--test", "0.5"], "leave nobody"),
        (["--pooling", "blocks", "--backbone", "mobilenet_v2_035"], "not offered"),
        (["--backbone", "unknown"], "invalid choice"),
        (["--weights-sha256", "abc"], "64 hexadecimal"),
        (["--epochs", "0"], "1 or more"),
        (["--validation", "1"], "from 0"),
    ],
)
def test_wrong_options_end_with_2(extra, message, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(NEEDED + extra)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_the_help_names_every_option_and_exit_code(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    for word in ("--weights-sha256", "--publish", "--progress", "exit codes", "spark-submit"):
        assert word in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ModuleNotFoundError: No module named 'keras'", "lacks keras"),
        ("Python worker exited unexpectedly (crashed)", "memory"),
        ("java.net.ConnectException: Connection refused", "does not answer"),
        ("something else", "RuntimeError"),
    ],
)
def test_errors_of_spark_become_one_line(text, message):
    line = failures.explain(RuntimeError(text))
    assert message in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("master", "cores"),
    [("local", 1), ("local[3]", 3), ("local[2,4]", 2), ("spark://a:7077", None), ("yarn", None)],
)
def test_local_masters(master, cores):
    assert local_cores(master) == cores


def test_addresses():
    assert has_scheme("hdfs://a/b")
    assert has_scheme("file:/a")
    assert not has_scheme("/a/b:c")
    assert not has_scheme("weights.h5")
