"""Judging files as they arrive in a folder, each exactly once, by Structured Streaming.

Spark's log in the checkpoint says which files belong to which batch, and the log of the table
(`_spark_metadata`) which of the written rows count: a batch that was cut short is done again, and
what it had written is not looked at.
"""

from __future__ import annotations

import argparse
import datetime
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from mammotrain import report, session
from mammotrain.description import Description
from mammotrain.errors import TrainError, UnusableInput
from mammotrain.events import Progress
from mammotrain.extractor import ExtractSettings
from mammotrain.features import extract
from mammotrain.inputs import MAX_BYTES, Item, file_columns
from mammotrain.judged import metrics_of, summary
from mammotrain.predict import RESEARCH, Model, bring_model, make_output, timings_of
from mammotrain.predictions import Prediction, write_predictions
from mammotrain.storage import Storage

BINARY = "path string, modificationTime timestamp, length long, content binary"
TABLE = pa.schema(
    [
        ("image_id", pa.string()),
        ("sha256", pa.string()),
        ("score", pa.float32()),
        ("probability", pa.float32()),
        ("called", pa.string()),
        ("reason", pa.string()),
        ("warnings", pa.list_(pa.string())),
        ("file", pa.string()),
        ("model", pa.string()),
        ("judged_at", pa.timestamp("us", tz="UTC")),
    ]
)
COLUMNS = (
    "image_id string, sha256 string, score float, probability float, called string, "
    "reason string, warnings array<string>, file string, model string, judged_at timestamp"
)
LOOK = 1.0  # seconds between two looks at the stream


def score(
    settings: ExtractSettings,
    about: Description,
    root: str | None,
    batches: Iterator[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    """Turn batches of files into batches of scores; runs in a Python worker.

    Args:
        settings: the model.
        about: what it says about itself.
        root: of the folder; None leaves the names of files out.
        batches: of `inputs.file_columns`.

    Yields:
        Batches of the schema TABLE, a row for each file.
    """
    waiting: deque[tuple[str, str]] = deque()

    def noted() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            pairs = (batch.column(name).to_pylist() for name in ("image_id", "path"))
            waiting.extend(zip(*pairs, strict=True))
            yield batch

    for result in extract(settings, noted()):
        who = [waiting.popleft() for _ in range(result.num_rows)]
        scores = [value and value[0] for value in result.column("features").to_pylist()]
        judged = [(None, None) if s is None else about.judge(s) for s in scores]
        files = [path.removeprefix(root).lstrip("/") if root else None for _, path in who]
        now = datetime.datetime.now(datetime.UTC)
        yield pa.record_batch(
            [
                pa.array([name for name, _ in who], pa.string()),
                result.column("sha256"),
                pa.array(scores, pa.float32()),
                pa.array([probability for probability, _ in judged], pa.float32()),
                pa.array([called for _, called in judged], pa.string()),
                result.column("reason"),
                result.column("warnings"),
                pa.array(files, pa.string()),
                pa.array([settings.key.weights] * len(who), pa.string()),
                pa.array([now] * len(who), TABLE.field("judged_at").type),
            ],
            schema=TABLE,
        )


def run(options: argparse.Namespace, progress: Progress) -> None:
    """Judge what is in a folder and what arrives there; see `predict_cli.parser`.

    With `once`, end when all that was there at the start has been judged, and write all
    predictions of the table; else go on until somebody ends it.

    Raises:
        TrainError: with a message for the user.
    """
    begin = time.monotonic()
    make_output(options.output)
    spark = session.start(progress)
    try:
        progress.seconds["start"] = time.monotonic() - begin
        storage = Storage(spark)
        with progress.stage("read"):
            model = bring_model(spark, storage, options.model, options.model_sha256)
            if not storage.exists(options.folder):
                raise UnusableInput("there is nothing at the --folder address")
            if not model.description.meaningful:
                progress.warn("the model has random backbone weights: its predictions mean nothing")
            progress.message("info", f"watching the folder; {RESEARCH}")
        executors = session.executors(spark)
        with progress.stage("watch"):
            judged = _follow(_start(spark, storage, model, options), progress)
        rows = _table(spark, storage, options)
    finally:
        session.stop(spark)
    with progress.stage("report"):
        found = [_prediction(row) for row in rows]
        items = [Item(one.image_id, one.sha256) for one in found]
        write_predictions(options.output, found, files=options.file_names)
        metrics = metrics_of(items, found, model, progress.warnings, options.bootstrap)
        report.write_json(options.output / "metrics.json", metrics)
    counts = {"executors": executors, "judged": judged}
    timings = timings_of(counts, progress, time.monotonic() - begin)
    report.write_json(options.output / "timings.json", timings)
    if options.publish:
        storage.publish(options.output, options.publish)
    progress.emit("result", "report", metrics=metrics, output=str(options.output))
    progress.message("info", f"{judged} new; in all {summary(metrics)}")


def _start(spark: Any, storage: Storage, model: Model, options: argparse.Namespace) -> Any:
    """Start the stream and return its query."""
    from pyspark.sql import functions as f

    settings, about = model.settings(options.batch_size), model.description
    root = storage.qualified(options.folder) if options.file_names else None
    frame = (
        spark.readStream.format("binaryFile")
        .schema(BINARY)
        .option("recursiveFileLookup", "true")
        .option("maxFilesPerTrigger", options.files_per_batch)
        # a file that is moved here keeps its age: by default Spark forgets those of a week
        .option("maxFileAge", "36500d")
        .option("ignoreCorruptFiles", "true")
        .option("ignoreMissingFiles", "true")
        .load(options.folder)
    )
    files = file_columns(frame.where(f.col("length") <= MAX_BYTES))
    scores = files.mapInArrow(lambda batches: score(settings, about, root, batches), COLUMNS)
    place = options.predictions.rstrip("/")
    writer = (
        scores.writeStream.format("parquet")
        .outputMode("append")
        .option("path", f"{place}/table")
        .option("checkpointLocation", f"{place}/checkpoint")
        .queryName("mammotrain-watch")
    )
    if options.once:
        writer = writer.trigger(availableNow=True)
    else:
        writer = writer.trigger(processingTime=f"{options.every} seconds")
    return writer.start()


def _follow(query: Any, progress: Progress) -> int:
    """Report what the stream does until it ends; return how many files it has judged."""
    seen, judged, ended = -1, 0, False
    try:
        while not ended:
            ended = bool(query.awaitTermination(LOOK))
            for batch in query.recentProgress:
                if batch.batchId <= seen or not batch.numInputRows:
                    continue
                seen = batch.batchId
                judged += batch.numInputRows
                seconds = batch.durationMs.get("triggerExecution", 0) / 1000
                progress.message(
                    "info",
                    f"batch {seen}: {batch.numInputRows} files judged in {seconds:.1f} s, "
                    f"{judged} since the start",
                )
    except Exception as error:
        if "Concurrent" in str(error) or "Multiple streaming" in str(error):
            raise TrainError(
                "somebody else is watching with the same --predictions address: end that first"
            ) from error
        raise
    finally:
        query.stop()
    return judged


def _table(spark: Any, storage: Storage, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return all rows that count, of this run and of earlier ones."""
    place = f"{options.predictions.rstrip('/')}/table"
    if not storage.exists(f"{place}/_spark_metadata"):
        return []
    frame = spark.read.schema(COLUMNS).parquet(place).drop("judged_at")
    rows: list[dict[str, Any]] = frame.toArrow().to_pylist()
    return sorted(rows, key=lambda row: (row["image_id"], row["file"] or ""))


def _prediction(row: dict[str, Any]) -> Prediction:
    names = ("image_id", "score", "probability", "called", "sha256", "reason", "file")
    return Prediction(
        **{name: row[name] for name in names},
        label=None,
        view=None,
        laterality=None,
        warnings=tuple(row["warnings"] or ()),
    )
