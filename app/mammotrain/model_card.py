"""What a model is, what it may be used for and how good it is (Mitchell et al., 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

INTENDED_USE = "research only"
SHAPE = ("pooling", "fit", "precision", "augment", "dimension")
LIMITS = (
    "Not a medical device: no output of it may guide the care of a person.",
    "Judged on one data set; other machines, populations and prevalences were not tried.",
    "Labels are those of the data set: benign may only mean that no cancer was found.",
)


def model_card(metrics: dict[str, Any], timings: dict[str, Any]) -> dict[str, Any]:
    """Return the card as data.

    Args:
        metrics: contents of `metrics.json`.
        timings: contents of `timings.json`; for the environment.
    """
    name, judged = judged_part(metrics)
    return {
        "schema": 1,
        "name": f"mammotrain {metrics['backbone']} {metrics['features']['pooling']}",
        "application": metrics["application"],
        "intended_use": INTENDED_USE,
        "meaningful": metrics["meaningful"],
        "limits": [*LIMITS, *metrics["warnings"]],
        "architecture": {
            "backbone": metrics["backbone"],
            "weights": metrics["weights"],
            **{key: metrics["features"][key] for key in SHAPE},
            "head": metrics["head"],
        },
        "training": {
            **metrics["training"],
            "epochs": metrics["epochs"],
            "seed": metrics["seed"],
            "data": metrics["data"],
            "split": metrics["split"],
        },
        "evaluation": {
            "part": name,
            **{key: judged.get(key) for key in ("images", "patients", "auc", "auc_interval_95")},
            **{key: judged.get(key) for key in ("accuracy", "majority_class_accuracy")},
            **{key: judged.get(key) for key in ("auc_pr", "brier", "at_threshold")},
            "metadata_baseline": judged.get("metadata_baseline"),
            "groups": judged.get("groups"),
            "cross_validation": metrics.get("cross_validation"),
        },
        "calibration": metrics["chosen"],
        "environment": timings.get("environment", {}),
    }


def judged_part(metrics: Mapping[str, Any]) -> tuple[str, Any]:
    """Return name and value of the part that says most: test, validation, else training."""
    name = next(name for name in ("test", "validation", "train") if name in metrics)
    return name, metrics[name]


def number(value: Any, span: Any = None) -> str:
    """Return a figure with its interval, or a dash."""
    if value is None or value != value:  # noqa: PLR0124  NaN
        return "-"
    text = f"{value:.3f}"
    return f"{text} ({span[0]:.3f} to {span[1]:.3f})" if span else text


def rows_of(card: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the figures of a card as names and values."""
    found = card["evaluation"]
    rows = [
        ("judged on", f"{found['part']}: {found['images']} images of {found['patients']} patients"),
        ("ROC AUC (95 % interval by patient)", number(found["auc"], found["auc_interval_95"])),
        ("PR AUC", number(found["auc_pr"]["value"], found["auc_pr"]["interval_95"])),
        ("accuracy at 0.5", number(found["accuracy"])),
        ("accuracy of the majority class", number(found["majority_class_accuracy"])),
        ("Brier score", number(found["brier"]["value"], found["brier"]["interval_95"])),
    ]
    point = found["at_threshold"]
    rows.append(
        (
            f"at the threshold {point['threshold']:.3f} chosen on {card['calibration']['part']}",
            f"sensitivity {number(point['sensitivity'])}, "
            f"specificity {number(point['specificity'])}",
        )
    )
    if baseline := found["metadata_baseline"]:
        difference = baseline["model_minus_baseline"]
        rows += [
            ("ROC AUC of metadata alone", number(baseline["auc"], baseline["auc_interval_95"])),
            (
                "model minus metadata, paired",
                number(difference["difference"], difference["interval_95"]),
            ),
        ]
    if crossed := found["cross_validation"]:
        name = f"ROC AUC, {crossed['folds']}-fold by patient"
        rows.append((name, number(crossed["auc"], crossed["auc_interval_95"])))
        if breasts := crossed["per_breast"]:
            text = number(breasts["auc"], breasts["auc_interval_95"])
            rows.append((f"{name}, views of a breast averaged", text))
    return rows


def _tuned(training: Mapping[str, Any]) -> str:
    """Return what was done to the network below the head."""
    if not training["fine_tune"]:
        return "frozen"
    return (
        f"its last block fine-tuned at rate {training['fine_tune_rate']}, epoch "
        f"{training['fine_tune_epoch']} of {training['fine_tune']}, the rest frozen"
    )


def as_markdown(card: dict[str, Any]) -> str:
    """Return the card as Markdown."""
    shape, training = card["architecture"], card["training"]
    data = training["data"]
    lines = [
        f"# Model card: {card['name']}",
        "",
        f"**Intended use: {card['intended_use']}.** "
        + ("" if card["meaningful"] else "Random weights: its predictions mean nothing."),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in card["limits"]),
        "",
        "## Model",
        "",
        f"{shape['backbone']} (weights {shape['weights']}), {_tuned(training)}; "
        f"{shape['dimension']} features ({shape['pooling']}) in {shape['precision']}, images "
        f"fitted by `{shape['fit']}`, augmentation: {shape['augment']}; head: "
        + ", ".join(f"{name} {value}" for name, value in shape["head"].items())
        + f". Trained by strategy `{training['strategy']}`, epoch {training['epoch']} of "
        f"{training['epochs']}, seed {training['seed']}.",
        "",
        "## Data",
        "",
        f"{data['images']} images of {data['patients']} patients ({data['benign']} benign, "
        f"{data['malignant']} malignant), {data['rejected']} rejected; split by "
        f"{training['split']['by']} into {', '.join(training['split']['parts'])}.",
        "",
        "## Evaluation",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in rows_of(card)),
        "",
    ]
    for name, groups in (card["evaluation"]["groups"] or {}).items():
        lines += [f"| {name} | images | malignant | ROC AUC |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {value} | {found['images']} | {found['malignant']} | "
            f"{number(found['auc'], found['auc_interval_95'])} |"
            for value, found in groups.items()
        ]
        lines.append("")
    environment = card["environment"]
    if environment:
        told = ", ".join(f"{name} {value}" for name, value in environment.items())
        lines += ["## Environment", "", told, ""]
    return "\n".join(lines)
