#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""One locked Python environment out of its pushed archive, and the link that makes it the current one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mammoctl_env
short_description: Unpack the packed Python environment into a virtual one, then link it
description:
  - ROOT/KEY is complete when it holds the marker C(.complete); anything else at that place is made anew.
  - The virtual environment is the interpreter's own; C(python3-venv) and pip are not needed on the node, zstd is.
  - The archive has been checked when it was pushed; it is removed once the environment is complete.
  - LINK is switched only after that, atomically; an upgrade first unpacks on all nodes, and switches later.
  - A run that was killed may still be unpacking on the node; the next one waits for it.
author: mammoctl
options:
  key: {description: Name of the environment., type: str, required: true}
  root: {description: Folder of the environments., type: path, default: /opt/mammoctl/envs}
  link: {description: The link to the current one., type: path, default: /opt/mammoctl/env}
  archive: {description: 'The packed environment in the store, as STORE/SHA256/NAME.', type: path, required: true}
  python: {description: The base interpreter., type: path, default: /usr/bin/python3}
  switch: {description: Whether to make it the current one., type: bool, default: true}
  modules: {description: What must be importable before that., type: list, elements: str, default: []}
"""

EXAMPLES = r"""
- name: Unpack the environment
  mammoctl_env:
    key: 0123456789abcdef
    archive: /var/lib/mammoctl/store/SHA256/environment-py3.11-x86_64-cpu.tar.zst
"""

import contextlib
import fcntl
import glob
import json
import os
import shutil
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mammoctl_digest import digest
from ansible.module_utils.mammoctl_manifest import record
from ansible.module_utils.mammoctl_whole import MARKER, is_complete


@contextlib.contextmanager
def alone(root):
    """Hold the folder of the environments; waits for another run of this module."""
    os.umask(0o022)
    os.makedirs(root, exist_ok=True)
    with open(os.path.join(root, ".lock"), "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def discard(archive):
    """Remove the archive and its folder in the store."""
    shutil.rmtree(os.path.dirname(archive), ignore_errors=True)


def switch(link, target):
    """Let ``link`` point to ``target``, atomically."""
    temporary = link + ".new"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, link)


def build(module, place):
    """Make the environment at ``place``; return the seconds of each step."""
    wanted, seconds = module.params, {}
    archive = wanted["archive"]
    record("trees", [os.path.dirname(wanted["root"])])
    shutil.rmtree(place, ignore_errors=True)
    environment = {"LC_ALL": "C.UTF-8", "HOME": "/root"}

    def step(name, command):
        started = time.monotonic()
        rc, out, err = module.run_command(command, environ_update=environment, umask=0o022)
        if rc:
            said = "\n".join((err or out).strip().splitlines()[-15:])
            message = "The Python environment could not be made (%s): %s" % (name, said)
            wrong = name == "unpack" and digest(archive) != os.path.basename(os.path.dirname(archive))
            if wrong:
                discard(archive)
                message += "\nDamaged on the node, and removed: %s. Run the same command again." % os.path.basename(
                    archive
                )
            module.fail_json(msg=message)
        seconds[name] = round(time.monotonic() - started, 1)

    if not os.path.isfile(archive):
        module.fail_json(msg="The node has no %s. Run the same command again: it is pushed then." % archive)
    step("venv", [wanted["python"], "-m", "venv", "--without-pip", place])
    step("unpack", ["tar", "--extract", "--zstd", "--no-same-owner", "--file", archive, "--directory", place])
    (site,) = glob.glob(os.path.join(place, "lib", "python*", "site-packages"))
    # The services' users cannot write here: what is not compiled now is compiled at every start of a process. It was
    # before, where the control machine has this Python. Some packages carry files for other versions of Python,
    # hence no look at the exit status.
    if not glob.glob(os.path.join(site, "*", "__pycache__")):
        started = time.monotonic()
        python = os.path.join(place, "bin", "python")
        command = [python, "-m", "compileall", "-q", "-j", "0", "-x", "/tests?/", site]
        module.run_command(command, environ_update=environment, umask=0o022)
        seconds["compile"] = round(time.monotonic() - started, 1)
    return seconds


def try_out(module, place):
    """Fail, naming the module, unless everything that must be importable is; a failed environment is made anew."""
    program = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
    command = [os.path.join(place, "bin", "python"), "-B", "-c", program, *module.params["modules"]]
    rc, _out, err = module.run_command(command, environ_update={"LC_ALL": "C.UTF-8"}, cwd="/")
    if rc:
        os.unlink(os.path.join(place, MARKER))
        said = err.strip().splitlines()
        module.fail_json(
            msg="The new Python environment does not work: %s" % (said[-1] if said else "exit status %d" % rc)
        )


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "key": {"type": "str", "required": True},
            "root": {"type": "path", "default": "/opt/mammoctl/envs"},
            "link": {"type": "path", "default": "/opt/mammoctl/env"},
            "archive": {"type": "path", "required": True},
            "python": {"type": "path", "default": "/usr/bin/python3"},
            "switch": {"type": "bool", "default": True},
            "modules": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    place = os.path.join(wanted["root"], wanted["key"])
    marker = os.path.join(place, MARKER)
    complete = is_complete(place)
    current = os.readlink(wanted["link"]) if os.path.islink(wanted["link"]) else ""
    switched = current == place or not wanted["switch"]
    changed = not complete or not switched
    diff = {"before": "%s\n" % current, "after": "%s\n" % place} if changed else {}
    seconds = {}
    if changed and not module.check_mode:
        with alone(wanted["root"]):
            if not is_complete(place):
                seconds = build(module, place)
                with open(marker, "w", encoding="utf-8") as stream:
                    json.dump({"key": wanted["key"], "seconds": seconds}, stream)
                    stream.flush()
                    os.fsync(stream.fileno())
        if wanted["modules"]:
            try_out(module, place)
        if not switched:
            switch(wanted["link"], place)
        discard(wanted["archive"])
    module.exit_json(changed=changed, seconds=seconds, diff=diff)


if __name__ == "__main__":
    main()
