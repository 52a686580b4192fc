"""The files a run leaves behind."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mammotrain.dataset import Reject
from mammotrain.events import clean

NAMES = {"accuracy": "Accuracy", "loss": "Loss (binary cross-entropy)"}


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file; NaN becomes null."""
    path.write_text(json.dumps(clean(value), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_rejects(path: Path, rejects: Sequence[Reject]) -> None:
    """Write `image_id,reason`, sorted by id, with the heading also when there are none."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image_id", "reason"))
        writer.writerows(sorted((reject.image_id, reject.reason) for reject in rejects))


def write_scores(path: Path, rows: Sequence[tuple[str, int, int, float]]) -> None:
    """Write `image_id,fold,label,score` of cross-validation, sorted by id."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image_id", "fold", "label", "score"))
        writer.writerows(
            (name, fold, label, f"{score:.9g}") for name, fold, label, score in sorted(rows)
        )


def plot(
    path: Path,
    history: dict[str, list[float]],
    metric: str,
    title: str,
    baseline: tuple[str, float] | None = None,
) -> None:
    """Plot one metric over the epochs, training beside validation, as a PNG.

    Args:
        path: the PNG file.
        history: `metric` and, where there was a validation part, `val_metric`.
        metric: `accuracy` or `loss`.
        title: line above the plot.
        baseline: name and height of a dashed line.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for key, label in ((metric, "training"), (f"val_{metric}", "validation")):
        if key in history:
            epochs = range(1, len(history[key]) + 1)
            axes.plot(epochs, history[key], marker="o", markersize=3, label=label)
    if baseline is not None:
        axes.axhline(baseline[1], color="grey", linestyle="--", linewidth=1, label=baseline[0])
    axes.set_xlabel("epoch")
    axes.set_ylabel(NAMES[metric])
    axes.set_title(title, fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)
