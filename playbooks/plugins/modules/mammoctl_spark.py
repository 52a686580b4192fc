#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""The master's own account of its workers, compared with the inventory."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mammoctl_spark
short_description: Wait until the declared workers are registered with the declared cores and memory
author: mammoctl
options:
  url: {description: The master's page., type: str, required: true}
  workers: {description: Name -> C(cores) and C(memory_mb)., type: dict, required: true}
  timeout_s: {description: Seconds to wait., type: int, default: 120}
"""

EXAMPLES = r"""
- name: Wait for the workers
  mammoctl_spark:
    url: http://lab1:8080
    workers: {lab1: {cores: 2, memory_mb: 1024}}
"""

import json
import time
import urllib.request

from ansible.module_utils.basic import AnsibleModule


def differences(state, wanted):
    """Return what the master's JSON lacks against ``wanted``, one line each (pure)."""
    alive = {w["host"]: w for w in state.get("workers", []) if w.get("state") == "ALIVE"}
    lines = []
    for name, worker in sorted(wanted.items()):
        found = alive.get(name)
        if found is None:
            lines.append("%s is not registered" % name)
        elif (found["cores"], found["memory"]) != (worker["cores"], worker["memory_mb"]):
            lines.append(
                "%s has %s cores and %s MiB, declared are %s and %s"
                % (name, found["cores"], found["memory"], worker["cores"], worker["memory_mb"])
            )
    return lines


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "workers": {"type": "dict", "required": True},
            "timeout_s": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False)
    # Never through a proxy that the environment names: the address is on the cluster.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + module.params["timeout_s"]
    while True:
        try:
            with opener.open(module.params["url"] + "/json/", timeout=10) as answer:
                lines = differences(json.load(answer), module.params["workers"])
        except (OSError, ValueError) as error:
            lines = ["the master does not answer: %s" % error]
        if not lines:
            module.exit_json(changed=False)
        if time.monotonic() > deadline:
            module.fail_json(
                msg="Not all workers are there: %s. Look at 'journalctl -u spark-worker' on those nodes."
                % "; ".join(lines)
            )
        time.sleep(0.5)


if __name__ == "__main__":
    main()
