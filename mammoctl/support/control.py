"""What a support bundle takes from the control machine: versions, inventory, logs of runs."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mammoctl import __version__, paths
from mammoctl.redaction import REMOVED

if TYPE_CHECKING:
    from mammoctl.inventory import Cluster

LOGS = 5
"""Logs of runs that are taken, the newest."""

LOG_BYTES = 4_000_000
"""The most of a log that is taken: its end."""

_DISTRIBUTIONS = (
    "ansible-core", "cryptography", "fabric", "httpx", "invoke", "jinja2", "paramiko", "pyarrow",
    "pydantic", "pydicom", "pytest", "pytest-testinfra", "pyyaml", "rich", "typer", "uv",
)  # fmt: skip
_VARIABLES = ("group_vars", "host_vars")
_YAML = (".yml", ".yaml", ".json", "")
_VAULT = "$ANSIBLE_VAULT"


def versions() -> dict[str, Any]:
    """Return what this machine runs: mammoctl, its libraries, Python, system, SSH client."""
    from importlib import metadata

    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        system = ""
    return {
        "mammoctl": __version__,
        "installed_as": "checkout" if paths.in_checkout() else "package",
        "commit": _said("git", "-C", str(paths.project_root()), "rev-parse", "HEAD")
        if paths.in_checkout()
        else None,
        "python": platform.python_version(),
        "system": system or platform.system(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "openssh": _said("ssh", "-V"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "libraries": {name: version(name) for name in _DISTRIBUTIONS},
    }


def _said(*argv: str) -> str | None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (done.stdout or done.stderr).strip() or None if done.returncode == 0 else None


def inventory(cluster: Cluster) -> Iterator[tuple[str, str, Any]]:
    """Yield path, description and content of each file that describes the cluster.

    The content is a mapping or a list, as YAML has it, else text; never comments, as those may say
    anything. Programs, keys, known hosts and the folder of secrets are no part of it. Secrets are
    still in what is yielded.
    """
    for path in _files(cluster):
        try:
            relative = path.relative_to(cluster.path)
        except ValueError:
            relative = Path(path.name)
        what = "of the inventory, without comments, secrets removed"
        yield f"inventory/{relative}", what, _described(path)


def _files(cluster: Cluster) -> list[Path]:
    found = [cluster.source]
    for name in _VARIABLES:
        folder = cluster.path / name
        found += sorted(path for path in folder.rglob("*") if path.is_file())
    # editors' copies and hidden files are not read by Ansible either
    return [path for path in found if not path.name.startswith(".") and path.name[-1:] != "~"]


def _described(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as exc:
        return f"not taken: {exc.strerror}\n"
    if text.startswith(_VAULT):
        return f"{REMOVED}: encrypted as a whole\n"
    if text.startswith("#!"):
        return "not taken: a program\n"
    if path.suffix in _YAML:
        try:
            value = yaml.load(text, Loader=_Plain)  # noqa: S506  makes plain values alone
        except yaml.YAMLError:
            value = None
        if isinstance(value, dict | list):
            return value
    kept = [line for line in text.splitlines() if not re.match(r"\s*[#;]", line)]
    return "\n".join(kept) + "\n"


class _Plain(yaml.SafeLoader):
    """Reads tags of Ansible as well; what is encrypted stays unseen."""


def _tagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if suffix.startswith("vault"):
        return REMOVED
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return str(getattr(node, "value", ""))


yaml.add_multi_constructor("!", _tagged, Loader=_Plain)


def run_logs(cluster: Cluster, newest: int = LOGS) -> list[Path]:
    """Return the logs of the newest runs on a cluster, the newest last."""
    pattern = re.compile(rf"\d{{8}}-\d{{6}}-\d+-\w+-{re.escape(cluster.name)}\.ansible\.log")
    found = [path for path in paths.log_dir().iterdir() if pattern.fullmatch(path.name)]
    return sorted(found)[-newest:]


def tail(path: Path, most: int = LOG_BYTES) -> str:
    """Return the end of a text file, from the beginning of a line on."""
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - most))
        data = stream.read()
    if size > most:
        data = b"[...]\n" + data.partition(b"\n")[2]
    return data.decode(errors="replace")


def jobs(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return of each job its name, kind, state and times, not what it was given or has said.

    Args:
        found: as `mammoctl.jobs.known.list_jobs` returns them.
    """
    keys = (
        "state", "reason", "exit_code", "service_result", "attempt", "submitted_at", "queued_at",
        "started_at", "finished_at",
    )  # fmt: skip
    told = []
    for one in found:
        spec, state = one["spec"], one["state"]
        about = {"id": spec.get("id"), "kind": spec.get("kind"), "needs": spec.get("needs")}
        told.append(about | {key: state.get(key) for key in keys})
    return told
