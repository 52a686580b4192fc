"""What a data set consists of, asked in SQL; the pixels are never read."""

from __future__ import annotations

from typing import Any

VIEW = "images"
COLUMNS = (
    *("image_id", "patient_id", "label", "format", "sha256", "view", "laterality"),
    *("age", "density", "machine", "site", "reject"),
)
COUNTS = {
    "images": "count(*)",
    "patients": "count(DISTINCT patient_id)",
    "benign": "count_if(label = 'benign')",
    "malignant": "count_if(label = 'malignant')",
    "rejected": "count_if(reject IS NOT NULL)",
    "megabytes": "round(sum(size) / 1e6, 1)",
    "median bytes": "percentile_approx(size, 0.5)",
}
# Each is a table of COUNTS: a row for each value of an SQL expression that is not null.
GROUPS = {
    "all": "'all images'",
    "label": "coalesce(label, 'unknown')",
    "format": "coalesce(format, 'unknown')",
    "view": "nullif(concat_ws(' ', laterality, view), '')",
    "age": "CAST(floor(try_cast(age AS double) / 10) * 10 AS string) || ' to ' || "
    "CAST(floor(try_cast(age AS double) / 10) * 10 + 9 AS string)",
    "density": "density",
    "machine": "machine",
    "site": "site",
}
# Each is a table of its own.
QUERIES = {
    "images of a patient": """
        SELECT images, count(*) AS patients, sum(malignant) AS `with a malignant image`
        FROM (SELECT count(*) AS images, CAST(bool_or(label = 'malignant') AS int) AS malignant
              FROM images WHERE patient_id IS NOT NULL GROUP BY patient_id)
        GROUP BY 1 ORDER BY 1""",
    "warning": """
        SELECT warning, count(*) AS images
        FROM images LATERAL VIEW explode(warnings) found AS warning
        GROUP BY 1 ORDER BY 2 DESC, 1""",
    "reason of a rejection": """
        SELECT reject AS reason, count(*) AS images
        FROM images WHERE reject IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1""",
    "same content": """
        SELECT copies, count(*) AS contents
        FROM (SELECT count(*) AS copies FROM images WHERE sha256 IS NOT NULL GROUP BY sha256)
        WHERE copies > 1 GROUP BY 1 ORDER BY 1""",
}


def register(frame: Any) -> None:
    """Make a data set known to SQL as `images`: columns that it lacks are null, empty text too."""
    from pyspark.sql import functions as f

    def column(name: str) -> Any:
        value = f.col(name).cast("string") if name in frame.columns else f.lit(None).cast("string")
        return f.nullif(f.trim(value), f.lit("")).alias(name)

    size = f.col("size") if "size" in frame.columns else f.lit(None)
    warnings = f.col("warnings") if "warnings" in frame.columns else f.array()
    frame.select(
        *(column(name) for name in COLUMNS),
        size.cast("long").alias("size"),
        warnings.cast("array<string>").alias("warnings"),
    ).createOrReplaceTempView(VIEW)


def tables(spark: Any) -> dict[str, list[dict[str, Any]]]:
    """Return a table for each of GROUPS and QUERIES, as rows; empty ones are left out."""
    from pyspark.sql import functions as f

    frames = {}
    for name, expression in GROUPS.items():
        groups = spark.table(VIEW).groupBy(f.expr(expression).alias(name))
        counted = groups.agg(*(f.expr(text).alias(count) for count, text in COUNTS.items()))
        frames[name] = counted.where(f.col(name).isNotNull()).orderBy(name)
    frames.update({name: spark.sql(query) for name, query in QUERIES.items()})
    found = {name: frame.toArrow().to_pylist() for name, frame in frames.items()}
    return {name: rows for name, rows in found.items() if rows}
