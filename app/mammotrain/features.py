"""The features stage: each image through the frozen network once, on the executors."""

from __future__ import annotations

import contextlib
import math
import resource
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa

from mammotrain.cache import COLUMNS, FeatureKey, FeatureRows, read_features
from mammotrain.decode import Picture, Reject, check_checksum, decode
from mammotrain.extractor import ExtractSettings, network
from mammotrain.gpus import restrict

ARROW = pa.schema(
    [
        ("sha256", pa.string()),
        ("features", pa.list_(pa.float32())),
        ("reason", pa.string()),
        ("warnings", pa.list_(pa.string())),
        ("node", pa.string()),
        ("task", pa.int64()),
        ("seconds", pa.float64()),
        ("rss_mb", pa.float64()),
    ]
)


def _prepare(row: tuple[bytes, str, str], key: FeatureKey) -> Picture | str:
    content, checksum, declared = row
    try:
        check_checksum(content, checksum)
        return decode(content, declared, key.size, key.fit, key.variant)
    except Reject as reject:
        return str(reject)


def extract(
    settings: ExtractSettings, batches: Iterator[pa.RecordBatch], counter: Any = None
) -> Iterator[pa.RecordBatch]:
    """Turn batches of image files into batches of features; runs in a Python worker.

    The next images are decoded in threads while the network works on the present ones. Every
    call of the network has the full batch size, filled up with zeros, so that an image's features
    do not depend on which others came with it.

    Args:
        settings: network and batch size.
        batches: columns `sha256`, `format`, `content`.
        counter: Spark accumulator of finished images.

    Yields:
        Batches of the schema ARROW, a row for each row that came in.
    """
    from pyspark import TaskContext

    context = TaskContext.get()
    threads = context.cpus() if context else 1
    task = int(context.partitionId()) if context else 0
    restrict(context)
    size = settings.key.size
    begun = time.monotonic()
    rows = (
        row
        for batch in batches
        for row in zip(
            *(batch.column(c).to_pylist() for c in ("content", "sha256", "format")), strict=True
        )
    )

    def chunks() -> Iterator[list[Any]]:
        chunk: list[Any] = []
        for row in rows:
            chunk.append((row[1], pool.submit(_prepare, row, settings.key)))
            if len(chunk) == settings.batch:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def finish(chunk: list[Any]) -> pa.RecordBatch:
        nonlocal begun
        prepared = [future.result() for _, future in chunk]
        good = [i for i, picture in enumerate(prepared) if not isinstance(picture, str)]
        features: list[Any] = [None] * len(chunk)
        if good:
            loading = time.monotonic()
            extractor = network(settings, threads)
            begun += time.monotonic() - loading  # once in the life of a worker: not its pace
            block = np.zeros((settings.batch, size, size, 3), np.uint8)
            for slot, i in enumerate(good):
                block[slot] = prepared[i].pixels
            values = np.asarray(extractor(block), dtype=np.float32)
            for slot, i in enumerate(good):
                features[i] = values[slot]
        if counter is not None:
            counter.add(len(chunk))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        n = len(chunk)
        spent, begun = (time.monotonic() - begun) / n, time.monotonic()
        return pa.record_batch(
            [
                pa.array([checksum for checksum, _ in chunk], pa.string()),
                pa.array(features, pa.list_(pa.float32())),
                pa.array([p if isinstance(p, str) else None for p in prepared], pa.string()),
                pa.array(
                    [[] if isinstance(p, str) else list(p.warnings) for p in prepared],
                    pa.list_(pa.string()),
                ),
                pa.array([socket.gethostname()] * n, pa.string()),
                pa.array([task] * n, pa.int64()),
                pa.array([spent] * n, pa.float64()),
                pa.array([peak] * n, pa.float64()),
            ],
            schema=ARROW,
        )

    with ThreadPoolExecutor(max_workers=max(threads, 1)) as pool:
        waiting: list[Any] | None = None
        for chunk in chunks():
            if waiting is not None:
                yield finish(waiting)
            waiting = chunk
        if waiting is not None:
            yield finish(waiting)


def partitions(images: int, executors: int) -> int:
    """Return how many tasks to cut `images` into.

    Small tasks spread evenly and are cheap to lose; below 16 images (two calls of the network)
    the start of a task begins to show, and a task of more than 256 is dear to lose.
    """
    by_size = math.ceil(images / 256)
    by_spread = min(math.ceil(images / 16), 16 * max(executors, 1))
    return max(1, by_size, by_spread)


def compute_features(
    spark: Any,
    images: Any,
    missing: Any,
    *,
    count: int,
    executors: int,
    settings: ExtractSettings,
    root: str,
    watch: Callable[[int], None],
) -> FeatureRows:
    """Compute the features of the missing images and add them to the cache.

    Args:
        spark: the session.
        images: the data set, a DataFrame with `image_id`, `sha256`, `format` and `content`.
        missing: DataFrame of their `image_id` and `sha256`.
        count: how many are missing.
        executors: how many executors there are.
        settings: network and batch size.
        root: URI of the key's folder in the cache.
        watch: told how many images are finished, as tasks finish.

    Returns:
        The rows of this run.
    """
    from pyspark.sql import functions as f

    number = partitions(count, executors)
    spark.conf.set("spark.sql.files.minPartitionNum", str(number))
    frame = images.select("image_id", "sha256", "format", "content")
    frame = frame.join(f.broadcast(missing.select("image_id")), "image_id", "left_semi")
    counter = spark.sparkContext.accumulator(0)
    run = f"{root}/{uuid.uuid4().hex}"
    result = frame.select("sha256", "format", "content").mapInArrow(
        lambda batches: extract(settings, batches, counter), COLUMNS
    )
    with _poll(counter, count, watch):
        # Version 2 of the committer publishes each task's file as the task ends: what is done
        # stays done if the driver dies.
        result.write.option("mapreduce.fileoutputcommitter.algorithm.version", "2").parquet(run)
    return read_features(spark, run, missing, settings.dimension)


@contextlib.contextmanager
def _poll(counter: Any, total: int, watch: Callable[[int], None]) -> Iterator[None]:
    """Tell `watch` the counter's value whenever it has moved."""
    stop = threading.Event()

    def loop() -> None:
        seen = 0
        over = False
        while not over:
            over = stop.wait(0.5)  # look once more after the end
            now = min(int(counter.value), total)
            if now != seen:
                seen = now
                watch(now)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def first_pixels(images: Any, key: FeatureKey, count: int) -> Any:
    """Return the first `count` images that can be decoded: a DataFrame of `image_id`, `pixels`.

    The limit comes last and is collected, so that Spark begins with one task, which stops when it
    has enough. A limit on the files themselves would have every task send its share to one.
    """

    def decode_rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            rows = zip(*(batch.column(c).to_pylist() for c in batch.schema.names), strict=True)
            for image_id, *row in rows:
                picture = _prepare((row[0], row[1], row[2]), key)
                if not isinstance(picture, str):
                    pixels = pa.array([picture.pixels.tobytes()], pa.binary())
                    yield pa.record_batch({"image_id": pa.array([image_id]), "pixels": pixels})

    rows = images.select("image_id", "content", "sha256", "format")
    return rows.mapInArrow(decode_rows, "image_id string, pixels binary").limit(count)


def sample_pixels(
    spark: Any, images: Any, key: FeatureKey, count: int, usable: set[str]
) -> tuple[Any, list[str]]:
    """Return the pixels of a few usable images, uint8 (n, size, size, 3), and their ids.

    They are taken from the first rows of the data set; there may be fewer than `count`.
    """
    spark.conf.set("spark.sql.files.minPartitionNum", "1")
    found = {
        row["image_id"]: np.frombuffer(row["pixels"], np.uint8).reshape(key.size, key.size, 3)
        for row in first_pixels(images, key, 4 * count).collect()
        if row["image_id"] in usable
    }
    names = sorted(found)[:count]
    return np.array([found[name] for name in names], dtype=np.uint8), names
