"""What a training leaves after each epoch, so that a restarted one goes on instead of beginning."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from mammotrain.dataset import Image
from mammotrain.loop import Arrays, HeadOptions
from mammotrain.storage import Storage

History = dict[str, list[float]]


@dataclass
class Progressed:
    """How far a training has come.

    Attributes:
        epochs: how many are done.
        state: values of model and optimizer.
        history: of these epochs.
        best: values at the best epoch so far, by validation AUC; empty where nobody asked.
        best_epoch: its number, from 1; 0 while there is none.
    """

    epochs: int = 0
    state: Arrays = field(default_factory=dict)
    history: History = field(default_factory=dict)
    best: Arrays = field(default_factory=dict)
    best_epoch: int = 0

    def note(self, state: Arrays, numbers: Mapping[str, float], patience: int) -> None:
        """Take up one more epoch, and remember it if it is the best so far."""
        for name, value in numbers.items():
            self.history.setdefault(name, []).append(value)
        self.epochs, self.state = self.epochs + 1, state
        found = [-1.0 if math.isnan(value) else value for value in self.history.get("val_auc", [])]
        if patience and found and found[-1] > max(found[:-1], default=-1.0):
            self.best, self.best_epoch = state, self.epochs

    def enough(self, epochs: int, patience: int) -> bool:
        """Tell whether all epochs are done, or `patience` of them without a better one."""
        waited = self.epochs - self.best_epoch if self.best_epoch else 0
        return self.epochs >= epochs or bool(patience and waited >= patience)


class Checkpoints:
    """The checkpoint of one training: a file that is replaced after each epoch.

    Args:
        storage: where.
        folder: URI of the folder of all checkpoints of these features.
        identity: `identity` of this training.
    """

    def __init__(self, storage: Storage, folder: str, identity: str) -> None:
        self._storage = storage
        self._uri = f"{folder}/{identity}.npz"

    def load(self) -> Progressed | None:
        """Return what an earlier run of this training has left, if it can be read."""
        data = self._storage.read_bytes(self._uri)
        if data is None:
            return None
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                arrays = {name: file[name] for name in file.files if name != "about"}
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
            return None  # torn or of another version: begin again
        state = {name[6:]: value for name, value in arrays.items() if name.startswith("state.")}
        best = {name[5:]: value for name, value in arrays.items() if name.startswith("best.")}
        return Progressed(about["epochs"], state, about["history"], best, about["best_epoch"])

    def save(self, done: Progressed) -> None:
        """Replace the checkpoint."""
        about = {name: getattr(done, name) for name in ("epochs", "history", "best_epoch")}
        buffer = io.BytesIO()
        np.savez(
            buffer,
            allow_pickle=False,
            about=np.array(json.dumps(about)),
            **{f"state.{name}": value for name, value in done.state.items()},
            **{f"best.{name}": value for name, value in done.best.items()},
        )
        self._storage.write_bytes(self._uri, buffer.getvalue())

    def remove(self) -> None:
        """Remove the checkpoint of a training that has ended."""
        self._storage.remove(self._uri)


def identity(
    key: str, strategy: str, options: HeadOptions, parts: Mapping[str, Sequence[Image]]
) -> str:
    """Return a name for a training that depends on all that decides its outcome."""
    settings = asdict(options)
    rows = {
        part: [(image.sha256, image.label) for image in images] for part, images in parts.items()
    }
    text = json.dumps([key, strategy, settings, rows], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
