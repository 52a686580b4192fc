# SPDX-License-Identifier: Apache-2.0
"""How a node's memory is divided among Spark, HDFS, the driver and the Python workers."""

from __future__ import annotations

import re


def node_budget(memory_mb, *, is_master, is_worker, hdfs, settings):
    """Return how one node's memory is divided, in MiB.

    Args:
        memory_mb: the node's memory.
        is_master: the master, the driver of a job and the NameNode run here.
        is_worker: a worker and its executor run here.
        hdfs: HDFS runs on the cluster.
        settings: ``system daemon hdfs history driver python executor_overhead executor_max`` in MiB.

    Returns:
        ``reserved`` (all but the executor and its Python worker) and ``executor``, the heap that is left;
        it is below ``settings['executor_min']`` when the node is too small.
    """
    settings = {name: int(value) for name, value in settings.items()}
    reserved = settings["system"]
    if is_master:
        reserved += settings["daemon"] + settings["driver"] + (settings["hdfs"] if hdfs else 0)
        reserved += settings["history"]
    if is_worker:
        reserved += settings["daemon"] + (settings["hdfs"] if hdfs else 0)
        reserved += settings["python"] + settings["executor_overhead"]
    left = int(memory_mb) - reserved
    return {"reserved": reserved, "executor": min(left, settings["executor_max"])}


def cluster_sizing(hostvars, nodes, hdfs, settings):
    """Return what each worker registers with and what an executor gets.

    Args:
        hostvars: name -> variables; read are ``mammoctl_node_memory_mb``, ``mammoctl_node_cores``,
            ``mammoctl_is_master``, ``mammoctl_is_worker`` and, when set, ``mammoctl_gpus`` and
            ``spark_worker_memory_mb``.
        nodes: names of the cluster's hosts.
        hdfs: HDFS runs on the cluster.
        settings: see ``node_budget``.

    Returns:
        ``workers``: name -> ``{cores, memory_mb}``, and ``gpus`` where there are some; ``executor``: the
        ``cores``, ``memory_mb`` and, where every worker has some, ``gpus`` that fit every worker, so that a job runs
        one executor on each.
    """
    workers = {}
    for name in nodes:
        node = hostvars[name]
        if not node["mammoctl_is_worker"]:
            continue
        budget = node_budget(
            node["mammoctl_node_memory_mb"],
            is_master=node["mammoctl_is_master"],
            is_worker=True,
            hdfs=hdfs,
            settings=settings,
        )
        memory = node.get("spark_worker_memory_mb") or max(budget["executor"], int(settings["executor_min"]))
        workers[name] = {"cores": int(node["mammoctl_node_cores"]), "memory_mb": int(memory)}
        if int(node.get("mammoctl_gpus") or 0):
            workers[name]["gpus"] = int(node["mammoctl_gpus"])
    executor = {
        "cores": min(worker["cores"] for worker in workers.values()),
        "memory_mb": min(worker["memory_mb"] for worker in workers.values()),
    }
    gpus = min(worker.get("gpus", 0) for worker in workers.values())
    if gpus:
        executor["gpus"] = gpus
    return {"workers": workers, "executor": executor}


def no_sizes(variables, names):
    """Return 'NAME is VALUE' for each variable among ``names`` that is set, and is no whole number above 0."""
    set_ones = [(name, variables[name]) for name in names if name in variables]
    return [
        f"{name} is {value!r}"
        for name, value in set_ones
        if isinstance(value, bool) or not re.fullmatch(r"0*[1-9][0-9]*", str(value).strip())
    ]


class FilterModule:
    """The filters of this file."""

    def filters(self):
        """Return name -> function."""
        return {
            "mammoctl_node_budget": node_budget,
            "mammoctl_cluster_sizing": cluster_sizing,
            "mammoctl_no_sizes": no_sizes,
        }
