"""The Spark session: one Python task per executor, and all executors there before the first."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import mammotrain
from mammotrain.events import Progress, log

# Set only where the user has said nothing.
DEFAULTS = {
    "spark.app.name": "mammotrain",
    "spark.locality.wait": "0s",
    "spark.python.worker.reuse": "true",
    "spark.scheduler.minRegisteredResourcesRatio": "1.0",
    "spark.scheduler.maxRegisteredResourcesWaitingTime": "30s",
    # Rows are whole image files.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "16",
    "spark.sql.parquet.columnarReaderBatchSize": "16",
    # Files are cut at row groups into as many tasks as `minPartitionNum` asks for.
    "spark.sql.files.openCostInBytes": "16384",
    "spark.ui.showConsoleProgress": "false",
}


def local_cores(master: str) -> int | None:
    """Return the cores of a `local` master, or None for a cluster."""
    match = re.fullmatch(r"local(?:\[(\*|\d+)(?:,\s*\d+)?\])?", master.strip())
    if match is None:
        return None
    if match.group(1) == "*":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return int(match.group(1) or 1)


def start(progress: Progress) -> Any:
    """Start the session.

    On a cluster `spark.executor.cores` and `spark.cores.max` should be set: the first makes one
    task fill an executor, the second lets Spark wait until all executors have registered.

    Raises:
        TrainError: Spark does not start.
    """
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    if "PYSPARK_GATEWAY_PORT" in os.environ:
        # Under spark-submit the settings are in its JVM: before the connection SparkConf is empty.
        SparkContext._ensure_initialized()
    conf = SparkConf()
    master = conf.get("spark.master") or "local[*]"
    cores = local_cores(master)
    if cores is not None:
        if not conf.contains("spark.pyspark.python"):
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        conf.set("spark.master", f"local[{cores}]")
        conf.setIfMissing("spark.ui.enabled", "false")
        conf.setIfMissing("spark.task.cpus", str(cores))
    elif conf.contains("spark.executor.cores"):
        conf.setIfMissing("spark.task.cpus", str(conf.get("spark.executor.cores")))
    elif not conf.contains("spark.task.cpus"):
        progress.warn(
            "spark.executor.cores is not set: each core of an executor loads TensorFlow for itself"
        )
    for key, value in DEFAULTS.items():
        conf.setIfMissing(key, value)
    spark = SparkSession.builder.config(conf=conf).getOrCreate()
    spark.sparkContext.setLogLevel("WARN")
    _ship_package(spark)
    return spark


def executors(spark: Any) -> dict[str, int]:
    """Return how many executors each node has; the driver counts only where it works itself."""
    context = spark.sparkContext
    local = local_cores(context.master) is not None
    listed = context._jsc.sc().statusStore().executorList(True)
    hosts: Counter[str] = Counter()
    for i in range(listed.size()):
        executor = listed.apply(i)
        if local or executor.id() != "driver":
            hosts[executor.hostPort().rsplit(":", 1)[0]] += 1
    return dict(hosts)


def stop(spark: Any) -> None:
    """Stop the session; a Spark that is gone already is no error."""
    try:
        spark.stop()
    except Exception as error:
        log.warning("Spark did not stop cleanly (%s)", type(error).__name__)


def _ship_package(spark: Any) -> None:
    """Give the executors this package, unless `--py-files` did."""
    shipped = spark.sparkContext.getConf().get("spark.submit.pyFiles") or ""
    folder = Path(mammotrain.__file__).parent
    if "mammotrain" in shipped or not folder.is_dir():
        return
    sources = sorted(folder.glob("*.py"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    target = Path(tempfile.mkdtemp(prefix="mammotrain-")) / f"mammotrain-{digest}.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for source in sources:
            archive.write(source, f"mammotrain/{source.name}")
    spark.sparkContext.addPyFile(str(target))
