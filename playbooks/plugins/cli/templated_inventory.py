#!/usr/bin/env python3
# Copyright: the mammoctl authors
# GNU General Public License v3.0 or later (see ../COPYING)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ``ansible-inventory`` with the hosts' variables templated.

``ansible-inventory --list`` prints ``{{ inventory_dir }}`` as it stands in the file. This program
takes the same arguments and prints the same document with those values resolved, as a task would
see them. A value that needs what only a running play knows (facts) stays as it is written.
It is a program of its own, run as one: it imports Ansible and so carries Ansible's licence.
"""

from __future__ import annotations

import json
import sys

from ansible.cli.inventory import InventoryCLI
from ansible.errors import AnsibleError
from ansible.template import Templar
from ansible.vars.hostvars import HostVars


class TemplatedInventory(InventoryCLI):
    """``ansible-inventory`` whose host variables are final values."""

    def _play_prereqs(self):
        loader, inventory, manager = super()._play_prereqs()
        HostVars(inventory=inventory, variable_manager=manager, loader=loader)  # for `hostvars`
        return loader, inventory, manager

    def _get_host_variables(self, host):
        raw = super()._get_host_variables(host)
        templar = Templar(loader=self.loader, variables=self.vm.get_vars(host=host, stage="all"))
        return {name: self._final(templar, value) for name, value in raw.items()}

    @staticmethod
    def dump(stuff):
        """Print plain JSON."""
        # Ansible's own encoder wraps templated text as "unsafe", which only Ansible can unwrap.
        return json.dumps(stuff, default=str, sort_keys=True)

    @staticmethod
    def _final(templar, value):
        try:
            return templar.template(value)
        except AnsibleError:
            return value


if __name__ == "__main__":
    TemplatedInventory.cli_executor(["ansible-inventory", *sys.argv[1:]])
