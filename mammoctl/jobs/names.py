"""File names beside predictions: the cluster's results know ids only, its master the way back."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mammoctl.data.push import IDS_ROOT
from mammoctl.errors import JobError

if TYPE_CHECKING:
    from mammoctl.ssh import Nodes

NAMED = "predictions_by_file.csv"


def add_names(nodes: Nodes, data: str, folder: Path) -> Path:
    """Write the predictions of a data set once more, with the file that each belongs to.

    Copies of one image have a row each. The file is for its owner only (0600): names of files may
    be those of people.

    Args:
        nodes: connections to the cluster.
        data: name of the data set.
        folder: with `predictions.csv`; the new file is put there.

    Raises:
        JobError: the master has no map for this data set, or the file cannot be written.
    """
    argv = ["cat", "--", f"{IDS_ROOT}/{data}/ids.csv"]
    done = nodes.run(nodes.cluster.master.name, argv, sudo=True, check=False)
    if done.rc:
        raise JobError(
            f"the master has no map from the ids of {data} to files",
            hint="predictions.csv is there; push the data set again for a new map",
        )
    files: dict[str, list[str]] = {}
    for row in csv.DictReader(io.StringIO(done.stdout)):
        files.setdefault(row["image_id"], []).append(row["file"])
    target = folder / NAMED
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with (
            (folder / "predictions.csv").open(newline="", encoding="utf-8") as source,
            os.fdopen(descriptor, "w", newline="", encoding="utf-8") as sink,
        ):
            reader = csv.reader(source)
            writer = csv.writer(sink)
            writer.writerow(("file", *next(reader)))
            rows = [(file, *row) for row in reader for file in files.get(row[0], [""])]
            writer.writerows(sorted(rows))
    except OSError as exc:
        raise JobError(f"cannot write {target}: {exc.strerror or exc}") from exc
    return target
