from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
@dataclass(frozen=True)
class Weights:
    path: Path
    sha256: str
    name: str
