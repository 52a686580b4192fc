#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Debian packages in one apt transaction, predicted in check mode without python3-apt."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mammoctl_packages
short_description: Install Debian packages in one transaction and remember which were new
description:
  - C(ansible.builtin.apt) first installs python3-apt on a bare host, and cannot check without it.
  - Runs C(apt-get) alone; waits for the lock; refreshes the lists when they are too old.
  - What an interrupted dpkg has left half done is finished first.
author: mammoctl
options:
  name: {description: Packages that must be installed., type: list, elements: str, required: true}
  state:
    description: C(free) installs nothing; it waits until no other package manager works, and tells which one does.
    type: str
    choices: [installed, free]
    default: installed
  versions:
    description: Name -> the start that its version must have; another one is replaced, held or newer as it may be.
    type: dict
    default: {}
  may_remove:
    description:
      - Names (a regular expression) that may go for what is installed; others are never removed.
      - Held packages of these names move with it, and are held again.
    type: str
    default: ""
  index:
    description:
      - An index of packages in the node's store (C(Packages)); only what it lists is installed then.
      - apt has it for this one call. The node's own sources, lists and caches are neither asked nor changed.
    type: path
    default: ""
  lists_valid_s: {description: Age in seconds up to which package lists are good., type: int, default: 3600}
  lock_timeout_s: {description: Seconds to wait for another apt., type: int, default: 300}
"""

EXAMPLES = r"""
- name: Install everything that the roles need
  mammoctl_packages:
    name: [nftables, openjdk-17-jdk-headless]
"""

import fcntl
import glob
import hashlib
import os
import re
import shutil
import struct
import tempfile
import time
from contextlib import contextmanager

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mammoctl_manifest import record

LISTS = "/var/lib/apt/lists"
SOURCES = "/etc/apt/sources.list"
KEYRINGS = "/etc/apt/keyrings"
ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "NEEDRESTART_MODE": "l",
    "LC_ALL": "C.UTF-8",
}


LOCKS = (
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
)
FLOCK = "hhqqi4x"  # struct flock where offsets have 64 bits


def holder():
    """Return the program that works with packages now, with its number, or ''."""
    for path in LOCKS:
        try:
            with open(path, "rb") as stream:
                asked = struct.pack(FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
                found = struct.unpack(FLOCK, fcntl.fcntl(stream, fcntl.F_GETLK, asked))
        except OSError:
            continue
        if found[0] != fcntl.F_UNLCK:
            return "%s (process %d)" % (program(found[4]), found[4])
    return ""


def program(pid):
    """Return the name of a process."""
    try:
        with open("/proc/%d/comm" % pid, encoding="utf-8") as stream:
            return stream.read().strip()
    except OSError:
        return "a program"


def unfit(text, wanted, versions):
    """Return which of ``wanted`` are not fully installed, or not in their version (pure).

    Args:
        text: lines of ``dpkg-query``: status, package, version.
        wanted: names of packages.
        versions: name -> the start of its version, the epoch left out.
    """
    rows = [line.split() for line in text.splitlines() if line[1:2] == "i"]
    installed = {row[1]: row[2].partition(":")[2] or row[2] for row in rows}
    return [name for name in wanted if name not in installed or not installed[name].startswith(versions.get(name, ""))]


def missing(module, wanted, versions):
    """Return which of ``wanted`` must be installed or replaced."""
    query = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package} ${Version}\n", *wanted]
    _rc, out, _err = module.run_command(query, environ_update={"LC_ALL": "C"})
    return unfit(out, wanted, versions)


def removals(plan, allowed):
    """Return which packages of an apt-get's plan would go though ``allowed`` does not match them (pure)."""
    names = re.findall(r"^Remv (\S+)", plan, re.M)
    return [name for name in names if not (allowed and re.fullmatch(allowed, name.partition(":")[0]))]


@contextmanager
def released(module, pattern):
    """Let go the held packages that match, for the time of the block: apt does not move them as dependencies."""
    _rc, out, _err = module.run_command(["apt-mark", "showhold"]) if pattern else (0, "", "")
    names = [name for name in out.split() if re.fullmatch(pattern, name.partition(":")[0])]
    if not names:
        yield
        return
    module.run_command(["apt-mark", "unhold", *names], check_rc=True)
    try:
        yield
    finally:
        gone = missing(module, [name.partition(":")[0] for name in names], {})
        left = [name for name in names if name.partition(":")[0] not in gone]
        if left:
            module.run_command(["apt-mark", "hold", *left])


def lists_age_s():
    """Return the age of the package lists in seconds; infinite when there are none, or a source is newer than they."""
    try:
        names = [name for name in os.listdir(LISTS) if name.endswith("Packages") or "_Packages" in name]
        newest = max(os.stat(os.path.join(LISTS, name)).st_ctime for name in names)
        stamp = "/var/lib/apt/periodic/update-success-stamp"
        if os.path.exists(stamp):
            newest = max(newest, os.stat(stamp).st_mtime)
        sources = [SOURCES, *glob.glob(SOURCES + ".d/*"), *glob.glob(KEYRINGS + "/mammoctl-*")]
        if any(os.stat(path).st_mtime > newest for path in sources if os.path.exists(path)):
            return float("inf")
    except (OSError, ValueError):
        return float("inf")
    return time.time() - newest


def configuration(index, folder):
    """Return what apt is told so that an index in the store is its only source (pure).

    Args:
        index: STORE/SHA256/Packages; the places of the files that it lists are relative to STORE.
        folder: an empty folder for the lists.
    """
    return (
        'Dir::Etc::SourceList "%(at)s/index.list";\nDir::Etc::SourceParts "%(at)s/none";\n'
        'Dir::State::Lists "%(at)s/lists";\nDir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n'
        'Acquire::Languages "none";\n'
        # What else runs after an update would take the node's own lists for fresh.
        "#clear APT::Update;\n"
    ) % {"at": folder}, "deb [trusted=yes] file:%s %s/\n" % (
        os.path.dirname(os.path.dirname(index)),
        os.path.basename(os.path.dirname(index)),
    )


@contextmanager
def only_source(module, index):
    """Yield the arguments that make an index of the store apt's only source; nothing of it stays.

    Every file got there after its sum was compared; apt compares those of the packages once more, with the index.
    """
    if not index:
        yield []
        return
    with open(index, "rb") as stream:
        actual = hashlib.sha256(stream.read()).hexdigest()
    if os.path.basename(os.path.dirname(index)) != actual:
        module.fail_json(
            msg="%s has been changed on the node. Remove the folder it is in, then run this again." % index
        )
    folder = tempfile.mkdtemp(prefix="mammoctl-apt-")
    try:
        os.chmod(folder, 0o755)  # apt reads with an account of its own
        for name in ("none", "lists"):
            os.mkdir(os.path.join(folder, name))
            os.chmod(os.path.join(folder, name), 0o755)
        settings, source = configuration(index, folder)
        for name, text in (("apt.conf", settings), ("index.list", source)):
            path = os.path.join(folder, name)
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(text)
            os.chmod(path, 0o644)
        yield ["-c", os.path.join(folder, "apt.conf")]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def blamed(out):
    """Return the package that dpkg could not install, with what its script said: apt-get's error has neither."""
    lines = [line for line in out.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if line.startswith("dpkg: error "):
            return lines[max(0, number - 3) : number + 2]
    return []


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "list", "elements": "str", "required": True},
            "state": {"type": "str", "choices": ["installed", "free"], "default": "installed"},
            "versions": {"type": "dict", "default": {}},
            "may_remove": {"type": "str", "default": ""},
            "index": {"type": "path", "default": ""},
            "lists_valid_s": {"type": "int", "default": 3600},
            "lock_timeout_s": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    if module.params["state"] == "free":
        end = time.monotonic() + (0 if module.check_mode else module.params["lock_timeout_s"])
        found = holder()
        while found and time.monotonic() < end:
            time.sleep(1)
            found = holder()
        module.exit_json(changed=False, holder=found)
    versions = module.params["versions"]
    needed = missing(module, module.params["name"], versions)
    if not needed:
        module.exit_json(changed=False, installed=[])
    if module.check_mode:
        module.exit_json(
            changed=True,
            installed=needed,
            diff={"before": "", "after": "".join("%s\n" % name for name in needed)},
        )
    timeout, index = module.params["lock_timeout_s"], module.params["index"]
    # The lists have a lock of their own, for which older apt-get does not wait: tried again here.
    base = [
        "apt-get",
        "-q",
        "-y",
        "-o",
        "DPkg::Lock::Timeout=%d" % timeout,
        "-o",
        "Acquire::Retries=3",
        "-o",
        "Dpkg::Options::=--force-confdef",
        "-o",
        "Dpkg::Options::=--force-confold",
    ]

    def apt(*arguments):
        """Run apt-get; return its output, or fail with what it said."""
        end = time.monotonic() + timeout
        while True:
            rc, out, err = module.run_command([*base, *arguments], environ_update=ENVIRONMENT, umask=0o022)
            if rc == 0:
                return out
            if "Could not get lock" not in err or time.monotonic() > end:
                break
            time.sleep(5)
        said = "\n".join([*blamed(out), *(line for line in (err or out).splitlines() if line.strip())])[-1500:]
        locked = "Could not get lock" in err
        if locked:
            mend = "Another package manager is running on the node: wait for it, then run this again."
        elif index:
            mend = (
                "What it names is lacking in the bundle, or held on the node ('apt-mark showhold'), or another version "
                "of it is needed by other packages there. Make the bundle's packages anew ('mammoctl bundle create "
                "--packages ... --update-packages'), or mend the node, then run this again."
            )
        else:
            mend = "Make 'apt-get %s' work on the node, then run this again." % " ".join(arguments)
        return module.fail_json(msg="apt-get %s failed: %s\n%s" % (arguments[0], said, mend), rc=rc, locked=locked)

    if glob.glob("/var/lib/dpkg/updates/[0-9]*"):  # what apt-get calls interrupted
        module.run_command(["dpkg", "--configure", "-a", "--force-confold"], environ_update=ENVIRONMENT, umask=0o022)
    with only_source(module, index) as source:
        base += source
        refreshed = bool(index) or lists_age_s() > module.params["lists_valid_s"]
        if refreshed:
            apt("update")
        install = ["install", "--no-install-recommends"]
        if versions:
            install += ["--allow-downgrades", "--allow-change-held-packages"]
        with released(module, module.params["may_remove"]):
            plan = apt(*install, "--simulate", *needed)
            lost = removals(plan, module.params["may_remove"])
            if lost:
                module.fail_json(
                    msg="To install %s, apt would remove %s from the node: nothing was done. Remove or replace them "
                    "yourself if they are not needed, then run this again." % (", ".join(needed), ", ".join(lost))
                )
            # "Inst NAME (VERSION ..." is new; "Inst NAME [OLD VERSION] ..." was there before.
            new = [found.group(1) for found in re.finditer(r"^Inst (\S+) \(", plan, re.M)]
            record("packages", new)
            apt(*install, *needed)
    module.exit_json(changed=True, installed=new, refreshed=refreshed)


if __name__ == "__main__":
    main()
