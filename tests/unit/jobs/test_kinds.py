from __future__ import annotations

import json
from dataclasses import replace

import pytest
from test_spec import FOLDER, JOB, RECORD, ROOT

from mammoctl.cluster import ClusterFile, parse
from mammoctl.jobs.kinds import ExploreJob, PredictJob
from mammoctl.jobs.launch import document, restored
from mammoctl.jobs.spec import Weights, needs, submit_argv

MODEL = Weights(f"{ROOT}/results/{JOB}/model.keras", "1" * 64, "model.keras")


@pytest.fixture
def lab() -> ClusterFile:
    return parse(json.dumps({**RECORD, "training_ports": "7260-7276"}))


def test_a_prediction_has_a_script_and_arguments_of_its_own(lab: ClusterFile) -> None:
    argv = submit_argv(lab, PredictJob(JOB, "new", MODEL))
    after = argv.index(f"{FOLDER}/app/predict.py")
    assert argv[after - 2 : after] == ["--py-files", f"{FOLDER}/app/mammotrain.zip"]
    assert argv[after + 1 :] == [
        *("--model", f"{ROOT}/results/{JOB}/model.keras"),
        *("--model-sha256", "1" * 64),
        *("--data", f"{ROOT}/data/new"),
        *("--cache", f"{ROOT}/features/predictions"),
        *("--output", f"{FOLDER}/results"),
        *("--publish", f"{ROOT}/results/{JOB}"),
        *("--progress", f"{FOLDER}/progress.jsonl"),
        *("--batch-size", "8"),
    ]
    assert "spark.cores.max=6" in argv
    assert "spark.task.cpus=2" in argv


def test_a_folder_instead_of_a_data_set(lab: ClusterFile) -> None:
    job = PredictJob(JOB, "", MODEL, images="/incoming", options={"file-names": None})
    argv = submit_argv(lab, job)
    assert "--data" not in argv
    assert argv[argv.index("--folder") + 1] == "/incoming"
    assert argv[-1] == "--file-names"


def test_who_waits_for_files_takes_one_worker_and_keeps_no_log_of_events(lab: ClusterFile) -> None:
    job = PredictJob(JOB, "", MODEL, images="/incoming", workers=1, options={"watch": None})
    assert job.endless
    argv = submit_argv(lab, job)
    assert "spark.cores.max=2" in argv
    assert "spark.eventLog.enabled=false" in argv
    assert needs(lab, job)["executors"] == 1
    once = replace(job, options={"watch": None, "once": None})
    assert not once.endless
    assert "spark.eventLog.enabled=true" in submit_argv(lab, once)


def test_a_look_at_a_data_set_trains_nothing(lab: ClusterFile) -> None:
    weights = Weights("uri", "0" * 64, "w.h5")
    job = ExploreJob(JOB, "screening", "vgg16", weights, 0, 7, 8, {"clusters": "4"})
    argv = submit_argv(lab, job)
    assert job.kind == "explore"
    assert f"{FOLDER}/app/explore.py" in argv
    assert argv[argv.index("--features") + 1] == f"{ROOT}/features"
    assert argv[-2:] == ["--clusters", "4"]
    assert not {"--epochs", "--ports"} & set(argv)


def test_both_can_be_resumed_from_their_records(lab: ClusterFile) -> None:
    for job in (
        PredictJob(JOB, "", MODEL, images="/in", workers=1, options={"watch": None}),
        ExploreJob(JOB, "screening", "vgg16", None, 0, 7, 8, {"clusters": "4"}),
    ):
        record = json.loads(json.dumps(document(lab, job)))
        assert replace(restored(record), notify=()) == job
