#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""systemd units brought into their state, restarted when their files are newer, and awaited."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mammoctl_service
short_description: Start units, restart those whose files changed after their start, wait until they answer
description:
  - A handler that an interrupted run never reached leaves a service with old settings for good. Here the question
    whether to restart is answered by the node, in every run, by comparing times.
author: mammoctl
options:
  state:
    description: What the units must be; disabled is stopped for the next boot, too.
    type: str
    choices: [started, stopped, disabled]
    default: started
  timeout_s: {description: Seconds until every unit must answer., type: int, default: 90}
  units:
    description: The units, in the order of their start (of their stop from the last to the first).
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Name with suffix., type: str, required: true}
      files: {description: What it reads when it starts., type: list, elements: str, default: []}
      reload: {description: Reload instead of restart., type: bool, default: false}
      probe: {description: Fails when the unit has lost its effect., type: list, elements: str, default: []}
      ready: {description: Each HOST:PORT that must accept a connection., type: list, elements: str, default: []}
      check_changed: {description: In check mode only; whether its files would change., type: bool, default: false}
"""

EXAMPLES = r"""
- name: Start the master
  mammoctl_service:
    units:
      - name: spark-master.service
        files: [/etc/spark/spark-env.sh]
        ready: ["10.0.0.1:7077"]
"""

import os
import socket
import time

from ansible.module_utils.basic import AnsibleModule

PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "NeedDaemonReload",
    "StateChangeTimestampMonotonic",
    "NRestarts",
    "Result",
)


def newest_mtime(paths):
    """Return the latest time of change of the paths (links: of the link itself), 0 for none."""
    newest = 0.0
    for path in paths:
        try:
            newest = max(newest, os.lstat(path).st_mtime)
        except OSError:
            continue
    return newest


def is_stale(properties, paths, now, monotonic):
    """Tell whether a unit has run since before one of its files changed (pure but for the files).

    Args:
        properties: what ``systemctl show`` says.
        paths: the unit's files.
        now: seconds since 1970.
        monotonic: seconds of the clock that systemd's time stamps are of.
    """
    stamp = int(properties.get("StateChangeTimestampMonotonic") or 0) / 1e6
    return newest_mtime(paths) > now - (monotonic - stamp)


def answers(address):
    """Tell whether HOST:PORT accepts a connection."""
    host, _sep, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
            return True
    except OSError:
        return False


class Units:
    """The units of one call."""

    def __init__(self, module):
        self.module = module
        self.changed = []

    def systemctl(self, *arguments, check=True):
        """Run systemctl, whose last argument is the unit; fail with that unit's last messages."""
        rc, out, err = self.module.run_command(["systemctl", "--no-ask-password", *arguments])
        if rc and check:
            what = "stop" if arguments[0] in ("stop", "disable") else "start"
            self.fail(arguments[-1], "systemctl %s: %s" % (" ".join(arguments), err.strip()), what)
        return out

    def reload_manager(self):
        """Let systemd read unit files anew."""
        rc, _out, err = self.module.run_command(["systemctl", "--no-ask-password", "daemon-reload"])
        if rc:
            self.module.fail_json(msg="systemd does not read its units anew: %s" % err.strip())

    def show(self, name):
        """Return the properties of a unit."""
        out = self.systemctl("show", "--property", ",".join(PROPERTIES), name, check=False)
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)

    def fail(self, name, reason, what="start"):
        """End with what the unit did not do, the reason, and what it wrote last."""
        _rc, out, _err = self.module.run_command(
            ["journalctl", "--unit", name, "--lines", "25", "--no-pager", "--output", "cat"]
        )
        last = "\n".join(line[:300] for line in out.splitlines() if line.strip())[-3000:]
        message = "%s did not %s: %s\nIts last messages:\n%s\nLook further on the node with: journalctl -u %s"
        self.module.fail_json(msg=message % (name, what, reason, last or "(none)", name))

    def start(self, unit):
        """Enable, start, restart or reload one unit as needed; return whether it must be awaited."""
        name, check = unit["name"], self.module.check_mode
        found = self.show(name)
        active = found.get("ActiveState") in ("active", "reloading")
        actions = []
        if found.get("UnitFileState") != "enabled":
            actions.append("enable")
        if not active:
            actions.append("start")
        elif (
            found.get("NeedDaemonReload") == "yes"
            or is_stale(found, unit["files"], time.time(), time.clock_gettime(time.CLOCK_MONOTONIC))
            or (unit["probe"] and self.module.run_command(unit["probe"])[0])
            or (check and unit["check_changed"])
        ):
            actions.append("reload" if unit["reload"] else "restart")
        if actions:
            self.changed.append("%s: %s" % (name, ", ".join(actions)))
        if not actions or check:
            return bool(actions)
        if found.get("NeedDaemonReload") == "yes" or found.get("LoadState") == "not-found":
            self.reload_manager()
        if not active:
            self.systemctl("reset-failed", name, check=False)
        for action in actions:
            self.systemctl(action, name)
        return True

    def wait(self, unit, deadline):
        """Wait until a unit is active and answers on all its addresses."""
        waiting = list(unit["ready"])
        first = int(self.show(unit["name"]).get("NRestarts") or 0)
        while True:
            found = self.show(unit["name"])
            restarts = int(found.get("NRestarts") or 0) - first
            if found.get("ActiveState") == "failed" or restarts >= 2:
                self.fail(unit["name"], "it ended (%s)" % found.get("Result", "unknown"))
            if found.get("ActiveState") == "active":
                waiting = [address for address in waiting if not answers(address)]
                if not waiting:
                    return
            if time.monotonic() > deadline:
                state = "it is still %s" % found.get("ActiveState", "unknown")
                silent = "nothing answers on %s in time" % ", ".join(waiting)
                self.fail(unit["name"], silent if waiting else state)
            time.sleep(0.3)

    def stop(self, unit, for_good):
        """Stop one unit; for good means that the next boot does not start it either."""
        found = self.show(unit["name"])
        if found.get("LoadState") == "not-found":
            return
        running = found.get("ActiveState") not in ("inactive", "failed")
        enabled = for_good and found.get("UnitFileState") == "enabled"
        if not running and not enabled:
            return
        self.changed.append("%s: %s" % (unit["name"], "disable" if enabled else "stop"))
        if not self.module.check_mode:
            self.systemctl(*(["disable", "--now"] if enabled else ["stop"]), unit["name"])


def main():
    """Run the module."""
    strings = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["started", "stopped", "disabled"],
                "default": "started",
            },
            "timeout_s": {"type": "int", "default": 90},
            "units": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "files": strings,
                    "reload": {"type": "bool", "default": False},
                    "probe": strings,
                    "ready": strings,
                    "check_changed": {"type": "bool", "default": False},
                },
            },
        },
        supports_check_mode=True,
    )
    units = Units(module)
    state = module.params["state"]
    if state != "started":
        for unit in reversed(module.params["units"]):
            units.stop(unit, for_good=state == "disabled")
    else:
        deadline = time.monotonic() + module.params["timeout_s"]
        started = [unit for unit in module.params["units"] if units.start(unit)]
        if not module.check_mode:
            for unit in started:
                units.wait(unit, deadline)
    after = "".join("%s\n" % line for line in units.changed)
    module.exit_json(changed=bool(units.changed), actions=units.changed, diff={"before": "", "after": after})


if __name__ == "__main__":
    main()
