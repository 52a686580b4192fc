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
    of the patients' names and the seed alone: `dataset.owners` gives names whose order does not
    depend on the cluster.
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


def multiplicities(patients: Sequence[str], rounds: int, seed: int) -> npt.NDArray[np.float32]:
    """Return how often each row is in each of the samples of `draws`, shape (rounds, rows)."""
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    generator = np.random.default_rng(seed)
    counts = np.empty((rounds, len(names)), np.float32)
    for row in counts:
        drawn = generator.integers(0, len(names), len(names))
        row[:] = np.bincount(drawn, minlength=len(names))
    return counts[:, owner]


def percentiles(values: Sequence[float] | Floats, level: float = 0.95) -> Interval | None:
    """Return the middle `level` of the values that are numbers; None if fewer than half are."""
    found = np.asarray(values, dtype=np.float64)
    found = found[~np.isnan(found)]
    if len(found) < max(len(values) / 2, 1):
        return None
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(found, [tail, 1.0 - tail])
    return float(low), float(high)
