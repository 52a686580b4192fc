#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""One locked Python environment out of pushed wheels, and the link that makes it the current one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mammoctl_env
short_description: Build the Python environment of a requirements file from the node's store, then link it
description:
  - ROOT/KEY is complete when it holds the marker C(.complete); anything else at that place is made anew.
  - uv installs with hashes, without an index; C(python3-venv) and pip are not needed on the node.
  - LINK is switched only after that, atomically; an upgrade first builds on all nodes, and switches later.
  - A run that was killed may still be building on the node; the next one waits for it.
author: mammoctl
options:
  key: {description: Name of the environment., type: str, required: true}
  root: {description: Folder of the environments., type: path, default: /opt/mammoctl/envs}
  link: {description: The link to the current one., type: path, default: /opt/mammoctl/env}
  store: {description: The store of artifacts., type: path, default: /var/lib/mammoctl/store}
  uv: {description: The installer., type: path, required: true}
  requirements: {description: The requirements file with hashes., type: path, required: true}
  python: {description: The base interpreter., type: path, default: /usr/bin/python3}
  switch: {description: Whether to make it the current one., type: bool, default: true}
  modules: {description: What must be importable before that., type: list, elements: str, default: []}
"""

EXAMPLES = r"""
- name: Build the environment
  mammoctl_env:
    key: 0123456789abcdef
    uv: /var/lib/mammoctl/store/SHA/uv
    requirements: /var/lib/mammoctl/store/SHA/requirements-cpu.txt
"""

import contextlib
import fcntl
import glob
import json
import os
import re
import shutil
import tempfile
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


def wheels(store, requirements):
    """Return checksum -> path of the wheels of a requirements file that lie in the store."""
    with open(requirements, encoding="utf-8") as stream:
        sums = re.findall(r"sha256:([0-9a-f]{64})", stream.read())
    return {each: path for each in sums for path in glob.glob(os.path.join(store, each, "*.whl"))}


def damaged(store, requirements):
    """Remove the wheels whose checksum is wrong, so that they are pushed again; return their names."""
    bad = [path for wanted, path in wheels(store, requirements).items() if digest(path) != wanted]
    for path in bad:
        os.unlink(path)
    return sorted(os.path.basename(path) for path in bad)


def link_names(store, requirements, folder):
    """Make ``folder`` hold a link to each wheel that is needed, for --find-links."""
    for path in wheels(store, requirements).values():
        os.symlink(path, os.path.join(folder, os.path.basename(path)))


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
    cache = os.path.join(os.path.dirname(wanted["root"]), ".uv-cache")
    os.umask(0o022)
    os.makedirs(wanted["root"], exist_ok=True)
    record("trees", [os.path.dirname(wanted["root"])])
    shutil.rmtree(place, ignore_errors=True)
    environment = {
        "UV_CACHE_DIR": cache,
        "UV_NO_CONFIG": "1",
        "UV_OFFLINE": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
        "UV_LINK_MODE": "hardlink",
        "LC_ALL": "C.UTF-8",
        "HOME": "/root",
    }
    python = os.path.join(place, "bin", "python")

    def step(name, command):
        started = time.monotonic()
        rc, out, err = module.run_command(command, environ_update=environment, umask=0o022)
        if rc:
            said = "\n".join((err or out).strip().splitlines()[-15:])
            message = "The Python environment could not be made (%s): %s" % (name, said)
            bad = damaged(wanted["store"], wanted["requirements"]) if name == "install" else []
            if bad:
                message += "\nDamaged on the node, and removed: %s. Run the same command again." % ", ".join(bad)
            module.fail_json(msg=message)
        seconds[name] = round(time.monotonic() - started, 1)

    links = tempfile.mkdtemp(prefix="links-", dir=wanted["root"])
    try:
        link_names(wanted["store"], wanted["requirements"], links)
        step(
            "venv",
            [wanted["uv"], "venv", "--quiet", "--no-project", "--python", wanted["python"], place],
        )
        install = [wanted["uv"], "pip", "install", "--quiet", "--python", python, "--no-index"]
        install += ["--find-links", links, "--no-deps", "--require-hashes", "--requirement"]
        step("install", [*install, wanted["requirements"]])
    finally:
        shutil.rmtree(links, ignore_errors=True)
        shutil.rmtree(cache, ignore_errors=True)
    # The services' users cannot write here: what is not compiled now is compiled at every start of a process.
    # Some packages carry files for other versions of Python, hence no look at the exit status.
    started = time.monotonic()
    command = [python, "-m", "compileall", "-q", "-j", "0", "-x", "/tests?/", os.path.join(place, "lib")]
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
            "store": {"type": "path", "default": "/var/lib/mammoctl/store"},
            "uv": {"type": "path", "required": True},
            "requirements": {"type": "path", "required": True},
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
    module.exit_json(changed=changed, seconds=seconds, diff=diff)


if __name__ == "__main__":
    main()
