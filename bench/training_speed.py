#!/usr/bin/env python3
"""How fast and how frugal the training is; every figure is a ratio of two sides run in turn.

    .venv-node/bin/python bench/training_speed.py [--weights FILE] [--only NAME]... [--images N]

Needs no images: it makes phantoms. Without weights the network is random, which changes no timing.
On a machine that does other work the sides of a ratio share its fate: they alternate in short
pieces. Absolute times are of this machine and this moment.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "app"), str(ROOT / "bench")]

from training_memory import driver_memory  # noqa: E402  (its folder has just been added)
from training_phantoms import dicom_files, pack, phantoms  # noqa: E402
from training_session import Bench  # noqa: E402

BATCH = 8


def features_ratio(bench: Bench, images: int) -> None:
    """Compare the features stage with one plain TensorFlow process, cores and batch the same.

    The plain process gets pixels that are decoded already: it does less. The stage's workers have
    started; its pace is that of its tasks from the first row to the last, decoding included.
    """
    frame, count = bench.packed(phantoms(images))
    plain, block = bench.plain_network(), bench.pixels(phantoms(BATCH))
    bench.stage(frame, count)  # starts the workers
    stage, alone = [], []
    for _ in range(3):
        stage.append(bench.stage(frame, count))
        begin = time.monotonic()
        for _ in range(-(-count // BATCH)):
            plain(block)
        alone.append(count / (time.monotonic() - begin))
    ratios = [one.pace / other for one, other in zip(stage, alone, strict=True)]
    say("features stage : plain TensorFlow, images per second", ratios, at_least=0.9)
    print(f"  {spread([s.pace for s in stage])} : {spread(alone)} images/s; with the start and end")
    print(f"  of the Spark job {spread([s.with_job for s in stage])} images/s")
    print(
        f"  Python worker at batch {BATCH}: {max(s.peak_mb for s in stage):.0f} MB (at most 1600)"
    )


def epochs_ratio(bench: Bench, images: int, epochs: int) -> None:
    """Compare cached features with a pass through the network in every epoch."""
    import keras
    from mammotrain.head import build_head, predict
    from mammotrain.loop import HeadOptions, Trainer

    options = HeadOptions(units=0, dropout=0.0, l2=0.02, epochs=epochs)
    rows = phantoms(images)
    labels = np.array([row["label"] == "malignant" for row in rows], np.int64)
    plain, pixels = bench.plain_network(), bench.pixels(rows)

    def passed() -> Any:
        return np.concatenate([plain(pixels[i : i + BATCH]) for i in range(0, images, BATCH)])

    def trainer(matrix: Any) -> Trainer:
        keras.utils.set_random_seed(0)
        return Trainer(build_head(matrix, options), (matrix, labels), options)

    plain(pixels[:BATCH])
    bench.stage(*bench.packed(rows[:16]))  # starts the workers
    pieces = np.array_split(np.arange(images), epochs)
    cached_seconds = plain_seconds = 0.0
    vectors: dict[str, Any] = {}
    other = None
    for number, piece in enumerate(pieces):  # a tenth of the one side, an epoch of the other
        frame, count = bench.packed([rows[i] for i in piece])
        begin = time.monotonic()
        vectors |= bench.stage(frame, count).vectors
        cached_seconds += time.monotonic() - begin
        begin = time.monotonic()
        matrix = passed()
        other = other or trainer(matrix)
        other.epoch(number)
        plain_seconds += time.monotonic() - begin
    begin = time.monotonic()
    matrix = np.stack([vectors[row["sha256"]] for row in rows])
    cached = trainer(matrix)
    for number in range(epochs):
        cached.epoch(number)
    cached_seconds += time.monotonic() - begin
    apart = np.abs(predict(cached.model, matrix) - predict(other.model, passed())).max()
    say(
        f"{images} images, {epochs} epochs: network in every epoch : features once",
        [plain_seconds / cached_seconds],
        at_least=8,
    )
    started = cached_seconds + bench.start_seconds
    print(f"  {plain_seconds:.0f} s : {cached_seconds:.0f} s; with the start of Spark and its")
    print(f"  workers {plain_seconds / started:.1f} ({started:.0f} s)")
    print(f"  predictions apart by at most {apart:.1e} (at most 1e-4)")


def sync_equality(_: Bench) -> None:
    """Train with 1, 2 and 3 processes that share gradients, and in this process alone."""
    from dataclasses import asdict, replace

    import keras
    from mammotrain.head import build_head
    from mammotrain.loop import HeadOptions, Trainer
    from training_session import ranks

    generator = np.random.default_rng(0)
    labels = (generator.random(120) < 0.35).astype(np.int64)
    matrix = generator.normal(labels[:, None], 1.0, (120, 512)).astype(np.float32)
    options = HeadOptions(units=64, dropout=0.0, epochs=3, batch=32)
    keras.utils.set_random_seed(0)
    alone = Trainer(build_head(matrix, options), (matrix, labels), options)
    start = alone.state()
    for epoch in range(options.epochs):
        alone.epoch(epoch)
    data = {"x": matrix, "y": labels}
    for world in (1, 2, 3):
        found = ranks(world, asdict(options), data, start)
        apart = max(float(np.abs(v - found[k]).max()) for k, v in alone.state().items())
        print(f"sync on {world}: weights apart by at most {apart:.1e} (at most 1e-5)")
    dropped = asdict(replace(options, dropout=0.5))
    one, two = (ranks(2, dropped, data, start) for _ in range(2))
    same = all(np.array_equal(one[name], two[name]) for name in one)
    print(f"sync on 2 with dropout, twice: {'equal' if same else 'DIFFERENT'}")


def dicom_ratio(_: Bench, images: int) -> None:
    """Compare decoding as a worker does it with a plain loop of pydicom and Pillow."""
    from concurrent.futures import ThreadPoolExecutor
    from io import BytesIO

    import pydicom
    from mammotrain.decode import decode
    from PIL import Image

    files = dicom_files(4)
    cores = len(os.sched_getaffinity(0))

    def plain(content: bytes) -> Any:
        values = pydicom.dcmread(BytesIO(content)).pixel_array.astype(np.float32)
        values = (values - values.min()) / (values.max() - values.min())
        picture = Image.fromarray((values * 255).astype(np.uint8))
        return np.asarray(picture.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))

    def ours(content: bytes) -> Any:
        return decode(content, "dicom", 224, "crop").pixels

    single, together, one = [], [], []
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(max(1, images // 12)):
            work = [files[i % len(files)] for i in range(12)]
            for times, call in (
                (single, lambda w: [plain(c) for c in w]),
                (together, lambda w: list(pool.map(ours, w))),
                (one, lambda w: [ours(c) for c in w]),
            ):
                begin = time.monotonic()
                call(work)
                times.append(len(work) / (time.monotonic() - begin))
    ratios = [a / b for a, b in zip(together, single, strict=True)]
    say(f"DICOM 3000x4000, {cores} threads : plain loop", ratios, at_least=3)
    print(f"  {spread(together)} : {spread(single)} images/s; ours in one thread {spread(one)}")


def say(what: str, ratios: Sequence[float], *, at_least: float) -> None:
    """Print the median of some ratios, their range, and what it should be."""
    middle = statistics.median(ratios)
    verdict = "reached" if middle >= at_least else "NOT reached"
    ends = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
    print(f"{what}: {middle:.2f}{ends}; wanted {at_least}: {verdict}", flush=True)


def spread(values: Sequence[float]) -> str:
    """Return the median of some values."""
    return f"{statistics.median(values):.2f}"


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path)
    names = ("features", "epochs", "sync", "dicom", "memory")
    parser.add_argument("--only", action="append", choices=names, default=[])
    parser.add_argument("--images", type=int, help="instead of the number in the printed line")
    options = parser.parse_args()
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores", flush=True)
    with tempfile.TemporaryDirectory(prefix="mammotrain-bench-") as folder:
        bench = Bench(Path(folder), options.weights, BATCH)
        size = options.images
        steps: dict[str, Callable[[], None]] = {
            "features": lambda: features_ratio(bench, size or 64),
            "epochs": lambda: epochs_ratio(bench, size or 500, 10),
            "sync": lambda: sync_equality(bench),
            "dicom": lambda: dicom_ratio(bench, size or 60),
            "memory": lambda: driver_memory(Path(folder), size or 20_000, pack),
        }
        try:
            for name in options.only or names:
                steps[name]()
        finally:
            bench.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
