"""What the lab needs of the control machine, and running its programs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mammoctl.errors import LabError

# Program -> the Debian and Ubuntu package that has it. The one list of what the lab needs.
PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "mount": "mount",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
PACKAGES = sorted(set(PROGRAMS.values()))


def run(argv: Sequence[str | Path], *, check: bool = True, stdin: str | None = None) -> str:
    """Run a program and return its standard output.

    Raises:
        LabError: the program failed; its own message is in the details.
    """
    words = [str(word) for word in argv]
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise LabError(
            f"`{shlex.join(words)}` failed with exit code {done.returncode}",
            details=(done.stderr or done.stdout).strip().splitlines()[-5:],
            hint="`mammoctl lab down` removes what is there; then try again",
        )
    return done.stdout


def succeeds(argv: Sequence[str | Path]) -> bool:
    """Tell whether a program exits with 0; its output is dropped."""
    words = [str(word) for word in argv]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode == 0


def mounts_below(folder: Path) -> list[str]:
    """Return the mount points below ``folder``, the outermost first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{folder}/")]


def require_root(command: str) -> None:
    """Refuse to go on without root.

    Raises:
        LabError: with the command to type instead.
    """
    if os.geteuid() != 0:
        raise LabError(
            f"`{command}` needs root: it makes machines with their own network",
            hint=f"sudo {shlex.quote(sys.argv[0])} {shlex.join(sys.argv[1:])}",
        )


def require_system() -> None:
    """Refuse a control machine that cannot run a lab.

    Raises:
        LabError: not Linux, or programs are missing (the hint is the line that installs them).
    """
    if sys.platform != "linux":
        raise LabError(
            f"the lab needs Linux, this is {sys.platform}",
            hint="use `vagrant up`, or run mammoctl on a Debian or Ubuntu machine",
        )
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if not missing:
        return
    packages = " ".join(sorted({PROGRAMS[name] for name in missing}))
    hint = f"apt-get install {packages}" if shutil.which("apt-get") else f"install {packages}"
    raise LabError(f"the lab needs programs that are not here: {', '.join(missing)}", hint=hint)


def require_disk(path: Path, gib: float, what: str) -> None:
    """Refuse to start on a disk that will fill up.

    Args:
        path: where it will be written; the nearest existing parent counts.
        gib: how much has to be free, in GiB.
        what: what needs the space.

    Raises:
        LabError: not enough is free.
    """
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free / 2**30
    if free < gib:
        raise LabError(
            f"{what} needs {gib:.1f} GiB free below {path}, there are {free:.1f}",
            hint="make room, or set MAMMOCTL_LAB_DIR and MAMMOCTL_CACHE_DIR to a larger disk",
        )
