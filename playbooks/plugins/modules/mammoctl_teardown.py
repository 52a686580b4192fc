#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Removes from a node what the manifest says that mammoctl put there, and nothing else."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mammoctl_teardown
short_description: Remove what mammoctl recorded as its own
description:
  - Of the packages that came with mammoctl, those stay that something else has come to need since.
author: mammoctl
options:
  keep: {description: Paths that stay., type: list, elements: path, default: []}
  empty:
    description:
      - Folders that others may have made (a mounted disk).
      - What belongs to the cluster's accounts in them goes; the folders stay.
    type: list
    elements: path
    default: []
  packages: {description: Whether the packages that came with mammoctl go., type: bool, default: true}
"""

EXAMPLES = r"""
- name: Remove everything but the data
  mammoctl_teardown:
    keep: [/var/lib/hdfs]
"""

import errno
import grp
import os
import pwd
import re
import shutil
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mammoctl_files_text import without_block
from ansible.module_utils.mammoctl_manifest import PATH, load, save

# Of what other nodes empty at the same time, because they share it.
GONE = (errno.ENOENT, errno.ESTALE)
ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


def in_any(path, trees):
    """Tell whether ``path`` is one of the folders, or lies in one (pure)."""
    return any(path == tree or path.startswith(tree + "/") for tree in trees)


def is_kept(path, keep):
    """Tell whether ``path`` is, lies in, or contains something that stays (pure)."""
    return in_any(path, keep) or any(k.startswith(path + "/") for k in keep)


def going(tree, keep):
    """Return what of a folder goes, in as few paths as say it: the folder, or parts of it."""
    if in_any(tree, keep):
        return []
    if not is_kept(tree, keep):
        return [tree]
    found = []
    for entry in sorted(os.scandir(tree), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            found += going(entry.path, keep)
        elif not is_kept(entry.path, keep):
            found.append(entry.path)
    return found


def clear(tree, keep):
    """Remove a folder with all that is in it but what stays."""
    for path in going(tree, keep):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)


def accounts(names):
    """Return the ids (users, groups) of the accounts among ``names`` that exist; their groups have their names."""
    users = {pwd.getpwnam(name).pw_uid for name in names if account_exists(name)}
    return users, {grp.getgrnam(name).gr_gid for name in names if group_exists(name)}


def entries(folder):
    """Yield (entry, its status) of a folder in the order of names, without what has gone meanwhile."""
    try:
        listed = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        if error.errno not in GONE:
            raise
        return
    for entry in listed:
        try:
            yield entry, entry.stat(follow_symlinks=False)
        except OSError as error:
            if error.errno not in GONE:
                raise


def owned(folder, users, groups):
    """Return (paths directly in a folder that belong to the accounts, those that do not)."""
    ours, others = [], []
    for entry, found in entries(folder):
        if found.st_uid in users or found.st_gid in groups:
            ours.append(entry.path)
        elif entry.name != "lost+found":
            others.append(entry.path)
    return ours, others


def empty(folder, users, groups):
    """Remove all that belongs to the accounts in a folder; the folder, mounts and what is of others stay."""
    for path in owned(folder, users, groups)[0]:
        try:
            if os.path.isdir(path) and not os.path.islink(path):
                empty(path, users, groups)
                os.rmdir(path)
            else:
                os.unlink(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EBUSY, *GONE):
                raise


def restore(path):
    """Take our block out of a file and give its disabled lines back; whole, or not at all."""
    with open(path, encoding="utf-8", errors="surrogateescape") as stream:
        text = stream.read()
    found = os.stat(path)
    handle, temporary = tempfile.mkstemp(prefix=".mammoctl-", dir=os.path.dirname(path))
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(without_block(text))
        os.fchown(stream.fileno(), found.st_uid, found.st_gid)
        os.fchmod(stream.fileno(), found.st_mode & 0o7777)
    os.replace(temporary, path)


def installed(module, names):
    """Return which packages are there, configured or not."""
    if not names:
        return []
    query = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${binary:Package}\n", *names]
    _rc, out, _err = module.run_command(query, environ_update={"LC_ALL": "C"})
    there = {line.split()[-1].split(":")[0] for line in out.splitlines() if line[1:2] != "n"}
    return [name for name in names if name.split(":")[0] in there]


def purged(module, names):
    """Return what apt would remove with the packages ``names``."""
    command = ["apt-get", "-q", "--simulate", "--allow-change-held-packages", "purge", *names]
    rc, out, err = module.run_command(command, environ_update=ENVIRONMENT)
    if rc:
        module.fail_json(
            msg="apt-get would not remove the packages: %s\nMend it there (sudo dpkg --configure -a), or keep them"
            " with -e teardown_packages=false." % (err or out).strip()[-1000:]
        )
    return [bare(name) for name in re.findall(r"^(?:Purg|Remv) (\S+)", out, re.M)]


def held(module, names):
    """Return which of the packages ``names`` are held now."""
    _rc, out, _err = module.run_command(["apt-mark", "showhold", *names]) if names else (0, "", "")
    return [name for name in names if name in {bare(line) for line in out.split()}]


def bare(name):
    """Return a package's name without its architecture (pure)."""
    return name.split(":")[0]


def removable(names, purged_with):
    """Return which packages can go without taking others along.

    Args:
        names: the packages that came with mammoctl.
        purged_with: returns what goes with a list of packages.
    """
    names = list(names)
    while names:
        others = set(purged_with(names)) - {bare(name) for name in names}
        if not others:
            break
        # Some of ours are needed by others now: those stay.
        needed = [name for name in names if others & set(purged_with([name]))]
        names = [name for name in names if name not in (needed or names)]
    return names


def account_exists(name):
    """Tell whether there is such an account."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def group_exists(name):
    """Tell whether there is such a group."""
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "keep": {"type": "list", "elements": "path", "default": []},
            "empty": {"type": "list", "elements": "path", "default": []},
            "packages": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    if not os.path.exists(PATH):
        module.exit_json(changed=False, removed=[])
    manifest, keep = load(), module.params["keep"]
    keep = [path for path in keep if os.path.lexists(path)]
    # A file that only we made goes whole; a file of others loses our block only.
    blocks = [p for p in manifest["blocks"] if p not in manifest["files"] and os.path.exists(p)]
    files = [p for p in manifest["files"] if os.path.lexists(p) and not is_kept(p, keep)]
    trees = [p for p in manifest["trees"] if os.path.isdir(p) and p != os.path.dirname(PATH)]
    parts = [part for tree in trees for part in going(tree, [*keep, PATH])]
    users = [name for name in manifest["users"] if account_exists(name)] if not keep else []
    ids = accounts(manifest["users"])
    # What we made goes whole, with its tree.
    shared = [p for p in module.params["empty"] if os.path.isdir(p) and not in_any(p, trees)]
    found = {folder: owned(folder, *ids) for folder in shared}
    parts += [path for folder in shared for path in found[folder][0] if path not in parts]
    warnings = [
        "%s: %s stays, which none of the cluster's accounts owns. Look whether it is data of yours."
        % (folder, ", ".join(others))
        for folder, (_ours, others) in found.items()
        if others
    ]
    ours = installed(module, manifest["packages"])
    packages = removable(ours, lambda names: purged(module, names)) if module.params["packages"] else []
    holds = held(module, manifest["holds"])
    removed = (
        ["block in %s" % p for p in blocks]
        + ["hold of %s" % name for name in holds]
        + [*files, *parts]
        + ["user %s" % name for name in users]
        + ["package %s" % name for name in packages]
    )
    diff = {"before": "".join("%s\n" % line for line in removed), "after": ""}
    # What is left after a teardown that kept the data is no reason for another one.
    changed = bool(removed) or not keep
    if module.check_mode or not changed:
        module.exit_json(changed=changed, removed=removed, diff=diff, warnings=warnings)

    for path in blocks:
        restore(path)
    for path in files:
        os.unlink(path)
    for path in sorted(trees, key=len, reverse=True):
        if os.path.isdir(path):  # it may have been part of one that has gone
            clear(path, [*keep, PATH])
    for folder in shared:
        empty(folder, *ids)
    for name in users:
        module.run_command(["userdel", name], check_rc=True)
        if group_exists(name):  # people are members, and userdel leaves it then
            module.run_command(["groupdel", name], check_rc=True)
    if holds:
        module.run_command(["apt-mark", "unhold", *holds], check_rc=True)
    if packages:
        command = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300", "purge", *packages]
        module.run_command(command, check_rc=True, environ_update=ENVIRONMENT)
    module.run_command(["systemctl", "daemon-reload"])
    if any(path.startswith("/usr/local/share/ca-certificates/") for path in files):
        module.run_command(["update-ca-certificates", "--fresh"])
    if any(path.startswith("/etc/modprobe.d/") for path in files) and shutil.which("update-initramfs"):
        module.run_command(["update-initramfs", "-u", "-k", "all"])
    for path in sorted(manifest["directories"], key=len, reverse=True):
        if path != os.path.dirname(PATH) and os.path.isdir(path) and not os.listdir(path):
            os.rmdir(path)
    if keep:
        left = [path for path in manifest["trees"] if os.path.isdir(path)]
        spared = [name for name in ours if name not in packages]
        rest = {"trees": left, "users": manifest["users"], "packages": spared}
        save({**{kind: [] for kind in manifest}, **rest})
    else:
        shutil.rmtree(os.path.dirname(PATH), ignore_errors=True)
    module.exit_json(changed=True, removed=removed, diff=diff, warnings=warnings)


if __name__ == "__main__":
    main()
