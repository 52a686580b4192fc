"""Which GPUs a task may use: those that Spark has given it, and no other."""

from __future__ import annotations

import os
from typing import Any


def assigned(context: Any) -> dict[str, str]:
    """Return the environment that shows a process the GPUs of its task, and only those.

    Two executors on one machine would else both take all of its GPUs.

    Args:
        context: Spark's `TaskContext`, or None outside of a task.

    Returns:
        CUDA_VISIBLE_DEVICES; empty where Spark hands out no GPUs.
    """
    resources = context.resources() if context is not None else {}
    if "gpu" not in resources:
        return {}
    return {"CUDA_VISIBLE_DEVICES": ",".join(resources["gpu"].addresses)}


def restrict(context: Any) -> None:
    """Show this process the GPUs of its task only; before TensorFlow has been imported."""
    os.environ.update(assigned(context))
