"""A cluster at one moment: what was asked of it, what it answered, what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mammoctl.status import master

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.errors import MammoctlError
    from mammoctl.findings import Finding
    from mammoctl.inventory import Cluster
    from mammoctl.spark_master import MasterState
    from mammoctl.status.node import NodeState


@dataclass
class ClusterState:
    """A cluster at one moment.

    Attributes:
        nodes: by name, in the inventory's order; for a silent node the reason.
        record: the ``cluster.json`` of the master, or of another node where it is silent.
        unanswered: of ``spark hdfs jobs``, what the master was asked in vain, with the reason.
        seconds: from the first question to the last answer.
    """

    cluster: Cluster
    at: float
    nodes: dict[str, NodeState | MammoctlError]
    record: ClusterFile | None = None
    spark: MasterState | None = None
    hdfs: master.Hdfs | None = None
    jobs: list[master.Job] | None = None
    unanswered: dict[str, MammoctlError] = field(default_factory=dict)
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    @property
    def applications(self) -> list[master.Application]:
        """The running Spark applications, as far as the Spark master answers."""
        return master.applications(self.spark) if self.spark else []

    @property
    def ok(self) -> bool:
        """Tell whether all is as it should be."""
        return not any(finding.grave for finding in self.findings)
