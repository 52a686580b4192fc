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
  workers: {description: "Name -> C(cores), C(memory_mb) and, where it has some, C(gpus).", type: dict, required: true}
  page: {description: Also the page of a worker which must itself say that it is registered., type: str, default: ""}
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
        elif gpus_of(found) < worker.get("gpus", 0):
            lines.append("%s has %d GPUs, declared are %d" % (name, gpus_of(found), worker["gpus"]))
    return lines


def gpus_of(worker):
    """Return how many GPUs a worker of the master's JSON has registered with (pure)."""
    return len((worker.get("resources") or {}).get("gpu", {}).get("addresses", []))


def problems(get, url, workers, page):
    """Return what is not as it must be, one line each; ``get`` fetches the JSON of a page."""
    try:
        lines = differences(get(url + "/json/"), workers)
    except (OSError, ValueError) as error:
        return ["the master does not answer: %s" % error]
    if lines or not page:
        return lines
    # The master may still count a worker that has just been stopped; its successor knows better.
    try:
        return [] if get(page + "/json/").get("masterurl") else ["the worker at %s has not registered yet" % page]
    except (OSError, ValueError) as error:
        return ["the worker at %s does not answer: %s" % (page, error)]


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "workers": {"type": "dict", "required": True},
            "page": {"type": "str", "default": ""},
            "timeout_s": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False)
    # Never through a proxy that the environment names: the address is on the cluster.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(url):
        """Return the JSON of a page."""
        with opener.open(url, timeout=10) as answer:
            return json.load(answer)

    wanted = module.params
    deadline = time.monotonic() + wanted["timeout_s"]
    while True:
        lines = problems(get, wanted["url"], wanted["workers"], wanted["page"])
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
