"""k-means clusters of features by MLlib: what a network sees as alike, and what that goes with."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

COMPONENTS = 20  # of the features; k-means in a thousand dimensions sees only noise
SMALLEST = 10  # images; fewer have no clusters worth a name


@dataclass(frozen=True)
class Clusters:
    """The clusters of some images.

    Attributes:
        k: how many.
        silhouettes: mean silhouette of each number that was tried; the best one is taken.
        variance: share of the variance that the first components have, one each.
        checksums: of the images, sorted.
        members: cluster of each, from 0; the largest cluster is 0.
        distances: of each to its centre, in deviations of the components.
        places: the first two components of each, shape (images, 2).
    """

    k: int
    silhouettes: dict[int, float]
    variance: list[float]
    checksums: list[str]
    members: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float64]
    places: npt.NDArray[np.float64]


def cluster(
    features: Any, *, images: int, dimension: int, tried: Sequence[int], seed: int
) -> Clusters | None:
    """Standardise features, keep their first components, and find clusters among them.

    The number of clusters is the one of `tried` with the highest mean silhouette (Rousseeuw,
    1987; squared Euclidean distance).

    Args:
        features: DataFrame of `sha256` and `features` (array of float), a row an image.
        images: how many there are.
        dimension: of a feature vector.
        tried: numbers of clusters, each less than `images`.
        seed: of the first centres.

    Returns:
        The clusters; None where no two images differ.
    """
    from pyspark.ml.clustering import KMeans
    from pyspark.ml.evaluation import ClusteringEvaluator
    from pyspark.ml.feature import PCA, StandardScaler
    from pyspark.ml.functions import array_to_vector, vector_to_array
    from pyspark.sql import functions as f

    kept = min(COMPONENTS, dimension, images - 1)
    # in a fixed order: the first centres are drawn from it
    values = f.col("features").cast("array<double>")
    ordered = features.select("sha256", array_to_vector(values).alias("raw"))
    ordered = ordered.repartition(1).sortWithinPartitions("sha256")
    scaler = StandardScaler(inputCol="raw", outputCol="scaled", withMean=True).fit(ordered)
    scaled = scaler.transform(ordered)
    pca = PCA(k=kept, inputCol="scaled", outputCol="components").fit(scaled)
    frame = pca.transform(scaled).select("sha256", "components").cache()
    judge = ClusteringEvaluator(featuresCol="components")
    models, silhouettes = {}, {}
    for k in tried:
        means = KMeans(k=k, seed=seed, featuresCol="components", maxIter=50)
        models[k] = means.fit(frame)
        found = models[k].transform(frame)
        if found.select("prediction").distinct().count() > 1:
            silhouettes[k] = float(judge.evaluate(found))
    if not silhouettes:
        return None
    best = max(silhouettes, key=lambda k: (silhouettes[k], -k))
    table = (
        models[best]
        .transform(frame)
        .select("sha256", "prediction", vector_to_array("components").alias("components"))
        .toArrow()
        .to_pydict()
    )
    frame.unpersist()
    order = np.argsort(table["sha256"])
    components = np.array(table["components"])[order]
    raw = np.array(table["prediction"])[order]
    centres = np.array(models[best].clusterCenters())
    places = components[:, :2] if kept > 1 else np.pad(components, ((0, 0), (0, 1)))
    return Clusters(
        best,
        silhouettes,
        [float(share) for share in pca.explainedVariance.toArray()],
        [table["sha256"][i] for i in order],
        by_size(raw),
        np.linalg.norm(components - centres[raw], axis=1),
        places,
    )


def by_size(raw: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return cluster numbers given anew: 0 for the largest, of equally large ones the first."""
    counts = Counter(int(value) for value in raw)
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    numbers = {value: number for number, value in enumerate(ranked)}
    return np.array([numbers[int(value)] for value in raw], np.int64)


def composition(
    members: npt.NDArray[Any], about: Sequence[Mapping[str, str]], names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return for each attribute how its values spread over the clusters, and how much so.

    Args:
        members: cluster of each image.
        about: what is known of each image, by name.
        names: the attributes.

    Returns:
        For each attribute with two values or more: `counts`, images by value and cluster, and
        `cramers_v`: 0 if the clusters know nothing of it, 1 if they follow from it. Images
        without a value do not count.
    """
    result = {}
    for name in names:
        rows: dict[str, Counter[int]] = defaultdict(Counter)
        for number, known in zip(members, about, strict=True):
            if value := known.get(name):
                rows[value][int(number)] += 1
        if len(rows) > 1:
            counts = {value: dict(sorted(found.items())) for value, found in sorted(rows.items())}
            result[name] = {"counts": counts, "cramers_v": cramers_v(counts)}
    return result


def cramers_v(counts: Mapping[str, Mapping[int, int]]) -> float | None:
    """Return Cramer's V with the correction for its bias (Bergsma, 2013); None if undefined."""
    columns = sorted({number for found in counts.values() for number in found})
    table = np.array([[found.get(n, 0) for n in columns] for found in counts.values()], float)
    total, (r, c) = table.sum(), table.shape
    if min(r, c) < 2 or total < 2:
        return None
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / total
    phi = float(((table - expected) ** 2 / expected).sum() / total)
    phi = max(0.0, phi - (r - 1) * (c - 1) / (total - 1))
    rows, width = r - (r - 1) ** 2 / (total - 1), c - (c - 1) ** 2 / (total - 1)
    smaller = min(rows - 1, width - 1)
    return float(np.sqrt(phi / smaller)) if smaller > 0 else None
