# Copyright (c) the mammoctl authors
# GNU General Public License v3.0 or later: see ../COPYING (this file imports Ansible)
"""Confirms a node's new packet filter over a connection of its own, or waits until the node has taken it back."""

from __future__ import annotations

import time
from contextlib import contextmanager

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

# The first value counts for ssh: neither the shared connection nor its socket is used.
NEW = "-o ControlMaster=no -o ControlPath=none -o ConnectTimeout=10"
CONSOLE = "If it stays silent, on its console: sudo nft delete table inet mammoctl_lockdown"


def _said(result):
    """Return why a module failed, also where it ended by an exception."""
    event = getattr(result.get("exception"), "event", None)
    return str(result.get("msg") or getattr(event, "msg", "no reason given")).strip()


class ActionModule(ActionBase):
    """The control machine's half of the module of the same name."""

    _requires_connection = True
    pause_s = 2.0

    def run(self, tmp=None, task_vars=None):
        """Call the module; what it has loaded is confirmed over a new connection."""
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if arguments.get("state") != "loaded":
            return {**result, **self._call(arguments, task_vars)}
        confirm_s = int(arguments.get("confirm_s", 120))
        # The timer began somewhere in between: it runs between these two.
        earliest = time.monotonic() + confirm_s
        try:
            result.update(self._call(arguments, task_vars))
        except AnsibleConnectionFailure as exc:
            reason = f"the connection was lost while they were loaded: {exc}"
            return self._taken_back(result, time.monotonic() + confirm_s, reason, task_vars)
        latest = time.monotonic() + confirm_s
        if result.get("failed") or not result.get("changed") or self._task.check_mode:
            return result
        reason = "no time was left"
        while time.monotonic() < earliest - self.pause_s:
            try:
                with self._new_connection():
                    confirmed = self._call({"state": "confirmed"}, task_vars)
            except AnsibleConnectionFailure as exc:
                reason = str(exc).strip()
                time.sleep(self.pause_s)
                continue
            if not confirmed.get("failed"):
                return result
            reason = f"it came, and failed there: {_said(confirmed)}"
            break
        return self._taken_back(result, latest, reason, task_vars)

    def _call(self, arguments, task_vars):
        return self._execute_module(module_name="mammoctl_lockdown", module_args=arguments, task_vars=task_vars)

    @contextmanager
    def _new_connection(self):
        """Let what follows go over connections that are made anew: only those meet the new rules."""
        if self._connection.transport != "ssh":
            self._connection.reset()
            yield
            return
        before = self._connection.get_option("ssh_args")
        self._connection.set_option("ssh_args", f"{NEW} {before or ''}")
        try:
            yield
        finally:
            self._connection.set_option("ssh_args", before)

    def _taken_back(self, result, latest, reason, task_vars):
        """Wait until the timer has run, and tell whether the node is as it was."""
        time.sleep(max(0.0, latest - time.monotonic()) + self.pause_s)
        try:
            with self._new_connection():
                self._call({"state": "seen"}, task_vars)
            now = "The node has taken them back, and answers as before."
        except AnsibleConnectionFailure:
            now = f"The node's timer takes them back; it does not answer yet. {CONSOLE}"
        result.update(
            failed=True,
            changed=False,
            diff=[],
            msg=f"The rules of the lock-down were not confirmed over a new SSH connection ({reason}).\n{now}\n"
            "Correct lockdown_ssh_from, lockdown_rules or the way from here to the node, then run the same again.",
        )
        return result
