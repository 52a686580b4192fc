"""Print the lock-down of this host as JSON: the rules in force, those of its file, its sets.

``declared`` is how the kernel lists the rules of the file, '' where that cannot be told.
"""

import json
import subprocess

TABLE = "inet mammoctl_lockdown"
FILE = "/etc/mammoctl/lockdown.nft"


def said(*argv):
    """Return what a program prints; '' when it fails or is missing."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def elements(entries, name):
    """Return the elements of the sets NAME4 and NAME6 as texts; a range as FIRST-LAST."""
    found = []
    for entry in entries:
        if entry.get("set", {}).get("name") in (f"{name}4", f"{name}6"):
            for part in entry["set"].get("elem", []):
                found.append(written(part))
    return found


def written(part):
    """Return an element as a text."""
    if isinstance(part, str):
        return part
    if "prefix" in part:
        return f"{part['prefix']['addr']}/{part['prefix']['len']}"
    return "-".join(map(str, part["range"]))


listed = said("nft", "--json", "list", "table", *TABLE.split())
entries = json.loads(listed)["nftables"] if listed else []
in_a_network_of_its_own = f"nft --file {FILE} && nft --stateless list table {TABLE}"
print(
    json.dumps(
        {
            "live": said("nft", "--stateless", "list", "table", *TABLE.split()),
            "declared": said("unshare", "--net", "sh", "-c", in_a_network_of_its_own),
            "armed": bool(said("systemctl", "is-active", "mammoctl-lockdown-restore.timer")),
            "nodes": elements(entries, "nodes"),
            "ssh": elements(entries, "ssh"),
        }
    )
)
