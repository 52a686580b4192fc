"""The report: one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from mammotrain.cases import Case
from mammotrain.dataset import Reject
from mammotrain.model_card import INTENDED_USE, LIMITS, judged_part, number, rows_of

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0 }
td, th { padding: .2em .8em; text-align: left; border-bottom: 1px solid #ddd }
.plots img { width: 48% }
figure { display: inline-block; margin: .5em }
.warn { background: #fff3cd; padding: .6em }
"""
SHOWN_REJECTS = 200


def report_page(
    card: dict[str, Any],
    metrics: dict[str, Any],
    history: dict[str, list[float]],
    timings: dict[str, Any],
    *,
    rejects: Sequence[Reject],
    cases: Sequence[Case] = (),
) -> str:
    """Return the page: no script, no address, pictures inside.

    Args:
        card: of `model_card`.
        metrics: contents of `metrics.json`.
        history: contents of `history.json`.
        timings: contents of `timings.json`.
        rejects: images that could not be used.
        cases: images that the page shows, with where the model looked.
    """
    part, judged = judged_part(metrics)
    reasons = Counter(reject.reason for reject in rejects)
    sections = [
        f"<h1>{text(card['name'])}</h1>",
        f"<p class=warn><b>Intended use: {INTENDED_USE}.</b> {text(' '.join(LIMITS))}</p>",
        *(f"<p class=warn>{text(warning)}</p>" for warning in metrics["warnings"]),
        "<h2>Result</h2>",
        table((), rows_of(card)),
        f"<p>All curves are of the {text(part)} part.</p>",
        '<p class="plots">' + "".join(picture(*plot) for plot in _plots(history, judged)) + "</p>",
        "<h2>Operating points</h2>",
        table(("", "value (95 % interval by patient)"), _points(judged)),
        _confusion(judged["at_threshold"]),
    ]
    for name, groups in (judged.get("groups") or {}).items():
        rows = [
            (value, g["images"], g["malignant"], number(g["auc"], g["auc_interval_95"]))
            for value, g in groups.items()
        ]
        sections += [
            f"<h2>By {text(name)}</h2>",
            table((name, "images", "malignant", "AUC"), rows),
        ]
    sections += _shown(cases)
    if rejects:
        sections += [
            f"<h2>Rejected images ({len(rejects)})</h2>",
            table(("reason", "images"), reasons.most_common()),
            table(
                ("image", "reason"),
                [(r.image_id, r.reason) for r in sorted(rejects, key=lambda r: r.image_id)][
                    :SHOWN_REJECTS
                ],
            ),
        ]
    sections += [
        "<h2>Time</h2>",
        table(("stage", "seconds"), timings["stages"].items()),
        table(
            ("node", "tasks", "images", "images per second", "memory of Python, MB"),
            [
                (name, n["tasks"], n["images"], n["images_per_second"], n["python_peak_mb"])
                for name, n in timings["features"]["nodes"].items()
            ],
        ),
        "<h2>Environment</h2>",
        table((), timings.get("environment", {}).items()),
    ]
    return whole_page(str(card["name"]), sections)


def _shown(cases: Sequence[Case]) -> list[str]:
    """Return the single cases, picture and Grad-CAM overlay side by side, by kind."""
    if not cases:
        return []
    sections = [
        "<h2>Single cases</h2>",
        "<p>As the network saw them; beside each, bright where the evidence for malignant lies "
        "(Grad-CAM). A plausible place proves nothing, an odd one is a reason to look closer.</p>",
    ]
    for kind in dict.fromkeys(case.kind for case in cases):
        sections.append(f"<h3>{text(kind)}</h3>")
        for case in (one for one in cases if one.kind == kind):
            both = "".join(
                _image(f"{case.image_id}{what}", pixels)
                for what, pixels in (("", case.picture), (", Grad-CAM", case.overlay))
            )
            caption = f"{text(case.image_id)}: {case.score:.3f}"
            sections.append(f"<figure>{both}<figcaption>{caption}</figcaption></figure>")
    return sections


def _image(name: str, pixels: Any) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return _embedded(name, buffer.getvalue())


def whole_page(title: str, sections: Iterable[str]) -> str:
    """Return a page of these sections, which are HTML already."""
    head = f"<meta charset=utf-8><title>{text(title)}</title><style>{STYLE}</style>"
    return (
        f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(sections)}</body></html>\n"
    )


def text(value: Any) -> str:
    """Return any value as text of a page."""
    return html.escape(str(value))


def table(heading: Iterable[Any], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table; no heading where it is empty."""
    heading = list(heading)
    lines = ["<tr>" + "".join(f"<th>{text(h)}</th>" for h in heading) + "</tr>"] if heading else []
    lines += ["<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _points(judged: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for key, first, second in (
        ("sensitivity_at_specificity", "sensitivity", "specificity"),
        ("specificity_at_sensitivity", "specificity", "sensitivity"),
    ):
        for fixed, found in judged[key].items():
            text = number(found["value"], found["interval_95"])
            rows.append((f"{first} at {second} {fixed}", text))
    return rows


def _confusion(point: dict[str, Any]) -> str:
    c = point["confusion"]
    return table(
        (f"at {point['threshold']:.3f}", "called malignant", "called benign"),
        [
            ("malignant", c["true_positive"], c["false_negative"]),
            ("benign", c["false_positive"], c["true_negative"]),
        ],
    )


def _plots(history: dict[str, list[float]], judged: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return name and matplotlib figure of each plot."""
    from matplotlib.figure import Figure

    def axes(x: str, y: str) -> tuple[Any, Any]:
        figure = Figure(figsize=(5, 4), dpi=100, layout="constrained")
        made = figure.add_subplot(xlabel=x, ylabel=y)
        made.grid(alpha=0.3)
        return figure, made

    plots = []
    for metric in ("accuracy", "loss", "auc"):
        figure, one = axes("epoch", metric)
        for key, label in ((metric, "training"), (f"val_{metric}", "validation")):
            if key in history:
                one.plot(range(1, len(history[key]) + 1), history[key], marker=".", label=label)
        one.legend()
        plots.append((metric, figure))
    figure, one = axes("1 - specificity", "sensitivity")
    one.plot(judged["roc"]["false_positive_rate"], judged["roc"]["true_positive_rate"])
    one.plot([0, 1], [0, 1], "--", color="grey", linewidth=1)
    plots.append(("ROC", figure))
    figure, one = axes("recall", "precision")
    one.step(
        judged["precision_recall"]["recall"], judged["precision_recall"]["precision"], where="pre"
    )
    plots.append(("precision and recall", figure))
    figure, one = axes("score", "share malignant")
    for key, label in (("calibration", "as it is"), ("calibrated", "with temperature")):
        bins = judged[key]["reliability"]
        one.plot([b["score"] for b in bins], [b["malignant"] for b in bins], "o-", label=label)
    one.plot([0, 1], [0, 1], "--", color="grey", linewidth=1)
    one.legend()
    plots.append(("reliability", figure))
    return plots


def picture(name: str, figure: Any) -> str:
    """Return a matplotlib figure as an image inside the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return _embedded(name, buffer.getvalue())


def _embedded(name: str, png: bytes) -> str:
    data = base64.b64encode(png).decode("ascii")
    return f'<img alt="{text(name)}" src="data:image/png;base64,{data}">'
