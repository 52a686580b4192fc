"""A cluster's state on one screen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mammoctl import findings
from mammoctl.columns import Column, grid
from mammoctl.status.judge import LOCKDOWN, duties
from mammoctl.status.node import KEPT, NodeState

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mammoctl.status.master import Job
    from mammoctl.status.state import ClusterState

_GIB = 1024


def headline(state: ClusterState) -> str:
    """Say in one line whether all is well, how many nodes answer, and when that was."""
    up = sum(isinstance(seen, NodeState) for seen in state.nodes.values())
    grave = sum(finding.grave for finding in state.findings)
    well = "all is well" if not grave else f"{grave} thing{'s' * (grave > 1)} to mend"
    when = time.strftime("%H:%M:%S", time.localtime(state.at))
    return (
        f"{state.cluster.name}: {well}; {up} of {len(state.nodes)} nodes answer "
        f"({when}, {state.seconds:.1f} s)"
    )


def summary(state: ClusterState) -> list[str]:
    """Say in a line each what Spark and HDFS have and use."""
    lines = []
    spark, record = state.spark, state.record
    if spark:
        alive = spark.alive
        cores, used = sum(w.cores for w in alive), sum(w.cores_used for w in alive)
        memory = sum(w.memory_mb for w in alive)
        memory_used = sum(w.memory_used_mb for w in alive)
        declared = len(record.workers) if record else len(alive)
        version = f" {record.spark_version}" if record else ""
        lines.append(
            f"Spark{version}: {spark.status.lower()}, {len(alive)} of {declared} workers, "
            f"{used} of {cores} cores and {_share(memory_used, memory)} GiB in use"
        )
    elif "spark" in state.unanswered:
        lines.append("Spark: the master does not answer")
    hdfs = state.hdfs
    if hdfs:
        live, known = len(hdfs.live), len(hdfs.live) + len(hdfs.dead)
        declared = len(record.workers) if record else known
        safe = ", safe mode" if hdfs.safe_mode else ""
        lines.append(
            f"HDFS: {live} of {declared} DataNodes, {hdfs.used / 2**30:.1f} of "
            f"{hdfs.capacity / 2**30:.1f} GiB used, {hdfs.free / 2**30:.1f} free{safe}"
        )
    elif "hdfs" in state.unanswered:
        lines.append("HDFS: the NameNode does not answer")
    return lines


def columns(state: ClusterState) -> list[Column]:
    """Return the table of nodes, one cell per node and column."""
    workers = {}
    if state.spark:
        workers = {worker.host: worker for worker in state.spark.alive}
    titles = ("node", "duty", "state", "services", "cores", "load", "memory GiB", "disk", "GPU")
    spare = (0, 3, 0, 0, 2, 4, 1, 1, 2)
    rows = []
    for name, seen in state.nodes.items():
        duty = _duty(state, name)
        if not isinstance(seen, NodeState):
            rows.append((name, duty, "no answer", "?", "", "", "", "", ""))
            continue
        worker = workers.get(name) or workers.get(state.cluster.hosts[name].address)
        cores = f"{worker.cores_used} of {worker.cores}" if worker else f"- of {seen.cores}"
        rows.append(
            (
                name,
                duty,
                f"up {_span(seen.uptime_s)}",
                _services(name, seen),
                cores,
                f"{seen.load:.1f}",
                _share(seen.memory_used_mb, seen.memory_mb),
                _fullest(seen),
                _gpu(seen),
            )
        )
    cells = [list(column) for column in zip(*rows, strict=True)]
    table = [Column(*parts) for parts in zip(titles, cells, spare, strict=True)]
    return [c for c in table if c.title != "GPU" or any(cell.strip("-") for cell in c.cells)]


def view(state: ClusterState, width: int | None) -> RenderableType:
    """Return the whole screen for a terminal of ``width`` columns; None where there is none."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(headline(state), style="bold" if state.ok else "bold red")]
    parts += [Text(line) for line in summary(state)]
    parts += ["", grid(columns(state), width, _STYLES)]
    if state.applications:
        parts += ["", grid(_applications(state), width, _STYLES)]
    if state.jobs:
        parts += ["", grid(_jobs(state.jobs), width, _STYLES)]
    if state.findings:
        parts += ["", *(Text(line) for line in findings.lines(state.findings))]
    return Group(*parts)


_STYLES = {
    "no": "bold red",
    "failed": "bold red",
    "stopped": "yellow",
    "queued": "yellow",
    "lost": "bold red",
}


def _duty(state: ClusterState, name: str) -> str:
    cluster = state.cluster
    worker = cluster.hosts[name] in cluster.workers
    return "+".join(["master"] * (name == cluster.master.name) + ["worker"] * worker)


def _services(name: str, seen: NodeState) -> str:
    if seen.record is None:
        return "half provisioned" if seen.installed else "not provisioned"
    wanted = duties(seen.record, name, locked=LOCKDOWN in seen.units)
    states = {unit: seen.units[unit] for unit in wanted if unit in seen.units}
    failed = [u for u, s in states.items() if s.active == "failed" or s.sub == "auto-restart"]
    running = [unit for unit, found in states.items() if found.active == "active"]
    if failed:
        return f"failed {', '.join(failed)}"
    if len(running) == len(wanted):
        return f"{len(wanted)} running"
    off = [unit for unit in wanted if unit not in running and unit not in KEPT]
    return f"stopped {', '.join(off)}" if len(off) < 3 else f"stopped {len(off)} of {len(wanted)}"


def _fullest(seen: NodeState) -> str:
    if not seen.disks:
        return ""
    disk = max(seen.disks, key=lambda one: one.percent)
    return f"{disk.percent} % {disk.path}"


def _gpu(seen: NodeState) -> str:
    if seen.gpus:
        return "; ".join(
            f"{gpu.used_percent} %, {_share(gpu.memory_used_mb, gpu.memory_mb)} GiB"
            for gpu in seen.gpus
        )
    return "no driver" if seen.cards else "-"


def _share(used_mb: float, all_mb: float) -> str:
    return f"{used_mb / _GIB:.1f} of {all_mb / _GIB:.1f}"


def _span(seconds: float) -> str:
    """Return a length of time in its two-digit unit: 45 s, 12 min, 30 h, 5 d."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _applications(state: ClusterState) -> list[Column]:
    apps = state.applications
    return [
        Column("application", [app.name for app in apps], 0),
        Column("state", [app.state.lower() for app in apps], 0),
        Column("cores", [str(app.cores) for app in apps], 0),
        Column("memory of each", [f"{app.memory_mb} MiB" for app in apps], 1),
        Column("for", [_span(app.seconds) for app in apps], 1),
    ]


def _jobs(jobs: list[Job]) -> list[Column]:
    def when(seconds: float | None) -> str:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else ""

    def took(job: Job) -> str:
        if not job.started_at:
            return ""
        return _span((job.finished_at or time.time()) - job.started_at)

    return [
        Column("job", [job.id for job in jobs], 0),
        Column("state", [job.state for job in jobs], 0),
        Column("data", [job.data for job in jobs], 2),
        Column("submitted", [when(job.submitted_at) for job in jobs], 1),
        Column("took", [took(job) for job in jobs], 1),
    ]
