"""Everything a node needs, resolved once on the control machine into a content-addressed store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mammoctl.bundle.model import Artifact, Bundle, Target
from mammoctl.bundle.sources import Sources
from mammoctl.bundle.weights import Weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mammoctl.bundle.store import Store

__all__ = ["Artifact", "Bundle", "Sources", "Target", "Weights", "ensure_bundle", "ensure_weights"]


def ensure_bundle(
    target: Target,
    *,
    progress: bool = True,
    store: Store | None = None,
    mirrors: Mapping[str, str] | None = None,
    update_packages: bool = False,
) -> Bundle:
    """Return the bundle for ``target``; see :func:`mammoctl.bundle.resolve.ensure_bundle`."""
    from mammoctl.bundle import resolve

    return resolve.ensure_bundle(
        target, progress=progress, store=store, mirrors=mirrors, update_packages=update_packages
    )


def ensure_weights(
    source: str | Path,
    backbone: str,
    sha256: str | None = None,
    *,
    progress: bool = True,
    store: Store | None = None,
) -> Weights | None:
    """Return checked weights; see :func:`mammoctl.bundle.weights.ensure_weights`."""
    from mammoctl.bundle import weights

    return weights.ensure_weights(source, backbone, sha256, progress=progress, store=store)
