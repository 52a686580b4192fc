"""What the benchmarks of the training share: a local Spark session, a plain network, ranks."""

from __future__ import annotations

import io
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
from training_phantoms import pack


@dataclass(frozen=True)
class Stage:
    """One run of the features stage: images per second of its tasks, and with the job around."""

    pace: float
    with_job: float
    peak_mb: float
    vectors: dict[str, Any]


class Bench:
    """A session on this machine's cores, started when it is needed first.

    Args:
        folder: for data sets and features.
        weights: of VGG16, or None for random ones.
        batch: images in a pass through the network.
    """

    def __init__(self, folder: Path, weights: Path | None, batch: int) -> None:
        from mammotrain.backbones import file_sha256
        from mammotrain.cache import FeatureKey
        from mammotrain.decode import PREPROCESSING_VERSION

        self._folder, self._weights, self._batch = folder, weights, batch
        named = file_sha256(weights) if weights else "random:0"
        self.key = FeatureKey("vgg16", "averages", 224, named, PREPROCESSING_VERSION, "crop")
        self._spark: Any = None
        self._plain: Any = None
        self.start_seconds = 0.0
        self._workers_started = False

    def _session(self) -> Any:
        if self._spark is None:
            from mammotrain import session
            from mammotrain.events import Progress

            begin = time.monotonic()
            self._spark = session.start(Progress())
            if self._weights:
                self._spark.sparkContext.addFile(str(self._weights))
            self.start_seconds += time.monotonic() - begin
        return self._spark

    def packed(self, rows: list[dict[str, Any]]) -> tuple[Any, int]:
        """Return rows as a data set of the session, and how many there are."""
        folder = pack(rows, self._folder / uuid.uuid4().hex)
        frame = self._session().read.option("pathGlobFilter", "*.parquet").parquet(str(folder))
        return frame, len(rows)

    def stage(self, frame: Any, count: int) -> Stage:
        """Run the features stage with an empty cache."""
        from mammotrain.extractor import ExtractSettings
        from mammotrain.features import compute_features

        spark = self._session()
        name = self._weights.name if self._weights else None
        begin = time.monotonic()
        rows = compute_features(
            spark,
            frame,
            frame.select("image_id", "sha256"),
            count=count,
            executors=1,
            settings=ExtractSettings(self.key, name, 0, self._batch),
            root=str(self._folder / uuid.uuid4().hex),
            watch=lambda _: None,
        )
        taken = time.monotonic() - begin
        assert len(rows.vectors) == count
        spent = sum(node["seconds"] for node in rows.tasks.values())
        if not self._workers_started:
            self.start_seconds += max(taken - spent, 0.0)
            self._workers_started = True
        peak = max(node["rss_mb"] for node in rows.tasks.values())
        return Stage(count / spent, count / taken, peak, rows.vectors)

    def plain_network(self) -> Any:
        """Return VGG16 as a plain program has it: uint8 (batch, 224, 224, 3) to features."""
        from mammotrain.backbones import build_extractor
        from mammotrain.extractor import compiled

        if self._plain is None:
            key = self.key
            model = build_extractor(key.backbone, key.pooling, self._weights, 0)
            function = compiled(model, key.size, self._batch)

            def call(block: Any) -> Any:
                whole = np.zeros((self._batch, *block.shape[1:]), np.uint8)
                whole[: len(block)] = block
                return np.asarray(function(whole))[: len(block)]

            self._plain = call
        return self._plain

    def pixels(self, rows: list[dict[str, Any]]) -> Any:
        """Return decoded images, uint8 (n, 224, 224, 3)."""
        from mammotrain.decode import decode

        key = self.key
        return np.stack([decode(r["content"], "png", key.size, key.fit).pixels for r in rows])

    def close(self) -> None:
        """Stop the session."""
        if self._spark is not None:
            self._spark.stop()


def ranks(world: int, options: dict[str, Any], data: dict[str, Any], start: Any) -> dict[str, Any]:
    """Train in `world` processes on loopback; returns the values after the last epoch."""
    from mammotrain.sync import rank_process, unpacked

    def packed(arrays: dict[str, Any]) -> bytes:
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        return stream.getvalue()

    def port() -> str:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            return f"127.0.0.1:{found.getsockname()[1]}"

    job = {"options": options, "epochs": list(range(options["epochs"]))}
    job["addresses"] = [port() for _ in range(world)]
    together = Barrier(world)

    def run(number: int) -> bytes:
        with rank_process({**job, "rank": number}, packed(data), packed(start)) as answer:
            together.wait(300)
        return answer

    with ThreadPoolExecutor(world) as pool:
        found = unpacked(next(iter(pool.map(run, range(world)))))
    last = f"{options['epochs'] - 1}/"
    return {name[len(last) :]: value for name, value in found.items() if name.startswith(last)}
