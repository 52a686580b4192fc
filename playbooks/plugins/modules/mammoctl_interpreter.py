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

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mammoctl_manifest import record
from ansible.module_utils.mammoctl_unpack import BadArchive, unpack
from ansible.module_utils.mammoctl_whole import is_complete, made_whole

TRIAL = """
import bz2, ctypes, decimal, hashlib, lzma, multiprocessing, sqlite3, ssl, sys, uuid, venv, zlib
ssl.create_default_context()
sqlite3.connect(":memory:").execute("select 1")
print("%d.%d" % sys.version_info[:2])
"""


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
    record("trees", [os.path.dirname(wanted["root"])])
    with made_whole(place) as folder:
        try:
            unpack(wanted["archive"], folder, strip=True, top="python")
        except BadArchive as exc:
            module.fail_json(msg="The managed Python cannot be installed: %s" % exc)
        python = os.path.join(folder, "bin", "python" + wanted["python"])
        why = trial(module, python, wanted["python"])
        if why:
            module.fail_json(
                msg="The managed Python %s cannot be used: %s. Give an archive made on the oldest of the systems"
                " (python_archive; scripts/interpreter-archive)." % (wanted["python"], why)
            )
        # As for the environment: who runs it later may not write here. Bad files of the library's tests do not matter.
        command = [python, "-I", "-m", "compileall", "-q", "-j", "0", "-x", "/tests?/", "-s", folder, "-p", place]
        library = os.path.join(folder, "lib", "python" + wanted["python"])
        module.run_command([*command, library], environ_update={"LC_ALL": "C.UTF-8"}, umask=0o022)


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
    changed = not is_complete(place)
    if changed and not module.check_mode:
        make(module, place)
    diff = {"before": "", "after": "%s\n" % place} if changed else {}
    module.exit_json(changed=changed, place=place, diff=diff)


if __name__ == "__main__":
    main()
