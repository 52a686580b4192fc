"""One command on many nodes at once, every line heard as it comes.

OpenSSH's client, a process per node: the connections are then made on all cores of this machine,
where paramiko would make them on one.
"""

from __future__ import annotations

import getpass
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mammoctl.errors import MammoctlError
from mammoctl.ssh import failures
from mammoctl.ssh.commands import Command, Sudo, while_connected
from mammoctl.ssh.transfer import SSH_FAILED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mammoctl.inventory import Host
    from mammoctl.ssh import Nodes

Heard = Callable[[str, bool, str], None]
"""Is told the node, whether it is standard error, and the line without its end."""


AT_ONCE = 64
"""Connections at the same time."""

_SUDO_LINES = 20  # its complaint is among the first


@dataclass(frozen=True)
class Ended:
    """How a command ended on a node.

    Attributes:
        rc: its exit status; 128 and the signal's number where a signal ended it.
        stdout: what it said; empty where nothing was to be kept.
        seconds: with the time that the connection took.
    """

    rc: int
    stdout: str
    stderr: str
    seconds: float


class Overdue(MammoctlError):
    """A command took longer than it was given."""


class Running:
    """The commands that run now; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._over = False

    @property
    def over(self) -> bool:
        """Whether they have been ended, and none begins any more."""
        return self._over

    def end(self) -> None:
        """End the commands that run, and let none begin."""
        with self._lock:
            self._over = True
            for process in self._processes:
                process.terminate()

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """Take a command in; it is ended at once when that has been asked for."""
        with self._lock:
            self._processes.add(process)
            if self._over:
                process.terminate()

    def remove(self, process: subprocess.Popen[bytes]) -> None:
        """Forget a command that has ended."""
        with self._lock:
            self._processes.discard(process)


def run(
    nodes: Nodes,
    names: Sequence[str],
    command: Command,
    *,
    sudo: Sudo = False,
    timeout: float | None = None,
    heard: Heard | None = None,
    keep: bool = True,
    running: Running | None = None,
) -> dict[str, Ended | MammoctlError]:
    """Run a command on several nodes at once and return how it ended on each.

    It has no input. It is ended on the nodes when this is interrupted or a connection breaks.

    Args:
        nodes: the way to them.
        names: on which.
        command: an argv, or a line of ``sh``.
        sudo: True for root, or the name of a user.
        timeout: seconds that it may take on a node, with the connection; None for no limit.
        heard: is told every line as it comes, never two at once.
        keep: collect what is said for the outcomes.
        running: by which another thread can end the commands.
    """
    running = running or Running()
    with tempfile.TemporaryDirectory(prefix="mammoctl-") as folder:
        argv = while_connected(command)
        fan = _Fan(nodes, argv, sudo, timeout, heard, keep, Path(folder), running)
        with ThreadPoolExecutor(max_workers=min(len(names), AT_ONCE)) as pool:
            try:
                outcomes = list(pool.map(fan.outcome, names))
            except BaseException:
                running.end()  # or the pool would wait for the commands
                raise
    return dict(zip(names, outcomes, strict=True))


@dataclass
class _Fan:
    nodes: Nodes
    command: list[str]
    sudo: Sudo
    timeout: float | None
    heard: Heard | None
    keep: bool
    folder: Path
    running: Running
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def outcome(self, name: str) -> Ended | MammoctlError:
        """Run the command on one node and return what came of it."""
        try:
            return self._on(self.nodes.host(name))
        except MammoctlError as exc:
            return exc

    def _on(self, node: Host) -> Ended:
        began = time.monotonic()
        own = self.folder / node.name  # what the client itself says, apart from the command
        options = ["-o", "ControlPath=none", "-o", "ControlMaster=no", "-o", "LogLevel=ERROR"]
        first = self.nodes.secret(node, self.sudo)
        argv = self.nodes.openssh(node, self.command, self.sudo, [*options, "-E", str(own)])
        with self._started(argv) as process, self._limited(process) as overdue:
            assert process.stdin is not None  # noqa: S101  asked for below
            with suppress(BrokenPipeError):  # its status says why
                process.stdin.write(first)
                process.stdin.flush()
            told: dict[bool, list[str]] = {False: [], True: []}
            errors = threading.Thread(
                target=self._read, args=(node.name, True, process.stderr, told[True]), daemon=True
            )
            errors.start()
            self._read(node.name, False, process.stdout, told[False])
            errors.join()
            rc = process.wait()
        if overdue.is_set():
            raise Overdue(
                f"{node.name}: not ended after {self.timeout:g} s; it was ended there",
                hint="give it more time with --timeout",
            )
        stdout, stderr = "".join(told[False]), "".join(told[True])
        said = own.read_text(encoding="utf-8", errors="replace") if own.exists() else ""
        if rc == SSH_FAILED and said.strip():
            user = node.user or getpass.getuser()
            raise failures.explain_openssh(self.nodes.cluster, node, user, said)
        if rc and self.sudo and (why := failures.sudo_problem(stderr)):
            raise failures.sudo_refused(node, self.nodes.login(node), why)
        return Ended(128 - rc if rc < 0 else rc, stdout, stderr, time.monotonic() - began)

    @contextmanager
    def _started(self, argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        if self.running.over:
            raise MammoctlError("interrupted before it began")
        pipe = subprocess.PIPE
        # In a session of its own Ctrl-C does not reach it: it is ended by us, and then on the node.
        with subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        ) as process:
            self.running.add(process)
            try:
                yield process
            finally:
                self.running.remove(process)
                if process.poll() is None:
                    process.terminate()
                if process.stdin:
                    with suppress(BrokenPipeError):
                        process.stdin.close()

    @contextmanager
    def _limited(self, process: subprocess.Popen[bytes]) -> Iterator[threading.Event]:
        overdue = threading.Event()

        def end() -> None:
            overdue.set()
            process.terminate()

        timer = threading.Timer(self.timeout, end) if self.timeout else None
        if timer:
            timer.daemon = True
            timer.start()
        try:
            yield overdue
        finally:
            if timer:
                timer.cancel()

    def _read(self, name: str, is_error: bool, stream: IO[bytes] | None, told: list[str]) -> None:
        for raw in stream or ():
            line = raw.decode(errors="replace")
            if self.keep or (is_error and len(told) < _SUDO_LINES):
                told.append(line)
            if self.heard:
                with self._lock:
                    self.heard(name, is_error, line.removesuffix("\n"))
