"""Synchronous data parallelism: the ranks of a barrier stage share the gradients of every step.

Each rank is a process of its own below Spark's Python worker: TensorFlow's collectives can only be
configured in a process that has not used TensorFlow yet, and workers are used again.
"""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from mammotrain.errors import TrainError
from mammotrain.gpus import assigned
from mammotrain.head import Part
from mammotrain.loop import Arrays, HeadOptions, Trainer
from mammotrain.train import Epochs

Ports = tuple[int, int]


def sync_epochs(
    spark: Any, train: Part, options: HeadOptions, ranks: int, *, ports: Ports, every: int
) -> Epochs:
    """Return epochs made by `ranks` tasks in barrier stages of `every` epochs each.

    A stage's ranks begin together and end together; if one is lost, Spark runs the stage again,
    and it begins at the last values that reached the driver.

    Args:
        spark: the session.
        train: features and labels; sent to the executors once.
        options: of the training.
        ranks: how many; all of them must fit the cluster at once.
        ports: first and last port that a rank may listen on; (0, 0) for any.
        every: epochs in a stage; starting one costs about ten seconds.
    """
    data = spark.sparkContext.broadcast(_packed({"x": train[0], "y": train[1]}))

    def run(trainer: Trainer, first: int) -> Iterator[tuple[int, Arrays]]:
        state = trainer.state()
        for start in range(first, options.epochs, every):
            numbers = list(range(start, min(start + every, options.epochs)))
            job = {"options": asdict(options), "epochs": numbers}
            values = spark.sparkContext.broadcast(_packed(state))
            stage = spark.sparkContext.parallelize(range(ranks), ranks).barrier()
            results = stage.mapPartitions(partial(_task, job, data, values, ports)).collect()
            values.destroy()
            for number, after in zip(numbers, _unpacked_list(results[0]), strict=True):
                state = after
                yield number, after

    return run


def _task(
    job: dict[str, Any], data: Any, state: Any, ports: Ports, _: Iterator[int]
) -> Iterator[bytes]:
    """Run one rank; rank 0 answers with the values after each epoch."""
    from pyspark import BarrierTaskContext

    context = BarrierTaskContext.get()
    rank = int(context.partitionId())
    host = str(context.getTaskInfos()[rank].address).rsplit(":", 1)[0]
    with reserve(host, ports, rank) as reserved:
        port = reserved.getsockname()[1]
        addresses = context.allGather(f"{host}:{port}")
        # as late as possible: the rank takes the port over
    job = {**job, "rank": rank, "addresses": addresses}
    with rank_process(job, data.value, state.value, assigned(context)) as answer:
        context.barrier()
    if rank == 0:
        yield answer


def reserve(host: str, ports: Ports, rank: int) -> socket.socket:
    """Return a socket bound to a free port of the range; ranks of one host begin apart.

    Raises:
        TrainError: all are taken.
    """
    first, last = ports
    span = last - first + 1
    for attempt in range(span):
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            found.bind((host, first + (rank + attempt) % span if first else 0))
        except OSError:
            found.close()
        else:
            return found
    raise TrainError(f"no port from {first} to {last} is free on a node: use other --ports")


@contextmanager
def rank_process(
    job: dict[str, Any], data: bytes, state: bytes, gpus: Mapping[str, str] = MappingProxyType({})
) -> Iterator[bytes]:
    """Run a rank in a process of its own; it lives until the block ends.

    Args:
        job: what `rank.main` reads.
        data: features and labels, packed.
        state: values to begin with, packed.
        gpus: environment of `gpus.assigned`.

    Yields:
        The values after each epoch, packed.

    Raises:
        TrainError: it failed; the last line of its errors is part of the message.
    """
    with tempfile.TemporaryDirectory(prefix="mammotrain-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job))
        (folder / "data.npz").write_bytes(data)
        (folder / "state.npz").write_bytes(state)
        task = {"type": "worker", "index": job["rank"]}
        environment = {
            **os.environ,
            **gpus,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "GRPC_VERBOSITY": "ERROR",
            "TF_CONFIG": json.dumps({"cluster": {"worker": job["addresses"]}, "task": task}),
        }
        with (folder / "errors").open("w+b") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "mammotrain.rank", name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
            )
            try:
                answer = process.stdout.read(5) if process.stdout else b""
                if answer != b"done\n":
                    errors.seek(0)
                    said = errors.read().decode(errors="replace").strip().splitlines()
                    last = said[-1] if said else "no message"
                    raise TrainError(f"rank {job['rank']} of the training failed: {last}")
                yield (folder / "result.npz").read_bytes()
            finally:
                if process.stdin:
                    process.stdin.close()
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _packed(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpacked(data: bytes) -> Arrays:
    """Return the arrays of an `.npz` file."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _unpacked_list(data: bytes) -> list[Arrays]:
    """Return the arrays of each epoch: names are `<number>/<name>`."""
    found: dict[int, Arrays] = {}
    for name, value in unpacked(data).items():
        number, rest = name.split("/", 1)
        found.setdefault(int(number), {})[rest] = value
    return [found[number] for number in sorted(found)]
