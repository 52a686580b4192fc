"""Which patients train, which validate, which test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from mammotrain.dataset import LABELS, Image, owners
from mammotrain.errors import LeakError, UnusableInput

PARTS = ("train", "validation", "test")


def in_order(images: Sequence[Image], seed: int) -> list[str]:
    """Return patients in an order that looks random, and is the same wherever the images are.

    A patient's place follows from the seed and the smallest checksum of the patient's files:
    pseudonyms of the same patient differ from cluster to cluster.
    """
    mark = {image.patient_id: name for image, name in zip(images, owners(images), strict=True)}

    def place(patient: str) -> tuple[str, str]:
        first = mark[patient].split(" ")[0]
        return hashlib.sha256(f"{seed}:{first}".encode()).hexdigest(), patient

    return sorted(mark, key=place)


def _strata(images: Sequence[Image], seed: int) -> tuple[list[str], list[str]]:
    """Return the patients with a malignant image and those without, each as `in_order`."""
    ill = {image.patient_id for image in images if image.label == 1}
    order = in_order(images, seed)
    return [one for one in order if one in ill], [one for one in order if one not in ill]


def _sorted(images: Iterable[Image]) -> list[Image]:
    return sorted(images, key=lambda image: (image.sha256, image.image_id))


def split(
    images: Sequence[Image], fractions: Mapping[str, float], seed: int
) -> dict[str, list[Image]]:
    """Split images by patient.

    Patients are taken in two strata, those with a malignant image and those without, each ordered
    as by `in_order`. Each part other than `train` takes its share of a stratum, rounded, at least
    one patient where the stratum has enough for every part. The result depends on the files, the
    patients and the seed alone: neither on the order of the rows nor on the cluster.

    Args:
        images: usable images.
        fractions: share of the patients for `validation` and `test`, 0 to leave a part out.
        seed: another seed, another split.

    Returns:
        Images of each part that is not left out, sorted by checksum.

    Raises:
        UnusableInput: a part would be empty or have one class only.
    """
    wanted = [part for part in PARTS if part == "train" or fractions.get(part, 0) > 0]
    part_of: dict[str, str] = {}
    for order in _strata(images, seed):
        start = 0
        for part in wanted[1:]:
            share = round(fractions[part] * len(order))
            if len(order) >= len(wanted):
                share = max(share, 1)
            for patient in order[start : start + share]:
                part_of[patient] = part
            start += share
        for patient in order[start:]:
            part_of[patient] = "train"
    result: dict[str, list[Image]] = {part: [] for part in wanted}
    for image in _sorted(images):
        result[part_of[image.patient_id]].append(image)
    check_split(result)
    return result


def folds(images: Sequence[Image], count: int, seed: int) -> list[list[Image]]:
    """Cut images into parts of about equal numbers of patients, for cross-validation.

    Patients of both strata (see `split`) are dealt out as `in_order`.

    Raises:
        UnusableInput: a stratum has fewer patients than there are parts.
    """
    fold_of: dict[str, int] = {}
    for order, name in zip(_strata(images, seed), ("with", "without"), strict=True):
        if len(order) < count:
            raise UnusableInput(
                f"{len(order)} patients {name} a malignant image cannot be cut into {count} "
                "folds: use fewer --folds"
            )
        fold_of.update({patient: place % count for place, patient in enumerate(order)})
    ordered = _sorted(images)
    return [[i for i in ordered if fold_of[i.patient_id] == number] for number in range(count)]


def check_split(parts: Mapping[str, Sequence[Image]]) -> None:
    """Refuse a split that leaks, or a part of which cannot be trained on or judged.

    Raises:
        UnusableInput: a part is empty or has one class only.
        LeakError: a patient is in two parts.
    """
    seen: dict[str, str] = {}
    for part, images in parts.items():
        if not images:
            raise UnusableInput(f"too few patients: nobody is left for the {part} part")
        for image in images:
            if seen.setdefault(image.patient_id, part) != part:
                raise LeakError("a patient is in two parts of the split")
        found = {image.label for image in images}
        if absent := [name for name, value in LABELS.items() if value not in found]:
            mend = "" if part == "train" else f", or leave the part out with --{part} 0"
            raise UnusableInput(
                f"too few patients: the {part} part has one class only, nothing {absent[0]}: add "
                f"patients who have such images{mend}"
            )
