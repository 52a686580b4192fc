"""The options of ``spark-submit``, and the settings of Spark that follow from them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mammoctl.errors import UsageError
from mammoctl.jobs.cargo import LISTS
from mammoctl.jobs.job import memory_mb

if TYPE_CHECKING:
    from mammoctl.cluster import ClusterFile

# Set from what is known of the cluster, or a secret that has no place on a command line.
_NOT_OURS_TO_GIVE = re.compile(
    r"spark\.(master|submit\.deployMode|authenticate.*|driver\.(host|bindAddress)|app\.name)"
)


@dataclass(frozen=True, slots=True)
class Options:
    """What the user gave of ``spark-submit``'s options; see `mammoctl submit --help`."""

    conf: Sequence[str] = ()
    properties_file: Path | None = None
    lists: Mapping[str, str | None] = field(default_factory=dict)
    main_class: str | None = None
    driver_memory: str | None = None
    executor_memory: str | None = None
    executor_cores: int | None = None
    total_executor_cores: int | None = None
    num_executors: int | None = None

    def given(self) -> list[str]:
        """Return the names of the options that are for programs of one's own alone."""
        names = [f"--{name}" for name in LISTS if self.lists.get(name)]
        return [*names, *(["--class"] if self.main_class else [])]


def asked(options: Options) -> dict[str, str]:
    """Return the settings of Spark that options and files ask for; no cluster is needed.

    A later source wins, as for ``spark-submit``: the properties file, then ``--conf``, then the
    options that have names of their own.

    Raises:
        UsageError: the file cannot be read, or a setting is malformed or not the user's to give.
    """
    conf: dict[str, str] = {}
    if options.properties_file:
        conf.update(_properties(options.properties_file))
    for word in options.conf:
        key, separator, value = word.partition("=")
        if not separator or not key.strip():
            raise UsageError(f"--conf {word}: no value", hint="write it as --conf NAME=VALUE")
        conf[key.strip()] = value
    for key, given in {
        "spark.driver.memory": options.driver_memory,
        "spark.executor.memory": options.executor_memory,
        "spark.executor.cores": options.executor_cores,
        "spark.cores.max": options.total_executor_cores,
    }.items():
        if given is not None:
            conf[key] = str(given)
    for key in conf:
        if not key.startswith("spark."):
            raise UsageError(f"{key} is no setting of Spark", hint="their names begin with spark.")
        if _NOT_OURS_TO_GIVE.fullmatch(key):
            raise UsageError(
                f"{key} cannot be given to a job", hint="`mammoctl submit` sets it for the cluster"
            )
    return conf


def settings(options: Options, deployment: ClusterFile) -> dict[str, str]:
    """Return the settings of `asked`, checked against the cluster.

    Raises:
        UsageError: as there; or they ask for more than any worker has.
    """
    conf = asked(options)
    cores = _number(conf, "spark.executor.cores", deployment.executor.cores)
    if options.num_executors:
        if "spark.cores.max" in conf:
            raise UsageError(
                "--num-executors beside a total number of cores", hint="leave one of them out"
            )
        conf["spark.cores.max"] = str(options.num_executors * cores)
    total = _number(conf, "spark.cores.max", cores)
    if total < cores:
        if "spark.executor.cores" in conf:
            raise UsageError(
                f"{total} cores in all are fewer than the {cores} of one executor",
                hint="give --executor-cores and --total-executor-cores that fit each other",
            )
        conf["spark.executor.cores"] = str(total)
        cores = total
    _fits(deployment, cores, memory_mb(conf.get("spark.executor.memory", "1m")))
    memory_mb(conf.get("spark.driver.memory", "1m"))
    return conf


def _number(conf: Mapping[str, str], key: str, default: int) -> int:
    text = conf.get(key, str(default))
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"{key}={text}: not a number from 1")
    return int(text)


def _fits(deployment: ClusterFile, cores: int, memory: int) -> None:
    """Refuse what would wait for ever."""
    workers = deployment.workers
    if any(w.cores >= cores and w.memory_mb >= memory for w in workers.values()):
        return
    raise UsageError(
        f"no worker has {cores} cores and {memory} MiB for an executor",
        details=[f"{name}: {w.cores} cores, {w.memory_mb} MiB" for name, w in workers.items()],
        hint="give a smaller --executor-cores or --executor-memory",
    )


def _properties(path: Path) -> dict[str, str]:
    """Read a file like ``spark-defaults.conf``."""
    try:
        lines = path.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"cannot read --properties-file {path}: {exc}") from exc
    found = {}
    for line in lines:
        text = line.strip()
        if text and not text.startswith(("#", "!")):
            key, _, value = re.sub(r"\s*[=:\s]\s*", "\0", text, count=1).partition("\0")
            found[key] = value
    return found
