"""The account that runs Spark, the jobs, and everything that touches the storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mammoctl.ssh import Nodes

DEFAULT = "spark"


def account(nodes: Nodes) -> str:
    """Return the name of the account: ``spark_user`` of the inventory, else ``spark``."""
    return str(nodes.cluster.vars.get("spark_user") or DEFAULT)
