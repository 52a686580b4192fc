#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""A relocatable CPython out of a pushed archive, in its place and tried there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mammoctl_interpreter
short_description: Unpack an interpreter from the node's store and see that it runs there
description:
  - ROOT/KEY is complete when it holds the marker C(.complete); anything else at that place is made anew.
  - The archive is a gzipped tar with the one folder C(python), as python-build-standalone packs it.
  - Before it is moved to its place it must import what an environment needs, on this node.
author: mammoctl
options:
  key: {description: Name of the interpreter., type: str, required: true}
  root: {description: Folder of the interpreters., type: path, default: /opt/mammoctl/python}
  archive: {description: The archive., type: path, required: true}
  python: {description: The minor version that it must have., type: str, required: true}
"""

EXAMPLES = r"""
- name: Unpack the interpreter
  mammoctl_interpreter:
    key: 0123456789abcdef
    archive: /var/lib/mammoctl/store/SHA/cpython.tar.gz
    python: "3.12"
"""

import json
import os
import shutil
import tarfile
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mammoctl_manifest import record

MARKER = ".complete"
TRIAL = """
import bz2, ctypes, decimal, hashlib, lzma, multiprocessing, sqlite3, ssl, sys, uuid, venv, zlib
ssl.create_default_context()
sqlite3.connect(":memory:").execute("select 1")
print("%d.%d" % sys.version_info[:2])
"""


class BadArchive(Exception):
    """The archive is not one of an interpreter."""


def unpack(archive, folder):
    """Unpack the files of ``python/`` into ``folder``, owned by root; nothing may lead out of it.

    Raises:
        BadArchive: a name or a link leads elsewhere, or the archive cannot be read.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            members = [member for member in tar if is_ours(member)]
            for member in members:
                member.name = os.path.relpath(member.name, "python")
                if member.islnk():
                    member.linkname = os.path.relpath(member.linkname, "python")
                member.uid = member.gid = 0
                member.uname = member.gname = "root"
                member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            tar.extractall(folder, members=members)  # each name was looked at
    except (tarfile.TarError, OSError, EOFError) as exc:
        raise BadArchive("%s cannot be unpacked: %s" % (archive, exc)) from exc


def is_ours(member):
    """Tell whether a member lies below ``python``; refuse what leads elsewhere.

    Raises:
        BadArchive: it does.
    """
    name = os.path.normpath(member.name)
    if name == "python" and member.isdir():
        return False  # the folder itself is there
    if not name.startswith("python/"):
        raise BadArchive("the archive has %s, which is not below the folder python" % member.name)
    if member.issym() or member.islnk():
        base = os.path.dirname(name) if member.issym() else ""
        target = os.path.normpath(os.path.join(base, member.linkname))
        if not target.startswith("python/"):
            raise BadArchive("in the archive, %s leads to %s" % (member.name, member.linkname))
    elif not (member.isfile() or member.isdir()):
        raise BadArchive("the archive has %s, which is no file, folder or link" % member.name)
    return True


def trial(module, python, minor):
    """Return why the interpreter ``python`` will not do on this node, or ''."""
    environment = {"LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    rc, out, err = module.run_command([python, "-I", "-c", TRIAL], environ_update=environment)
    if rc:
        said = (err or out).strip().splitlines()
        return "it does not run here: %s" % (said[-1] if said else "exit status %d" % rc)
    if out.strip() != minor:
        return "it is Python %s instead of %s" % (out.strip(), minor)
    return ""


def make(module, place):
    """Unpack, try and compile the interpreter, then move it to ``place``."""
    wanted = module.params
    os.umask(0o022)
    os.makedirs(wanted["root"], exist_ok=True)
    record("trees", [os.path.dirname(wanted["root"])])
    folder = tempfile.mkdtemp(prefix=".new-", dir=wanted["root"])
    try:
        try:
            unpack(wanted["archive"], folder)
        except BadArchive as exc:
            module.fail_json(msg="The managed Python cannot be installed: %s" % exc)
        os.chmod(folder, 0o755)
        python = os.path.join(folder, "bin", "python" + wanted["python"])
        why = trial(module, python, wanted["python"])
        if why:
            module.fail_json(
                msg="The managed Python %s cannot be used: %s. Give an archive made on the oldest of the systems"
                " (python_archive; scripts/interpreter-archive)." % (wanted["python"], why)
            )
        # As for the environment: who runs it later may not write here. Bad files of the library's tests do not matter.
        library = os.path.join(folder, "lib", "python" + wanted["python"])
        command = [
            python,
            "-I",
            "-m",
            "compileall",
            "-q",
            "-j",
            "0",
            "-x",
            "/tests?/",
            "-s",
            folder,
            "-p",
            place,
            library,
        ]
        module.run_command(command, environ_update={"LC_ALL": "C.UTF-8"}, umask=0o022)
        with open(os.path.join(folder, MARKER), "w", encoding="utf-8") as stream:
            json.dump({"key": wanted["key"], "python": wanted["python"]}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        shutil.rmtree(place, ignore_errors=True)
        os.rename(folder, place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "key": {"type": "str", "required": True},
            "root": {"type": "path", "default": "/opt/mammoctl/python"},
            "archive": {"type": "path", "required": True},
            "python": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    place = os.path.join(wanted["root"], wanted["key"])
    changed = not os.path.isfile(os.path.join(place, MARKER))
    if changed and not module.check_mode:
        make(module, place)
    diff = {"before": "", "after": "%s\n" % place} if changed else {}
    module.exit_json(changed=changed, place=place, diff=diff)


if __name__ == "__main__":
    main()
