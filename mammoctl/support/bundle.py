"""Collect a support bundle: this machine, the cluster as a whole, every node; then write it."""

from __future__ import annotations

import getpass
import platform
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammoctl import become
from mammoctl.errors import Interrupted, MammoctlError, NoRoot, RemoteError
from mammoctl.pseudonyms import Pseudonyms
from mammoctl.redaction import Redactor
from mammoctl.ssh import Nodes
from mammoctl.support import contents, control, on_node
from mammoctl.support.archive import Archive, Entry, require_room

if TYPE_CHECKING:
    from mammoctl.inventory import Cluster, Host

SILENT_S = 60.0
"""Seconds without a word after which a node counts as unreachable."""

_KEY_BYTES_MAX = 64_000


@dataclass
class Collected:
    """A support bundle that was written.

    Attributes:
        path: the archive.
        sha256: of it.
        files: what is in it, the list of contents first.
        nodes: by name, why it was not asked or not in full; None where all is well.
        missing: (part, reason) of what else could not be collected.
        removed: how often a secret of each kind was taken out.
        pseudonyms: name -> pseudonym of nodes; empty unless names were replaced.
        seconds: in all.
    """

    cluster: str
    path: Path
    anonymous: bool
    sha256: str = ""
    files: list[Entry] = field(default_factory=list)
    nodes: dict[str, MammoctlError | None] = field(default_factory=dict)
    missing: list[tuple[str, MammoctlError]] = field(default_factory=list)
    removed: dict[str, int] = field(default_factory=dict)
    pseudonyms: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Tell whether every node was asked and every part collected."""
        return not self.missing and not any(self.nodes.values())

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values, for ``--json``; sizes in bytes."""

        def why(error: MammoctlError | None) -> dict[str, str]:
            return {"error": error.message, "hint": error.hint} if error else {}

        return {
            "schema": 1,
            "cluster": self.cluster,
            "ok": self.ok,
            "archive": str(self.path),
            "bytes": self.path.stat().st_size,
            "sha256": self.sha256,
            "anonymous": self.anonymous,
            "seconds": round(self.seconds, 1),
            "files": [{"path": e.path, "bytes": e.size, "what": e.what} for e in self.files],
            "nodes": [
                {"name": name, "ok": error is None} | why(error)
                for name, error in self.nodes.items()
            ],
            "missing": [{"part": part} | why(error) for part, error in self.missing],
            "removed": self.removed,
            "pseudonyms": self.pseudonyms,
        }


def collect(
    cluster: Cluster,
    target: Path,
    *,
    anonymous: bool = False,
    step: Callable[[str], None] = lambda _: None,
) -> Collected:
    """Collect everything and write the archive; changes nothing on the nodes.

    Args:
        cluster: of which.
        target: the archive; there is nothing yet.
        anonymous: replace names of hosts and people, and addresses.
        step: is told what is being done.

    Raises:
        UsageError: the target cannot be written.
    """
    require_room(target)
    began = time.monotonic()
    done = Collected(cluster.name, target, anonymous)
    names = _names(cluster) if anonymous else None
    redactor = Redactor(names.text if names else None)
    _learn(cluster, redactor)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    archive = Archive(f"mammoctl-support-{stamp}", redactor)
    with Nodes(cluster) as nodes:
        # The nodes first: what their settings hold is known before anything is written down.
        step(f"Asking {', '.join(cluster.hosts)}")
        answers = _ask(nodes, done)
        for answer in answers.values():
            for path, text in answer.texts.items():
                if path.startswith("settings/"):
                    redactor.know_settings(text)
        if names:
            for number, name in enumerate(cluster.hosts, 1):
                for own in answers[name].names if name in answers else ():
                    names.add_full_name(own, f"node-{number}")
        step("Collecting versions, inventory and logs of this machine")
        _this_machine(cluster, archive, done)
        for name, answer in answers.items():
            what = {part.path: part.what for part in on_node.parts(cluster.hosts[name])}
            for path, text in sorted(answer.texts.items()):
                archive.add(f"nodes/{name}/{path}", what[path], text)
        step("Asking for the cluster's state and its jobs")
        _state(cluster, archive, done)
        _jobs(nodes, archive, done)
        step("Checking the hosts, as `mammoctl check` does")
        _check(nodes, archive, done)
    done.removed = {kind: count for kind, count in sorted(redactor.removed.items()) if count}
    if names:
        done.pseudonyms = {name: names.text(name) for name in cluster.hosts}
    step("Writing the archive")
    done.sha256 = archive.write(
        target, lambda entries: contents.page(done, entries, stamp, redactor.text), time.time()
    )
    done.files = archive.entries
    done.seconds = time.monotonic() - began
    return done


def _learn(cluster: Cluster, redactor: Redactor) -> None:
    """Tell the redactor every secret that this machine knows, before anything is collected."""
    redactor.know_environment()
    folder = cluster.path / "secrets"
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if path.is_file():
            redactor.know_file(path)
    for _path, _what, content in control.inventory(cluster):
        if isinstance(content, str):
            redactor.know_settings(content)
        else:
            redactor.know_values(content)
    for host in cluster.hosts.values():
        redactor.know_values(host.vars)
        key = host.key_file
        if key and key.is_file() and key.stat().st_size < _KEY_BYTES_MAX:
            redactor.know_file(key)
        try:
            redactor.know(become.password(host) or "")
        except MammoctlError:  # its file is unreadable: for sudo as for us
            continue


def _names(cluster: Cluster) -> Pseudonyms:
    names = Pseudonyms()
    for number, (name, host) in enumerate(cluster.hosts.items(), 1):
        names.add_full_name(name, f"node-{number}")
        names.add_full_name(str(host.address), f"address-of-node-{number}")
        if inside := host.vars.get("mammoctl_node_address"):
            names.add(str(inside), f"inner-address-of-node-{number}")
        names.add_account(host.user or "", "login")
    names.add(cluster.name, "cluster-1")
    names.add_full_name(platform.node(), "control-machine")
    names.add_account(getpass.getuser(), "operator")
    names.add_account(Path.home().name, "operator")
    return names


def _ask(nodes: Nodes, done: Collected) -> dict[str, on_node.Answer]:
    """Ask every node at once; without root where there is none, and say so."""
    mark = secrets.token_hex(16)
    withheld: dict[str, MammoctlError] = {}

    def ask(host: Host) -> str:
        line = on_node.script(on_node.parts(host), mark)
        try:
            return nodes.run(host, line, sudo=True, timeout=SILENT_S).stdout
        except NoRoot as exc:
            withheld[host.name] = exc
            return nodes.run(host, line, timeout=SILENT_S).stdout

    answers = {}
    for name, said in nodes.each(ask).items():
        if isinstance(said, MammoctlError):
            done.nodes[name] = said
            continue
        answers[name] = on_node.parse(name, said, mark)
        broken = RemoteError(
            f"{name}: the answer broke off in the middle", hint="run the same command again"
        )
        done.nodes[name] = withheld.get(name) or (None if answers[name].complete else broken)
    return answers


def _this_machine(cluster: Cluster, archive: Archive, done: Collected) -> None:
    archive.add_json("control/versions.json", "mammoctl, its libraries, system", control.versions())
    for path, what, content in control.inventory(cluster):
        if isinstance(content, str):
            archive.add(path, what, content)
        else:
            archive.add_yaml(path, what, content)
    for log in control.run_logs(cluster):
        try:
            text = control.tail(log)
        except OSError as exc:
            done.missing.append((log.name, MammoctlError(f"{log}: {exc.strerror}")))
            continue
        archive.add(f"control/logs/{log.name}", "Ansible's output of an earlier run", text)


def _state(cluster: Cluster, archive: Archive, done: Collected) -> None:
    from mammoctl.status.document import document
    from mammoctl.status.gather import CONNECT_S, gather

    try:
        with Nodes(cluster, connect_s=CONNECT_S) as nodes:
            archive.add_json("status.json", "`mammoctl status --json`", document(gather(nodes)))
    except MammoctlError as exc:
        done.missing.append(("status.json", exc))


def _jobs(nodes: Nodes, archive: Archive, done: Collected) -> None:
    from mammoctl import cluster as clusters
    from mammoctl.jobs.known import list_jobs

    if isinstance(done.nodes.get(nodes.cluster.master.name), MammoctlError):
        return  # told already
    try:
        clusters.read(nodes)
        found = control.jobs(list_jobs(nodes))
    except clusters.NotProvisioned:
        return
    except MammoctlError as exc:
        done.missing.append(("jobs.json", exc))
        return
    archive.add_json("jobs.json", "names of jobs, their states and times", found)


def _check(nodes: Nodes, archive: Archive, done: Collected) -> None:
    from mammoctl.check.run import check

    try:
        report = check(nodes).as_json()
    except Interrupted:
        raise
    except MammoctlError as exc:
        done.missing.append(("check.json", exc))
        return
    archive.add_json("check.json", "`mammoctl check --json`", report)
