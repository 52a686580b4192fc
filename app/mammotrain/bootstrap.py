"""Intervals by drawing patients: images of one patient are not independent of each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Statistic = Callable[[npt.NDArray[np.bool_], Floats], float]
Interval = tuple[float, float]


def draws(patients: Sequence[str], rounds: int, seed: int) -> Iterator[Indices]:
    """Yield the rows of `rounds` samples, whole patients drawn with replacement.

    This is the cluster bootstrap (Field and Welsh, 2007, JRSS B 69). The draws depend on the order
    of the patients' names and the seed alone.
    """
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    rows = [np.flatnonzero(owner == number) for number in range(len(names))]
    generator = np.random.default_rng(seed)
    for _ in range(rounds):
        yield np.concatenate([rows[i] for i in generator.integers(0, len(names), len(names))])


def intervals(
    statistics: Mapping[str, Statistic],
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    patients: Sequence[str],
    *,
    rounds: int,
    seed: int,
    level: float = 0.95,
) -> dict[str, Interval | None]:
    """Return the percentile interval of each statistic; NaN values of a draw are left out.

    Returns:
        None for a statistic that fewer than half of the draws define.
    """
    y, s = np.asarray(labels).astype(bool), np.asarray(scores, dtype=np.float64)
    values: dict[str, list[float]] = {name: [] for name in statistics}
    for index in draws(patients, rounds, seed):
        for name, statistic in statistics.items():
            values[name].append(statistic(y[index], s[index]))
    return {name: percentiles(found, level) for name, found in values.items()}


def paired_difference(
    statistic: Statistic,
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    others: npt.ArrayLike,
    patients: Sequence[str],
    *,
    rounds: int,
    seed: int,
) -> dict[str, float | list[float] | None]:
    """Return how much better `scores` are than `others`, both on the same draws of patients."""
    y = np.asarray(labels).astype(bool)
    a, b = (np.asarray(values, dtype=np.float64) for values in (scores, others))
    found = [
        statistic(y[index], a[index]) - statistic(y[index], b[index])
        for index in draws(patients, rounds, seed)
    ]
    span = percentiles(found)
    return {
        "difference": statistic(y, a) - statistic(y, b),
        "interval_95": list(span) if span else None,
    }


def percentiles(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Return the middle `level` of the values that are numbers; None if fewer than half are."""
    found = np.asarray(values, dtype=np.float64)
    found = found[~np.isnan(found)]
    if len(found) < max(len(values) / 2, 1):
        return None
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(found, [tail, 1.0 - tail])
    return float(low), float(high)
