"""Which machine becomes the master, which ones work, and what an executor gets on each."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from mammoctl import paths, role_settings
from mammoctl.errors import UsageError
from mammoctl.init.look import Machine


@dataclass(frozen=True)
class Duty:
    """What a machine will do; ``heap_mb`` is the executor's heap in MiB, 0 where none runs."""

    master: bool
    worker: bool
    heap_mb: int


def choose(machines: Mapping[str, Machine], master: str | None = None) -> dict[str, Duty]:
    """Return the duties of all machines.

    The master is the one with the most memory among those without a GPU (they are worth more as
    workers), the first of equals. It works, too, where its memory is enough for both. What has too
    little for an executor does not work.

    Args:
        machines: by name, in the user's order.
        master: the user's own choice.

    Raises:
        UsageError: there is no such machine, or none could work.
    """
    if master is None:
        without = {n: m for n, m in machines.items() if not m.gpus} or machines
        master = max(without, key=lambda name: without[name].memory_mb)
    elif master not in machines:
        raise UsageError(
            f"the master {master} is none of the hosts", hint=f"choose from {', '.join(machines)}"
        )
    hdfs = len(machines) > 1
    least = _settings()["executor_min"]
    duties = {}
    for name, machine in machines.items():
        heap = _heap(machine.memory_mb, is_master=name == master, hdfs=hdfs)
        duties[name] = Duty(name == master, heap >= least, max(0, heap))
    if not any(duty.worker for duty in duties.values()):
        most = max(machines.values(), key=lambda machine: machine.memory_mb).memory_mb
        raise UsageError(
            f"none of the machines has enough memory for a worker (the largest: {most} MiB)",
            hint="see docs/roles.md, `Memory of a node`",
        )
    return duties


def _heap(memory_mb: int, *, is_master: bool, hdfs: bool) -> int:
    budget = _budget()(
        memory_mb, is_master=is_master, is_worker=True, hdfs=hdfs, settings=_settings()
    )
    return int(budget["executor"])


@cache
def _budget() -> Callable[..., dict[str, int]]:
    """Return the roles' own division of memory: plain Python, it imports nothing of Ansible."""
    path = paths.project_root() / "playbooks" / "plugins" / "filter" / "mammoctl_sizing.py"
    spec = importlib.util.spec_from_file_location("mammoctl_sizing", path)
    assert spec is not None and spec.loader is not None  # noqa: S101  a file of ours
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[..., dict[str, int]] = module.node_budget
    return function


@cache
def _settings() -> dict[str, int]:
    """Return the defaults of the role spark that `_budget` asks for, in MiB."""
    import jinja2

    values = role_settings.defaults("spark")
    templates = jinja2.Environment(autoescape=True)
    templates.filters["bool"] = bool  # Ansible's own, for values that are booleans already

    def number(name: str) -> int:
        value = values[name]
        return int(templates.from_string(value).render(values) if "{{" in str(value) else value)

    reserves = ("system", "daemon", "hdfs", "history", "driver", "python")
    return {name: number(f"spark_reserve_{name}_mb") for name in reserves} | {
        "executor_overhead": number("spark_reserve_executor_mb"),
        "executor_min": number("spark_executor_min_mb"),
        "executor_max": number("spark_executor_max_mb"),
    }
