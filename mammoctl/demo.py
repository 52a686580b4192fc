"""The demonstration: from three bare machines to a trained classifier, timed stage by stage."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mammoctl import cluster as clusters
from mammoctl import console, paths
from mammoctl import inventory as inventories
from mammoctl.errors import BundleError, DataError, MammoctlError
from mammoctl.jobs import known, launch, submit
from mammoctl.jobs.results import metric_rows, node_rows, timing_rows
from mammoctl.jobs.watch import Outcome, watch
from mammoctl.ssh import Nodes

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile
    from mammoctl.data.model import Scan

WITHOUT_WEIGHTS = "no pretrained weights: THE PREDICTIONS MEAN NOTHING, the timings hold"


@dataclass
class Demo:
    """One run of the demonstration.

    Attributes:
        lab: name of the lab.
        subnet: its network, None for the usual one.
        data: folder of images, None for phantoms.
        patient_pattern: as for `mammoctl data push`.
        request: what to train.
        into: folder of the results.
    """

    lab: str
    subnet: str | None
    data: Path | None
    patient_pattern: str | None
    request: submit.Request
    into: Path
    stages: list[tuple[str, float]] = field(default_factory=list)

    def run(self) -> Outcome:
        """Do everything and close with the table.

        Raises:
            MammoctlError: a stage failed; the next run goes on from what is there.
        """
        begin = time.monotonic()
        # what can fail at once must not fail after minutes of work
        scan = self._scan()
        with self._stage("weights"):
            self._weights()
        with self._stage("lab up"):
            self._lab()
        with self._stage("provision"):
            self._command("provision", yes=True)
        with self._stage("verify"):
            self._command("verify")
        with Nodes(inventories.load(self.lab)) as nodes:
            deployment = clusters.read(nodes)
            with self._stage("data push"):
                name = self._push(nodes, deployment, scan)
            with self._stage("train and fetch"):
                request = replace(self.request, data=name)
                spec = submit.prepare(nodes, deployment, request)
                launch.start(nodes, deployment, spec)
                outcome = watch(nodes, spec.id, self.into)
                if outcome.exit_code:
                    for line in known.log_tail(nodes, spec.id, 25):
                        console.note(f"  | {line}")
        self._table(deployment, outcome, time.monotonic() - begin)
        return outcome

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        console.step(f"demo: {name}")
        begin = time.monotonic()
        yield
        self.stages.append((name, time.monotonic() - begin))

    def _scan(self) -> Scan:
        from mammoctl.data.scan import scan_folder
        from mammoctl.data.synthetic import synthesize

        folder = self.data
        if folder is None:
            folder = paths.cache_dir() / "phantoms"
            with self._stage("phantoms"):
                try:
                    synthesize(folder)
                except DataError as exc:  # made by another version: only ever ours, so say how
                    raise DataError(exc.message, hint=f"rm -r {folder}") from exc
        scan = scan_folder(folder, patient_pattern=self.patient_pattern)
        for warning in scan.warnings:
            console.warn(warning)
        return scan

    def _weights(self) -> None:
        """Check the weights; only ImageNet's, which nobody gave, may be done without."""
        from mammoctl.bundle import ensure_weights

        try:
            ensure_weights(self.request.weights, self.request.backbone)
        except BundleError as exc:
            if self.request.weights != "imagenet":
                raise
            console.warn(f"{exc.message}; going on without: the predictions will mean nothing")
            self.request = replace(self.request, weights="none")

    def _lab(self) -> None:
        from mammoctl.commands import lab

        lab.up(name=self.lab, subnet=self.subnet)

    def _command(self, verb: str, **options: object) -> None:
        """Run another command on the lab; its own table is shown as it is."""
        import importlib

        module = importlib.import_module(f"mammoctl.commands.{verb}")
        try:
            getattr(module, verb)(inventory=self.lab, **options)
        except typer.Exit as exc:
            if exc.exit_code:
                raise MammoctlError(
                    f"`mammoctl {verb} -i {self.lab}` found something wrong; it is shown above",
                    hint="run the same command again after mending it, or start over with "
                    f"`mammoctl lab down --name {self.lab}`",
                ) from exc

    def _push(self, nodes: Nodes, deployment: ClusterFile, scan: Scan) -> str:
        from mammoctl.data.push import push

        source = "phantoms" if self.data is None else self.data.resolve().name
        name = "demo-" + (re.sub(r"[^a-z0-9]+", "-", source.lower()).strip("-")[:40] or "data")
        with console.progress(transfer=True) as bars:
            task = bars.add_task(f"pushing {name}", total=scan.size)
            pushed = push(
                nodes,
                deployment,
                scan,
                name,
                overwrite=True,
                advance=lambda count: bars.advance(task, count),
            )
        about = pushed.description
        console.note(f"    {about.get('images')} images, {pushed.seconds:.1f} s")
        return name

    def _table(self, deployment: ClusterFile, outcome: Outcome, seconds: float) -> None:
        results = outcome.results
        timings = results.timings if results else {}
        workers = deployment.workers
        cores = sum(worker.cores for worker in workers.values())
        memory = sum(worker.memory_mb for worker in workers.values())
        rows: list[tuple[str, str, str]] = []
        for name, taken in self.stages:
            rows.append(("stage", name, f"{taken:.1f} s"))
            if name == "train and fetch":
                rows += [("", f"  {part}", value) for part, value in timing_rows(timings)]
        rows.append(("stage", "all", f"{seconds:.1f} s"))
        rows.append(
            (
                "cluster",
                deployment.cluster,
                f"master {deployment.master.host}; {len(workers)} workers ({', '.join(workers)}), "
                f"{cores} cores, {memory} MiB for executors",
            )
        )
        rows.append(
            (
                "",
                "software",
                f"Spark {deployment.spark_version}, "
                f"Python {deployment.python_version}, storage {deployment.storage.kind}",
            )
        )
        rows += [("node", name, value) for name, value in node_rows(timings)]
        metrics = results.metrics if results else {}
        rows += [("metric", name, value) for name, value in metric_rows(metrics)]
        if self.request.weights == "none":
            rows.append(("metric", "NOTE", WITHOUT_WEIGHTS))
        elif self.data is None:
            rows.append(("metric", "note", "on synthetic phantoms, which are easy"))
        rows.append(("job", outcome.job, outcome.state["state"]))
        if results:
            rows.append(("files", ", ".join(sorted(results.files)), f"in {results.folder}"))
        console.table("demo", ("", "what", "value"), rows)
        console.note(
            f"the lab {self.lab!r} stays up; `mammoctl lab down --name {self.lab}` removes it"
        )
