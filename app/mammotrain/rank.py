"""One rank of synchronous training, as a process: `python -m mammotrain.rank FOLDER`.

The environment's TF_CONFIG names all ranks; the folder holds `job.json`, `data.npz` and
`state.npz`, and gets `result.npz`. It says so on standard output and ends when standard input does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from pathlib import Path

import numpy as np

from mammotrain.loop import HeadOptions, Rank, Trainer
from mammotrain.sync import unpacked


def _end_with_parent() -> None:
    """End when standard input does: a rank must not wait for ranks of a stage that is gone."""
    sys.stdin.buffer.read()
    os._exit(0)  # the collectives' threads would wait for the other ranks


def main(folder: Path) -> None:
    """Train the epochs of the job and write the values after each."""
    # Before anything of TensorFlow runs: the collectives are part of its start.
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    import keras

    from mammotrain.head import build_head

    job = json.loads((folder / "job.json").read_text())
    data = unpacked((folder / "data.npz").read_bytes())
    options = HeadOptions(**job["options"])
    keras.utils.set_random_seed(options.seed)
    tf.config.experimental.enable_op_determinism()
    with strategy.scope():
        model = build_head(data["x"], options)
    rank = Rank(int(job["rank"]), len(job["addresses"]))
    trainer = Trainer(model, (data["x"], data["y"]), options, rank, strategy)
    trainer.load(unpacked((folder / "state.npz").read_bytes()))
    results = {}
    for place, epoch in enumerate(job["epochs"]):
        trainer.epoch(epoch)
        results.update({f"{place}/{name}": value for name, value in trainer.state().items()})
    np.savez(folder / "result.npz", allow_pickle=False, **results)


if __name__ == "__main__":
    watch = threading.Thread(target=_end_with_parent, daemon=True)
    watch.start()
    try:
        main(Path(sys.argv[1]))
    except Exception as error:
        traceback.print_exc()
        sys.stderr.write(f"{type(error).__name__}: {str(error).splitlines()[0][:200]}\n")
        sys.stderr.flush()
        os._exit(1)  # at once: TensorFlow's own threads would wait, then abort with noise
    sys.stdout.write("done\n")
    sys.stdout.flush()
    watch.join()  # the others may still have to hear from this one
