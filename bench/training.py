#!/usr/bin/env python3
"""Cross-validate the training on a folder of images, on local Spark, and print what came out.

    .venv-node/bin/python bench/training.py FOLDER --weights FILE [--variant "OPTIONS"]...

FOLDER has a manifest.csv (docs/data.md). Every variant, options of train.py, is cross-validated
by patient; the first one is the defaults as they are shipped. Features are kept in --work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "app")]


def pack(folder: Path, target: Path) -> None:
    """Pack the images as `mammoctl data push` does, into a local folder."""
    from mammoctl.data.pack import pack as pack_images
    from mammoctl.data.scan import scan_folder

    scan = scan_folder(folder)
    target.mkdir(parents=True)

    @contextmanager
    def opened(name: str) -> Iterator[Any]:
        with (target / name).open("wb") as stream:
            yield stream

    # patients keep their split from run to run: the key decides the pseudonyms
    packed = pack_images(scan.images, b"bench" * 8, opened)
    about = {"name": folder.name, "patient_source": scan.patient_source, "images": packed.images}
    (target / "dataset.json").write_text(json.dumps(about))


def figure(found: dict[str, Any] | None) -> str:
    """Return an AUC with its interval."""
    if not found or found["auc"] is None:
        return "-"
    low, high = found["auc_interval_95"]
    return f"{found['auc']:.3f} ({low:.3f} to {high:.3f})"


def main() -> int:
    """Run all variants."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("bench-training"))
    parser.add_argument("--variant", action="append", default=[])
    parser.add_argument("--folds", type=int, default=5)
    options = parser.parse_args()
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    from mammotrain.cli import main as train

    data = options.work / "data"
    if not (data / "dataset.json").is_file():
        pack(options.folder, data)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores", flush=True)
    for number, variant in enumerate(["", *options.variant]):
        output = options.work / f"result-{number}"
        begin = time.monotonic()
        code = train(
            [
                *("--data", str(data), "--features", str(options.work / "features")),
                *("--weights", str(options.weights), "--output", str(output)),
                *("--folds", str(options.folds), *shlex.split(variant)),
            ]
        )
        if code:
            return code
        metrics = json.loads((output / "metrics.json").read_text())
        found = metrics["cross_validation"]
        baseline = found["metadata_baseline"]
        print(f"\n{variant or 'defaults'}: {time.monotonic() - begin:.0f} s")
        print(f"  image AUC            {figure(found)}")
        print(f"  views averaged       {figure(found['per_breast'])}")
        print(f"  metadata alone       {figure(baseline)}")
        if baseline:
            difference = baseline["model_minus_baseline"]
            low, high = difference["interval_95"]
            gain = difference["difference"]
            print(f"  minus metadata       {gain:+.3f} ({low:+.3f} to {high:+.3f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
