"""How much memory the driver takes while a large data set passes through decoding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from training_phantoms import phantoms

ROOT = Path(__file__).resolve().parent.parent


def driver_memory(
    folder: Path, images: int, pack: Callable[[Iterable[dict[str, Any]], Path], Path]
) -> None:
    """Pass images through read and features with executors of their own, and watch the driver.

    The network is a small random one: what is measured is the driver, its JVM and its Python,
    until the end of the features stage.
    """
    import pyspark

    home = Path(pyspark.__file__).parent
    cores = len(os.sched_getaffinity(0))
    rows = phantoms(images, side=256)
    data = pack(rows, folder / "many")
    del rows
    events = folder / "events.jsonl"
    process = subprocess.Popen(
        [
            str(home / "bin" / "spark-submit"),
            *("--master", f"local-cluster[1,{cores},1024]", "--driver-memory", "512m"),
            *("--conf", f"spark.executor.cores={cores}", "--conf", "spark.executor.memory=1024m"),
            *("--conf", f"spark.executorEnv.PYTHONPATH={ROOT / 'app'}"),
            *(str(ROOT / "app" / "train.py"), "--data", str(data), "--weights", "none"),
            *("--backbone", "mobilenet_v2_035", "--features", str(folder / "many-features")),
            *("--output", str(folder / "many-output"), "--progress", str(events)),
        ],
        env={**os.environ, "SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    peaks: dict[str, int] = {}
    try:
        while process.poll() is None and not _finished(events):
            for name, resident in _driver(process.pid):
                peaks[name] = max(peaks.get(name, 0), resident)
            time.sleep(0.5)
        done = _finished(events)
    finally:
        process.terminate()
        process.wait(timeout=60)
    if not done:
        print(f"driver memory: the run ended early with exit code {process.returncode}")
        return
    total = sum(peaks.values())
    verdict = "reached" if total < 1024 else "NOT reached"
    parts = ", ".join(f"{name} {peak} MB" for name, peak in sorted(peaks.items()))
    print(f"{images} images: driver {total} MB ({parts}); wanted under 1024: {verdict}", flush=True)


def _finished(events: Path) -> bool:
    """Tell whether the features stage has ended."""
    if not events.is_file():
        return False
    lines = [json.loads(line) for line in events.read_text().splitlines() if line.endswith("}")]
    return any(e["event"] == "stage_finished" and e["stage"] == "features" for e in lines)


def _driver(pid: int) -> list[tuple[str, int]]:
    """Return the peak resident MB of the driver's JVM and of its Python."""
    found = []
    for name, number in (("JVM", pid), *(("Python", child) for child in _pythons(pid))):
        try:
            status = Path(f"/proc/{number}/status").read_text()
        except OSError:
            continue
        peak = next((line for line in status.splitlines() if line.startswith("VmHWM")), "VmHWM 0")
        found.append((name, int(peak.split()[1]) // 1024))
    return found


def _pythons(pid: int) -> list[int]:
    """Return the direct children of the JVM that run the application."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        tasks = Path(f"/proc/{pid}/task").iterdir()
        for task in tasks:
            children += (task / "children").read_text().split()
    except OSError:
        return []
    return [
        number
        for number in {int(child) for child in children}
        if b"train.py" in Path(f"/proc/{number}/cmdline").read_bytes()
    ]
