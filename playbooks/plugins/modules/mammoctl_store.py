#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""The node's half of pushing artifacts: what is missing, and checked files into their place."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mammoctl_store
short_description: Tell which artifacts a node lacks, and take pushed ones in after checking them
description:
  - An artifact lies at ROOT/SHA256/NAME, is owned by root, and was checked against its sha256 before it got there.
  - C(state=missing) also opens the folder ROOT/.incoming to the connecting user.
  - C(state=taken) checks what arrived there and moves it in. Both are safe after an interruption.
author: mammoctl
options:
  state: {description: What to do., type: str, choices: [missing, taken], default: missing}
  root: {description: The store., type: path, default: /var/lib/mammoctl/store}
  files:
    description: The artifacts.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: File name., type: str, required: true}
      sha256: {description: Its checksum., type: str, required: true}
      size: {description: Its size in bytes., type: int, required: true}
"""

EXAMPLES = r"""
- name: Ask what is missing
  mammoctl_store:
    files: "{{ mammoctl_bundle.files }}"
"""

import os
import shutil
import tarfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mammoctl_digest import digest
from ansible.module_utils.mammoctl_manifest import record


def place(root, wanted):
    """Return where an artifact belongs."""
    return os.path.join(root, wanted["sha256"], wanted["name"])


def missing(root, files):
    """Return the artifacts that are not there in their full size."""
    absent = []
    for wanted in files:
        try:
            there = os.stat(place(root, wanted)).st_size == wanted["size"]
        except OSError:
            there = False
        if not there:
            absent.append(wanted)
    return absent


def take(root, incoming, files):
    """Move what arrived into its place; return the names whose checksum is wrong.

    Files come by their checksum, alone or inside tar archives ``*.tar`` of such files.
    """
    for name in sorted(os.listdir(incoming)):
        path = os.path.join(incoming, name)
        if name.endswith(".tar"):
            try:
                unpack(path, incoming)
            finally:
                os.unlink(path)
    bad = []
    for wanted in missing(root, files):
        path = os.path.join(incoming, wanted["sha256"])
        if not os.path.isfile(path) or os.path.islink(path):
            continue
        os.chown(path, 0, 0)
        os.chmod(path, 0o644)
        if os.stat(path).st_size != wanted["size"] or digest(path) != wanted["sha256"]:
            os.unlink(path)
            bad.append(wanted["name"])
            continue
        folder = os.path.join(root, wanted["sha256"])
        if not os.path.isdir(folder):
            os.mkdir(folder)
            os.chmod(folder, 0o755)
        os.replace(path, place(root, wanted))
    return bad


def unpack(path, folder):
    """Write the plain files of an archive into ``folder`` under their last name."""
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile():
                name = os.path.basename(member.name)
                with open(os.path.join(folder, name), "wb") as target:
                    shutil.copyfileobj(archive.extractfile(member), target, 1 << 20)


def open_incoming(root):
    """Make ROOT and ROOT/.incoming, writable by the user who connected; return the latter."""
    incoming = os.path.join(root, ".incoming")
    for folder in (os.path.dirname(root), root):
        if not os.path.isdir(folder):
            os.mkdir(folder)
            os.chmod(folder, 0o755)
    record("trees", [root])
    if not os.path.isdir(incoming):
        os.mkdir(incoming)
    os.chmod(incoming, 0o700)
    os.chown(incoming, int(os.environ.get("SUDO_UID", "0")), int(os.environ.get("SUDO_GID", "0")))
    return incoming


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["missing", "taken"], "default": "missing"},
            "root": {"type": "path", "default": "/var/lib/mammoctl/store"},
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "sha256": {"type": "str", "required": True},
                    "size": {"type": "int", "required": True},
                },
            },
        },
        supports_check_mode=True,
    )
    root, files = module.params["root"], module.params["files"]
    incoming = os.path.join(root, ".incoming")
    absent = missing(root, files)
    if module.check_mode or not absent:
        module.exit_json(changed=False, missing=absent, incoming=incoming)
    if module.params["state"] == "missing":
        incoming = open_incoming(root)
        take(root, incoming, files)
        module.exit_json(changed=False, missing=missing(root, files), incoming=incoming)
    bad = take(root, incoming, files)
    if bad:
        module.fail_json(
            msg="Arrived with a wrong checksum: %s. Run the same command again; if it stays, check the"
            " bundle with 'mammoctl bundle create' and the node's disk." % ", ".join(bad)
        )
    still = missing(root, files)
    if still:
        module.fail_json(msg="Did not arrive: %s" % ", ".join(f["name"] for f in still))
    shutil.rmtree(incoming, ignore_errors=True)
    module.exit_json(changed=True, missing=[], incoming=incoming)


if __name__ == "__main__":
    main()
