"""The run from data set to results, one function a stage."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from mammotrain import report, session
from mammotrain.averaging import averaging_epochs
from mammotrain.cases import Case, candidates, cases_of, pixels_of
from mammotrain.cases import choose as choose_cases
from mammotrain.checkpoint import Checkpoints, History, identity
from mammotrain.dataset import LABELS, Image, check_usable, read_dataset, without_patient
from mammotrain.description import describe, write_description
from mammotrain.errors import TrainError
from mammotrain.events import Progress
from mammotrain.export import SAVED_MODEL, export_saved_model
from mammotrain.extraction import features_of
from mammotrain.head import Part, predict, save_model
from mammotrain.loop import HeadOptions, head_options
from mammotrain.model_card import as_markdown, judged_part, model_card
from mammotrain.network import bring_weights, check_weights, feature_key
from mammotrain.page import report_page
from mammotrain.phases import second_phase
from mammotrain.results import metrics_of, summary, timings_of
from mammotrain.split import split
from mammotrain.state import State
from mammotrain.storage import Storage
from mammotrain.sync import sync_epochs
from mammotrain.train import Epochs, local_epochs, train_head

MEANINGLESS = "random backbone weights: timings are valid, predictions mean nothing"


def run(options: argparse.Namespace, progress: Progress) -> None:
    """Do everything; see `cli.parser` for the options.

    Raises:
        TrainError: with a message for the user.
    """
    begin = time.monotonic()
    check_weights(options)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainError(f"the folder for the results cannot be made: {error.strerror}") from error
    with tempfile.TemporaryDirectory(prefix="mammotrain-") as scratch:
        spark = session.start(progress)
        try:
            progress.seconds["start"] = time.monotonic() - begin
            storage = Storage(spark)
            with progress.stage("read"):
                state = _read(spark, storage, options, progress, Path(scratch))
            with progress.stage("features", total=len(state.images)):
                features_of(spark, state)
            if options.pictures:
                state.pixels = _pixels(spark, state)
            if options.strategy != "local":
                with progress.stage("train", total=options.epochs + options.fine_tune):
                    parts, model, history = _train(state, storage, spark)
        finally:
            # The rest needs no executors: others may have them, and this machine their memory.
            session.stop(spark)
        if options.strategy == "local":
            with progress.stage("train", total=options.epochs + options.fine_tune):
                parts, model, history = _train(state, storage, None)
        with progress.stage("evaluate", total=len(parts)):
            metrics = metrics_of(state, parts, model)
        with progress.stage("report"):
            _report(state, parts, model, history, metrics)
            cases = _cases(state, parts, model, metrics)
        timings = timings_of(state, time.monotonic() - begin)
        report.write_json(options.output / "timings.json", timings)
        _pages(state, history, metrics, timings, cases)
        if options.publish:
            storage.publish(options.output, options.publish)
    progress.emit("result", "report", metrics=metrics, output=str(options.output))
    progress.message("info", summary(metrics))


def _read(
    spark: Any, storage: Storage, options: argparse.Namespace, progress: Progress, scratch: Path
) -> State:
    weights = bring_weights(spark, storage, options, scratch)
    if weights is None:
        progress.warn(MEANINGLESS)
    dataset = read_dataset(spark, options.data, storage)
    if not dataset.by_patient:
        progress.warn("the patients are not known: the split is by image and may be too optimistic")
    elif nameless := without_patient(dataset.images):
        progress.warn(
            f"{nameless} of {len(dataset.images)} images have no patient: each counts as one of "
            "its own, so views of one woman may be in two parts and the results be too optimistic"
        )
    key = feature_key(options, weights)
    state = State(options, progress, key, weights, dataset, dataset.images, list(dataset.rejects))
    check_usable(state.images, state.rejects, state.parts)
    _split(state)  # one that is refused is refused before the work
    counts = {name: sum(i.label == v for i in state.images) for name, v in LABELS.items()}
    progress.message(
        "info",
        f"{len(state.images)} images of {len({i.patient_id for i in state.images})} patients "
        f"({counts['benign']} benign, {counts['malignant']} malignant), "
        f"{len(state.rejects)} rejected so far",
    )
    state.executors = session.executors(spark)
    return state


def _pixels(spark: Any, state: State) -> dict[str, Any]:
    """Return the pixels of images of the judged part: those that the report may show."""
    parts = _split(state)
    images = candidates(parts[judged_part(parts)[0]], state.options.seed)
    return pixels_of(spark, state.dataset.frame, state.key, images)


def _split(state: State) -> dict[str, list[Image]]:
    options = state.options
    shares = {"validation": options.validation, "test": options.test}
    return split(state.images, shares, options.seed)


def _cases(
    state: State, parts: dict[str, list[Image]], model: Any, metrics: dict[str, Any]
) -> list[Case]:
    if not state.pixels:
        return []
    images = [one for one in parts[judged_part(parts)[0]] if one.image_id in state.pixels]
    scores = predict(model, state.arrays(images)[0])
    threshold = metrics["chosen"]["threshold"]
    chosen = choose_cases(images, scores, threshold, state.options.pictures)
    try:
        return cases_of(state.options.output / "model.keras", chosen, state.pixels)
    except ValueError as error:
        state.progress.message("warning", f"no pictures in the report: {error}")
        return []


def _train(
    state: State, storage: Storage, spark: Any
) -> tuple[dict[str, list[Image]], Any, History]:
    options, progress = state.options, state.progress
    total = options.epochs + options.fine_tune
    parts = _split(state)

    def on_epoch(epoch: int, numbers: dict[str, float]) -> None:
        progress.emit("epoch", "train", done=epoch, total=total, **numbers)
        shown = " ".join(f"{name} {value:.3f}" for name, value in numbers.items())
        progress.log(f"epoch {epoch}/{total}: {shown}")

    def on_second(epoch: int, numbers: dict[str, float]) -> None:
        on_epoch(options.epochs + epoch, numbers)

    head = head_options(options)
    train = state.training_arrays(parts["train"])
    name = identity(f"{state.key.digest()} {options.augment}", options.strategy, head, parts)
    checkpoints = Checkpoints(storage, f"{state.root}/_checkpoints", name)
    model, history, state.epoch = train_head(
        train,
        state.arrays(parts["validation"]) if "validation" in parts else None,
        head,
        on_epoch,
        epochs=_epochs(state, spark, train, head),
        checkpoints=checkpoints,
    )
    if options.fine_tune:
        tune = f"{name}-{options.fine_tune}-{options.fine_tune_rate}"
        second = Checkpoints(storage, f"{state.root}/_checkpoints", tune)
        progress.message("info", f"fine-tuning: {options.fine_tune} epochs")
        state.tuner, state.tune_epoch = second_phase(
            state, parts, model, head, history=history, on_epoch=on_second, checkpoints=second
        )
        second.remove()
    checkpoints.remove()
    return parts, model, history


def _epochs(state: State, spark: Any, train: Part, head: HeadOptions) -> Epochs:
    """Return the epochs of the strategy that was asked for."""
    options, ranks = state.options, max(1, sum(state.executors.values()))
    if options.strategy == "sync":
        return sync_epochs(
            spark, train, head, ranks, ports=options.ports, every=options.checkpoint_every
        )
    if options.strategy == "averaging":

        def skipped(count: int) -> None:
            state.skipped_partitions = count
            if count:
                state.progress.warn(f"{count} of {ranks} partitions are too small to train")

        return averaging_epochs(spark, train, head, ranks, skipped)
    return local_epochs(head)


def _pages(
    state: State,
    history: History,
    metrics: dict[str, Any],
    timings: dict[str, Any],
    cases: list[Case],
) -> None:
    output = state.options.output
    card = model_card(metrics, timings)
    report.write_json(output / "model_card.json", card)
    (output / "model_card.md").write_text(as_markdown(card), encoding="utf-8")
    page = report_page(card, metrics, history, timings, rejects=state.rejects, cases=cases)
    (output / "report.html").write_text(page, encoding="utf-8")


def _report(
    state: State,
    parts: dict[str, list[Image]],
    model: Any,
    history: History,
    metrics: dict[str, Any],
) -> None:
    options, output = state.options, state.options.output
    checksums = {image.image_id: image.sha256 for image in state.images}
    features = [state.vectors[checksums[image_id]] for image_id in state.sample_ids]
    metrics["model_check"] = {
        "images": len(features),
        "largest_difference": save_model(
            output / "model.keras",
            model,
            backbone=options.backbone,
            pooling=options.pooling,
            weights=state.weights,
            seed=options.seed,
            precision=options.precision,
            tail=state.tuner.tail if state.tuner else None,
            samples=state.samples,
            sample_features=np.array(features, np.float32).reshape(-1, state.dimension),
        ),
    }
    seen = [image.sha256 for part in parts if part != "test" for image in parts[part]]
    description = describe(metrics, state.key, state.dataset.info, seen)
    write_description(output / "model.keras", description)
    if options.saved_model == "yes":
        export_saved_model(output / "model.keras", output / SAVED_MODEL, state.samples)
    report.write_json(output / "metrics.json", metrics)
    report.write_json(output / "history.json", history)
    report.write_rejects(output / "rejects.csv", state.rejects)
    if state.out_of_fold:
        report.write_scores(output / "cross_validation.csv", state.out_of_fold)
    note = "" if metrics["meaningful"] else ". Random weights: means nothing"
    title = f"{options.backbone}, {metrics['data']['images']} images{note}"
    judged = metrics.get("validation", metrics["train"])
    baseline = ("majority class", judged["majority_class_accuracy"])
    report.plot(output / "accuracy.png", history, "accuracy", title, baseline)
    report.plot(output / "loss.png", history, "loss", title)
