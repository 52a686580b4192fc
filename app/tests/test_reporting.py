import csv
import json
import math

import numpy as np
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
        (["--ports", "9-1"], "7260-7276"),
        (["--folds", "1"], "2 and more"),
        (["--l2", "-1"], "0 or more"),
        (["--weights-sha256", "abc"], "64 hexadecimal"),
        (["--epochs", "0"], "1 or more"),
        (["--folds", "5", "--strategy", "averaging"], "use it with --strategy local"),
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


def test_unknown_backbones_name_a_near_one(capsys):
    pytest.importorskip("keras")
    with pytest.raises(SystemExit) as caught:
        cli.main([*NEEDED, "--backbone", "resnet5o"])
    assert caught.value.code == 2
    assert "ResNet50" in capsys.readouterr().err


PART = {
    "images": 20,
    "patients": 9,
    "auc": 0.71,
    "auc_interval_95": [0.6, 0.8],
    "accuracy": 0.7,
    "majority_class_accuracy": 0.6,
    "groups": {
        "view": {"CC": {"images": 10, "malignant": 4, "auc": None, "auc_interval_95": None}}
    },
}
METRICS = {
    "application": "mammotrain 1",
    "meaningful": True,
    "warnings": ["<b>careful</b>"],
    "seed": 0,
    "epochs": 3,
    "backbone": "vgg16",
    "weights": "abc",
    "features": {"pooling": "avg", "fit": "crop", "dimension": 512}
    | {"precision": "bfloat16", "augment": "flips"},
    "head": {"units": 0},
    "training": {"strategy": "local", "epoch": 3, "fine_tune": 0},
    "data": {"images": 40, "patients": 18, "benign": 30, "malignant": 10, "rejected": 2},
    "split": {"by": "patient", "parts": ["train", "validation"]},
}


def documents():
    import numpy as np
    from mammotrain.assess import assess, choose
    from mammotrain.dataset import Image

    rng = np.random.default_rng(0)
    images = [Image(f"i{n}", f"p{n // 2}", n % 2, str(n)) for n in range(20)]
    scores = rng.random(20)
    chosen = choose("validation", [image.label for image in images], scores)
    part = {**PART, **assess(images, scores, chosen, rounds=20, seed=0)}
    metrics = {**METRICS, "validation": part, "chosen": {"part": "validation"}}
    timings = {
        "stages": {"read": 1.0},
        "environment": {"python": "3.11"},
        "features": {
            "nodes": {
                "a": {"tasks": 1, "images": 2, "images_per_second": 3.0, "python_peak_mb": 900}
            }
        },
    }
    return metrics, timings


def test_the_model_card_says_what_it_is_for_and_how_good_it_is():
    from mammotrain.model_card import as_markdown, model_card

    metrics, timings = documents()
    card = model_card(metrics, timings)
    assert card["intended_use"] == "research only"
    assert card["evaluation"]["part"] == "validation"
    text = as_markdown(card)
    assert "research only" in text
    assert "0.710 (0.600 to 0.800)" in text
    assert "| CC | 10 | 4 | - |" in text
    json.dumps(card)


def test_the_model_card_says_what_was_done_to_the_network():
    from mammotrain.model_card import as_markdown, model_card

    metrics, timings = documents()
    text = as_markdown(model_card(metrics, timings))
    assert "(weights abc), frozen; " in text
    assert "in bfloat16" in text
    assert "augmentation: flips" in text
    tuned = {"fine_tune": 4, "fine_tune_rate": 1e-5, "fine_tune_epoch": 2}
    metrics["training"] = {**metrics["training"], **tuned}
    text = as_markdown(model_card(metrics, timings))
    assert "last block fine-tuned at rate 1e-05, epoch 2 of 4" in text
    assert "abc), frozen" not in text


def test_the_page_needs_nothing_but_itself_and_escapes_what_it_is_given():
    from html.parser import HTMLParser

    from mammotrain.model_card import model_card
    from mammotrain.page import report_page

    metrics, timings = documents()
    history = {"accuracy": [0.5, 0.6], "loss": [0.7, 0.6], "auc": [0.5, 0.7]}
    rejects = [Reject("bad-1", "<script>")]
    page = report_page(model_card(metrics, timings), metrics, history, timings, rejects=rejects)
    seen = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen.append((tag, dict(attrs)))

    Reader().feed(page)
    tags = [tag for tag, _ in seen]
    assert not {"script", "link", "iframe"} & set(tags)
    assert "b" in tags  # the page's own
    assert "&lt;b&gt;careful" in page
    pictures = [attrs["src"] for tag, attrs in seen if tag == "img"]
    assert len(pictures) == 6
    assert all(source.startswith("data:image/png;base64,") for source in pictures)
    assert "http" not in page
    assert "bad-1" in page


def test_single_cases_are_inside_the_page():
    from mammotrain.cases import Case
    from mammotrain.page import _shown

    grey = np.full((8, 8, 3), 7, np.uint8)
    kinds = ("malignant, missed", "malignant, missed", "benign, called so")
    page = "".join(_shown([Case(kind, f"<{n}>", 0.25, grey, grey) for n, kind in enumerate(kinds)]))
    assert page.count("<h3>") == 2
    assert page.count("data:image/png;base64,") == 6
    assert "&lt;0&gt;: 0.250" in page
    assert _shown([]) == []
