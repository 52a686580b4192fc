"""What TensorFlow reads from the environment when it is imported."""

from __future__ import annotations

import os

SETTINGS = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # TensorFlow leaves oneDNN off on processors without AVX-512, where VGG16 is a tenth to a fifth
    # faster with it, too.
    "TF_ENABLE_ONEDNN_OPTS": "1",
}


def prepare() -> None:
    """Set what the user has not; before TensorFlow is imported."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
