"""Run on a node, as root, by its own Python: prints what `security` compares, as JSON.

Nothing beyond the standard library, and nothing that Python 3.10 lacks: the text of this file is
what the node is given. The arguments are the units, then ``--``, then the files that matter.
"""

from __future__ import annotations

import grp
import json
import pwd
import re
import subprocess
import sys
from pathlib import Path


def output(*argv: str) -> str:
    """Return what a program prints; '' when it fails or is missing."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def name_of(number: int, groups: bool = False) -> str:
    """Return the name of a user or group, or its number."""
    try:
        return grp.getgrgid(number).gr_name if groups else pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def listening() -> list[dict[str, object]]:
    """Return the TCP sockets that wait for connections: address, port, program, unit."""
    found = []
    for line in output("ss", "-Hltnp").splitlines():
        words = line.split()
        address, _colon, port = words[3].rpartition(":")
        who = re.search(r'\("([^"]*)",pid=(\d+)', line)
        unit = ""
        if who:
            try:
                unit = Path(f"/proc/{who[2]}/cgroup").read_text().strip().rpartition("/")[2]
            except OSError:
                unit = ""
        address = address.strip("[]").partition("%")[0]
        program = who[1] if who else ""
        found.append({"address": address, "port": int(port), "program": program, "unit": unit})
    return found


def files(patterns: list[str]) -> dict[str, list[object]]:
    """Return path -> [mode, owner, group, seconds since the epoch] of what is there."""
    found: dict[str, list[object]] = {}
    for path in sorted({path for pattern in patterns for path in Path("/").glob(pattern[1:])}):
        try:
            seen = path.stat()
        except OSError:
            continue
        names = [name_of(seen.st_uid), name_of(seen.st_gid, groups=True)]
        found[str(path)] = [seen.st_mode & 0o7777, *names, int(seen.st_mtime)]
    return found


def units(names: list[str]) -> dict[str, dict[str, str]]:
    """Return unit -> its properties, for those that are loaded."""
    found = {}
    for name in names:
        text = output("systemctl", "show", name)
        seen = dict(line.partition("=")[::2] for line in text.splitlines())
        if seen.get("LoadState") == "loaded":
            found[name] = seen
    return found


def lockdown() -> dict[str, object]:
    """Return the rules of the lock-down: in force, as its file has them ('': unknown), unconfirmed.

    The file is loaded in a network of its own, which ends with the command.
    """
    listing = "nft --stateless list table inet mammoctl_lockdown"
    load = "nft --file /etc/mammoctl/lockdown.nft"
    return {
        "live": output(*listing.split()),
        "declared": output("unshare", "--net", "sh", "-c", f"{load} && {listing}"),
        "armed": bool(output("systemctl", "is-active", "mammoctl-lockdown-restore.timer")),
    }


def main() -> None:
    """Print everything."""
    at = sys.argv.index("--")
    seen = units(sys.argv[1:at])
    accounts = {one.get("User", "") for one in seen.values()} - {""}
    shells = {one.pw_name: one.pw_shell for one in pwd.getpwall() if one.pw_name in accounts}
    rules = output("nft", "-j", "list", "table", "inet", "mammoctl")
    print(
        json.dumps(
            {
                "listening": listening(),
                "units": seen,
                "files": files(sys.argv[at + 1 :]),
                "shells": shells,
                "guard": json.loads(rules)["nftables"] if rules else None,
                "lockdown": lockdown(),
            }
        )
    )


if __name__ == "__main__":
    main()
