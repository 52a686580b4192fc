# Copyright (c) the mammoctl authors
# GNU General Public License v3.0 or later: see ../COPYING (this file imports Ansible)
"""Collects what speaks against a host; each role adds its checks, the last call fails once."""

from __future__ import annotations

from ansible.plugins.action import ActionBase

FACT = "mammoctl_problems"


def problems(checks):
    """Return a line for each check that is not ok: what was seen, what is needed, the mend."""
    return [f"{check['seen']}; needed: {check['needed']}. {check['mend']}" for check in checks if not check["ok"]]


class ActionModule(ActionBase):
    """Runs on the control machine alone: nothing is sent to the host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset({"checks", "report", "warnings"})

    def run(self, tmp=None, task_vars=None):
        """Add the problems found by ``checks``; with ``report`` fail when there are any; ``warnings`` only show."""
        result = super().run(tmp, task_vars)
        known = list(task_vars.get("ansible_facts", {}).get(FACT, []))
        found = problems(self._task.args.get("checks") or [])
        known += [line for line in found if line not in known]
        result["changed"] = False
        if self._task.args.get("warnings"):
            result["warnings"] = list(self._task.args["warnings"])
        if self._task.args.get("report") and known:
            result["failed"] = True
            result["problems"] = known
            count = f"{len(known)} thing{'s' if len(known) > 1 else ''}"
            result["msg"] = "\n".join([f"{count} to mend first:", *known])
            return result
        if found:
            result["ansible_facts"] = {FACT: known}
        return result
