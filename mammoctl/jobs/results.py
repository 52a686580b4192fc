"""Bring a job's results here, check them, and read what they say."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammoctl.errors import JobError
from mammoctl.jobs.account import account
from mammoctl.jobs.job import job_folder
from mammoctl.jobs.known import agent_argv

if TYPE_CHECKING:
    from mammoctl.ssh import Nodes

FILES = {
    "train": (
        *("model.keras", "metrics.json", "history.json", "accuracy.png", "loss.png"),
        *("rejects.csv", "timings.json", "report.html", "model_card.json", "model_card.md"),
        "job.log",
    ),
    "predict": (
        *("predictions.csv", "predictions.parquet", "metrics.json", "timings.json"),
        "job.log",
    ),
    "explore": (
        *("explore.html", "metrics.json", "data.png", "timings.json"),
        "job.log",
    ),
}
"""What a job of each kind leaves when it succeeds; any other may leave what it likes."""

LATEST = "latest"


@dataclass(frozen=True, slots=True)
class Results:
    """The fetched files of a job.

    Attributes:
        kind: what the job did.
        folder: where they are.
        files: size in bytes and sha256 of each.
        metrics: ``metrics.json``, or empty.
        timings: ``timings.json``, or empty.
    """

    kind: str
    folder: Path
    files: dict[str, tuple[int, str]]
    metrics: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return folder and files as they stand in documents for ``--json``."""
        return {
            "results": str(self.folder),
            "files": {
                name: {"bytes": size, "sha256": sha256}
                for name, (size, sha256) in self.files.items()
            },
        }

    @property
    def missing(self) -> list[str]:
        """Names of the files that a job should have left and has not."""
        return [name for name in FILES.get(self.kind, ()) if name not in self.files]


def fetch(nodes: Nodes, job: str, into: Path, kind: str = "train") -> Results:
    """Fetch a job's results and log into ``into/<job>/`` and compare their checksums.

    The folder appears, or is replaced, as a whole.

    Raises:
        JobError: something arrived damaged, or cannot be written here.
    """
    folder = job_folder(job)
    master = nodes.cluster.master.name
    listed = json.loads(nodes.run(master, agent_argv(job, "files"), sudo=account(nodes)).stdout)
    files = {
        str(item["path"]).removeprefix("results/"): (int(item["size"]), str(item["sha256"]))
        for item in listed
    }
    try:
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{job}-", dir=into) as scratch:
            ready = Path(scratch) / "ready"
            nodes.get_tree(master, f"{folder}/results", ready, sudo=account(nodes))
            nodes.get(master, f"{folder}/job.log", ready / "job.log", sudo=account(nodes))
            for path in sorted(ready.rglob("*"), reverse=True):
                name = path.relative_to(ready).as_posix()
                if path.is_dir():
                    if not any(path.iterdir()):
                        path.rmdir()
                elif name not in files:
                    path.unlink()
            _check(ready, files)
            target = into / job
            if target.exists():
                shutil.rmtree(target)
            ready.rename(target)
        _point(into / LATEST, job)
    except OSError as exc:
        raise JobError(
            f"cannot write the results to {into}: {exc.strerror or exc}",
            hint=f"choose another folder: `mammoctl jobs results {job} --results DIR`",
        ) from exc
    return Results(
        kind,
        target,
        files,
        _read_json(target / "metrics.json"),
        _read_json(target / "timings.json"),
    )


def _check(folder: Path, files: dict[str, tuple[int, str]]) -> None:
    damaged = []
    for name, (_, expected) in files.items():
        with (folder / name).open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != expected:
                damaged.append(name)
    if damaged:
        raise JobError(
            f"damaged on their way: {', '.join(damaged)}", hint="fetch the results again"
        )


def _point(link: Path, job: str) -> None:
    """Let ``latest`` lead to the newest results; a file of the user's stays."""
    if link.exists() and not link.is_symlink():
        return
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.symlink_to(job)
    temporary.replace(link)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def metric_rows(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the figures worth reading first, as names and values."""
    rows: list[tuple[str, str]] = []
    if isinstance(called := metrics.get("called"), dict):
        rows += [(f"called {name}", f"{count} images") for name, count in sorted(called.items())]
    for part in ("validation", "test", "train", "labelled"):
        values = metrics.get(part)
        if not isinstance(values, dict):
            continue
        auc, span = values.get("auc"), values.get("auc_interval_95")
        text = "not defined (one class only)" if auc is None else f"{auc:.3f}"
        if span:
            text += f"  (95 %: {span[0]:.3f} to {span[1]:.3f})"
        rows.append((f"{part}: AUC", text))
        if values.get("accuracy") is not None:
            text = f"{values['accuracy']:.3f}"
            if values.get("majority_class_accuracy") is not None:
                text += f"  (majority class: {values['majority_class_accuracy']:.3f})"
            rows.append((f"{part}: accuracy", text))
    if isinstance(clusters := metrics.get("clusters"), dict):
        sizes = ", ".join(str(size) for size in clusters.get("sizes") or [])
        rows.append(("clusters", f"{clusters.get('k')} ({sizes} images)"))
        for name, found in (clusters.get("goes_with") or {}).items():
            if found.get("cramers_v") is not None:
                rows.append((f"clusters and {name}", f"Cramer's V {found['cramers_v']:.2f}"))
    if isinstance(data := metrics.get("data"), dict):
        patients = f" of {data['patients']} patients" if "patients" in data else ""
        text = f"{data.get('images', '?')}{patients}, {data.get('rejected', 0)} rejected"
        rows.append(("images", text))
    return rows


def timing_rows(timings: dict[str, Any]) -> list[tuple[str, str]]:
    """Return seconds per stage and what each node did, as names and values."""
    rows = [(f"{name}", f"{value:.1f} s") for name, value in (timings.get("stages") or {}).items()]
    if total := timings.get("total_seconds"):
        rows.append(("total", f"{total:.1f} s"))
    return rows


def node_rows(timings: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what each node computed, as names and values."""
    features = timings.get("features") or {}
    nodes = features.get("nodes") or {}
    rows = [
        (name, f"{node.get('tasks', 0)} tasks, {node.get('images', 0)} images")
        for name, node in nodes.items()
    ]
    for name, count in (timings.get("executors") or {}).items():
        if name not in nodes:
            rows.append((name, f"no image left to compute, {count} executor(s) there"))
    if features.get("cached"):
        rows.append(("from the cache", f"{features['cached']} images"))
    return rows
