"""One at a time: a lock on the cluster's master, held as long as the command lives.

It is the kernel's lock on a file of the master, held by a process there that lives as long as this
machine says so every few seconds: a laptop that is closed or lost leaves no lock behind. The file
lies in ``/run``, so a reboot of the master leaves none either; it is then taken again.
"""

from __future__ import annotations

import getpass
import json
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammoctl import console
from mammoctl.errors import ConnectionFailed, Interrupted, MammoctlError, RemoteError

if TYPE_CHECKING:
    from mammoctl.inventory import Cluster
    from mammoctl.ssh import Nodes

FILE = "/run/mammoctl.lock"
SILENCE_S = 60
"""Seconds without a sign of life after which a lock ends."""

_SIGN_S = 10.0
_TAKEN = 75  # what flock's --conflict-exit-code is for: "try again later"
_OPEN = 64
_UNLOCKED = 76

# bash, because the read of sh knows no time-out; both it and flock are essential packages. Who only
# looks holds a shared lock for a moment: others who look pass it, and who takes it waits a second.
_HOLD = """
umask 022
trap ': > "$1"; exit 76' USR1
exec 9>>"$1" || exit
flock -w 1 9 || { cat "$1"; exit 75; }
printf '{"pid": %d, "by": %s}\\n' $$ "$2" > "$1"
echo held
while read -r -t "$3" _; do :; done
: > "$1"
"""
_SEE = '[ -e "$1" ] || exit 64; exec 9<"$1" || exit 64; flock -s -n 9 && exit 64; cat "$1"'


@dataclass(frozen=True)
class Holder:
    """Who holds the lock: a person at a machine, with which command, since when (unix seconds)."""

    who: str
    command: str
    since: float
    pid: int = 0

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.since))
        minutes = max(0, int((time.time() - self.since) / 60))
        return f"{self.who} ({self.command}, since {since}, {minutes} min ago)"


class Locked(MammoctlError):
    """Another operator, or another command, is changing the cluster."""


def parse(text: str) -> Holder:
    """Read the lock's file; what cannot be read belongs to somebody unknown."""
    try:
        value: Any = json.loads(text)
        by = value["by"]
        return Holder(str(by["who"]), str(by["command"]), float(by["since"]), int(value["pid"]))
    except (ValueError, KeyError, TypeError):
        return Holder("somebody", "a command", time.time())


@contextmanager
def held(nodes: Nodes, command: str, *, option: str = "") -> Iterator[None]:
    """Hold the lock of the cluster for the time of the block.

    Where the master does not answer there is no lock: what needs the master says so itself.

    Args:
        nodes: the way to it.
        command: what is being done, for others to read.
        option: the user's ``-i NAME``, for the hint.

    Raises:
        Locked: somebody else holds it, or took it when it was lost; what was done was ended then.
    """
    with on(nodes, FILE, command, lambda holder: _locked(nodes, holder, option)):
        yield


@contextmanager
def on(
    nodes: Nodes, file: str, command: str, refused: Callable[[Holder], MammoctlError]
) -> Iterator[None]:
    """Hold a lock for the time of the block; see `held`, which is that of the whole cluster.

    Args:
        nodes: the way to the master.
        file: the lock's, there.
        command: what is being done, for others to read.
        refused: makes the error of who holds it.

    Raises:
        Locked: it was lost, and somebody else took it; what was done was ended then.
    """
    me = {
        "who": f"{getpass.getuser()}@{socket.gethostname()}",
        "command": command,
        "since": time.time(),
    }
    with tempfile.TemporaryDirectory(prefix="mammoctl-") as folder:
        keeper = _Keeper(nodes, file, json.dumps(me), Path(folder) / "ssh")
        with suppress(ConnectionFailed):
            taken_by = keeper.take()
            if taken_by is not None:
                raise refused(parse(taken_by))
            keeper.keep()
        try:
            try:
                yield
            finally:
                keeper.release()
        except (KeyboardInterrupt, Interrupted) as exc:
            if keeper.lost_to is None:
                raise
            raise Locked(
                f"the lock was lost, and {keeper.lost_to} took it: this command has been ended",
                details=exc.details if isinstance(exc, Interrupted) else None,
                hint="wait until that has ended, then run the same command again",
            ) from None


@contextmanager
def over(
    cluster: Cluster, command: str, *, option: str = "", unless: bool = False
) -> Iterator[None]:
    """Hold the lock for the time of the block, over connections of its own; see `held`.

    Args:
        cluster: which.
        command: what is being done.
        option: the user's ``-i NAME``.
        unless: nothing will be changed; hold nothing.
    """
    from mammoctl.ssh import Nodes

    if unless:
        yield
        return
    with Nodes(cluster) as nodes, held(nodes, command, option=option):
        yield


def _locked(nodes: Nodes, holder: Holder, option: str) -> Locked:
    unlock = " ".join(["mammoctl", "unlock", *([option] if option else [])])
    return Locked(
        f"{nodes.cluster.name} is being changed by {holder}",
        hint="wait until that has ended; the lock ends with it, or a minute after its machine is "
        f"gone. If it hangs: {unlock}",
    )


def holder(nodes: Nodes, file: str = "") -> Holder | None:
    """Return who holds a lock now, if anybody does; that of the whole cluster by default."""
    master, file = nodes.cluster.master, file or FILE
    found = nodes.run(master, ["bash", "-c", _SEE, "bash", file], sudo=True, check=False)
    if found.rc == _OPEN:
        return None
    if found.rc:
        raise RemoteError(f"{master.name}: cannot read {file}", details=[found.stderr.strip()])
    return parse(found.stdout)


def end(nodes: Nodes, who: Holder) -> None:
    """End somebody's lock; their command goes on without it until somebody takes it.

    Raises:
        RemoteError: it is still held.
    """
    master = nodes.cluster.master
    if who.pid > 1:
        nodes.run(master, ["kill", "-USR1", str(who.pid)], sudo=True, check=False)
    deadline = time.monotonic() + 5
    while (still := holder(nodes)) and still.pid == who.pid:
        if time.monotonic() > deadline:
            raise RemoteError(
                f"{master.name}: the lock is still held by process {who.pid}",
                hint=f"see what it is: mammoctl ssh {master.name} -- ps {who.pid}",
            )
        time.sleep(0.2)


def _same(holder: Holder, record: str) -> bool:
    """Tell whether a holder is the one of a record: its old process may not have ended yet."""
    mine = json.loads(record)
    return (holder.who, holder.since) == (mine["who"], mine["since"])


class _Keeper:
    """Holds the lock through a connection of its own, and takes it again when that is lost."""

    def __init__(self, nodes: Nodes, file: str, record: str, said: Path) -> None:
        self.nodes, self.file, self.record, self.said = nodes, file, record, said
        self.lost_to: Holder | None = None
        self._unlocked = False
        self._guarded = threading.current_thread()
        self._process: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self) -> str | None:
        """Take the lock; return what its file says when somebody else holds it.

        Raises:
            ConnectionFailed: the master cannot be reached.
            RemoteError: it cannot hold a lock.
        """
        from mammoctl.ssh import failures
        from mammoctl.ssh.transfer import SSH_FAILED

        master = self.nodes.cluster.master
        line = ["bash", "-c", _HOLD, "bash", self.file, self.record, str(SILENCE_S)]
        own = ["-o", "ControlPath=none", "-o", "ControlMaster=no", "-o", "LogLevel=ERROR"]
        first = self.nodes.secret(master, True)
        argv = self.nodes.openssh(master, line, True, [*own, "-E", str(self.said)])
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        assert process.stdin and process.stdout and process.stderr  # noqa: S101  asked for above
        with suppress(BrokenPipeError):
            process.stdin.write(first)
            process.stdin.flush()
        answer = process.stdout.readline()
        if answer == b"held\n":
            self._process = process
            return None
        rest, error = (data.decode(errors="replace") for data in process.communicate())
        if process.returncode == _TAKEN:
            return answer.decode(errors="replace") + rest
        said = self.said.read_text(errors="replace") if self.said.exists() else ""
        if process.returncode == SSH_FAILED and said.strip():
            login = master.user or getpass.getuser()
            raise failures.explain_openssh(self.nodes.cluster, master, login, said)
        if why := failures.sudo_problem(error):
            raise failures.sudo_refused(master, self.nodes.login(master), why)
        raise RemoteError(
            f"{master.name}: cannot lock {self.file}", details=error.splitlines()[-5:]
        )

    def keep(self) -> None:
        """Give signs of life from now on."""
        self._thread = threading.Thread(target=self._signs, daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Let the lock go."""
        self._stop.set()
        if self._thread:
            self._thread.join(timeout=2 * _SIGN_S)
        self._let_go()

    def _signs(self) -> None:
        last = time.time()
        while self.lost_to is None and not self._stop.wait(_SIGN_S):
            # A laptop that slept has been silent, whatever its connection seems to be.
            slept = time.time() - last > SILENCE_S
            last = time.time()
            if self._is_unlocked():
                self._look()
            elif slept or not self._sign():
                self._let_go()
                self._take_again()

    def _is_unlocked(self) -> bool:
        """Tell whether somebody has ended the lock on purpose: it is not taken again then."""
        process = self._process
        if process is not None and process.poll() == _UNLOCKED:
            self._unlocked = True
            self._let_go()
            console.warn(
                "`mammoctl unlock` has ended the lock of this command: it goes on without, and is "
                "ended when another one takes it"
            )
        return self._unlocked

    def _look(self) -> None:
        with suppress(OSError, MammoctlError):
            if other := holder(self.nodes, self.file):
                self._lose_to(other)

    def _sign(self) -> bool:
        """Give a sign of life; tell whether there is still somebody to hear it."""
        process = self._process
        if process is None or process.stdin is None or process.poll() is not None:
            return False
        try:
            process.stdin.write(b"\n")
            process.stdin.flush()
        except OSError:
            return False
        return True

    def _take_again(self) -> None:
        try:
            taken_by = self.take()
        except (OSError, MammoctlError):
            return  # the master restarts, perhaps: tried again with the next sign
        if taken_by is None or _same(parse(taken_by), self.record):
            return
        self._lose_to(parse(taken_by))

    def _lose_to(self, other: Holder) -> None:
        if not other.pid:
            return  # somebody who just looks holds it for a moment, and has written nothing
        self.lost_to = other
        console.warn(f"the lock was lost, and {self.lost_to} took it: ending this command")
        # As Ctrl-C does; a thread of its own cannot be interrupted.
        if self._guarded is threading.main_thread() and self._guarded.ident:
            signal.pthread_kill(self._guarded.ident, signal.SIGINT)

    def _let_go(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(OSError):
            if process.stdin:
                process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
