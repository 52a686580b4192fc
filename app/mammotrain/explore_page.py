"""The look at a data set as plots and as one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mammotrain.clusters import Clusters
from mammotrain.model_card import number
from mammotrain.page import picture, table, text, whole_page

COLOURS = (("benign", "tab:blue"), ("malignant", "tab:red"))
SHOWN = 12  # bars of a plot
BARS = ("label", "view", "age", "density", "machine", "images of a patient")


def plots(
    tables: Mapping[str, list[dict[str, Any]]],
    found: Clusters | None,
    images: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """Return the figures by the names of their files: `data`, and `clusters` where there are any.

    Args:
        tables: of `summaries.tables`.
        found: the clusters.
        images: what is known of each image in them.
    """
    figures = {"data": _bars(tables)}
    if found:
        figures["clusters"] = _scatter(found, images)
    return figures


def _bars(tables: Mapping[str, list[dict[str, Any]]]) -> Any:
    from matplotlib.figure import Figure

    shown = [name for name in BARS if name in tables]
    rows = max(1, -(-len(shown) // 3))
    figure = Figure(figsize=(12, 3.2 * rows), dpi=100, layout="constrained")
    for place, name in enumerate(shown, 1):
        axes = figure.add_subplot(rows, 3, place, title=name)
        lines = tables[name][:SHOWN]
        if name == "images of a patient":
            labels = [str(line["images"]) for line in lines]
            axes.bar(labels, [line["patients"] for line in lines], color="grey")
            axes.set_ylabel("patients")
            continue
        labels = [str(line[name]) for line in lines]
        bottom = [0] * len(lines)
        for label, colour in COLOURS:
            heights = [line[label] for line in lines]
            axes.bar(labels, heights, bottom=bottom, label=label, color=colour)
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
        others = [line["images"] - low for line, low in zip(lines, bottom, strict=True)]
        if any(others):
            axes.bar(labels, others, bottom=bottom, label="unlabelled", color="lightgrey")
        axes.set_ylabel("images")
        axes.tick_params(axis="x", rotation=30)
        if place == 1:
            axes.legend()
    return figure


def _scatter(found: Clusters, images: Sequence[Mapping[str, str]]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), dpi=100, layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for cluster in range(found.k):
        inside = found.members == cluster
        left.scatter(*found.places[inside].T, s=8, label=str(cluster))
    left.legend(title="cluster")
    left.set_title("by cluster")
    for label, colour in (*COLOURS, (None, "grey")):
        rows = [i for i, known in enumerate(images) if known.get("label") == label]
        if rows:
            middle.scatter(*found.places[rows].T, s=8, c=colour, label=label or "unlabelled")
    middle.legend()
    middle.set_title("by label")
    for axes in (left, middle):
        axes.set_xlabel("first component")
        axes.set_ylabel("second component")
    right.plot(list(found.silhouettes), list(found.silhouettes.values()), "o-")
    right.set_xticks(list(found.silhouettes))
    right.set_xlabel("clusters")
    right.set_ylabel("mean silhouette")
    right.set_title("how many")
    return figure


def explore_page(metrics: Mapping[str, Any], drawn: Mapping[str, Any]) -> str:
    """Return the page: no script, no address, pictures inside.

    Args:
        metrics: contents of `metrics.json`.
        drawn: of `plots`.
    """
    title = f"Data set {metrics['data']['name']}".rstrip()
    sections = [
        f"<h1>{text(title)}</h1>",
        *(f"<p class=warn>{text(warning)}</p>" for warning in metrics["warnings"]),
        f"<p>{picture('data', drawn['data'])}</p>",
    ]
    for name, rows in metrics["tables"].items():
        sections += [f"<h2>{text(name).capitalize()}</h2>", table(rows[0], _cells(rows))]
    if clusters := metrics["clusters"]:
        sections += [
            "<h2>Clusters of the features</h2>",
            "<p>k-means on the first components of the standardised features. What goes with the "
            "clusters is what the network sees first: if that is the machine and not the label, a "
            "model may learn the machine.</p>",
            f"<p>{picture('clusters', drawn['clusters'])}</p>",
            table(("cluster", "images"), enumerate(clusters["sizes"])),
        ]
        for name, found in clusters["goes_with"].items():
            columns = range(clusters["k"])
            sections += [
                f"<h3>{text(name)}: Cramer's V {number(found['cramers_v'])}</h3>",
                table(
                    (name, *columns),
                    [
                        (value, *(counts.get(one, 0) for one in columns))
                        for value, counts in found["counts"].items()
                    ],
                ),
            ]
    if reasons := metrics["data"]["reasons"]:
        sections += ["<h2>Cannot be used</h2>", table(("reason", "images"), reasons.items())]
    return whole_page(title, sections)


def _cells(rows: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    return [["" if cell is None else cell for cell in row.values()] for row in rows]
