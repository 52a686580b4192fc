"""SSH to the nodes of a cluster: one strict known_hosts, every host's outcome, clear errors."""

from mammoctl.ssh.commands import Result, require_all
from mammoctl.ssh.config import ssh_config
from mammoctl.ssh.nodes import Nodes

__all__ = ["Nodes", "Result", "require_all", "ssh_config"]
