"""The account that runs Spark, the jobs, and everything that touches the storage; its scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mammoctl import role_settings

if TYPE_CHECKING:
    from mammoctl.ssh import Nodes

DEFAULT = "spark"


def account(nodes: Nodes) -> str:
    """Return the name of the account: ``spark_user`` of the inventory, else the role's."""
    return str(role_settings.value(nodes.cluster.vars, "spark_user"))


def scratch(nodes: Nodes) -> str:
    """Return where Spark's scratch files lie on the nodes: ``spark_var_dir``."""
    return str(role_settings.value(nodes.cluster.vars, "spark_var_dir"))
