#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""An archive of the node's store, unpacked whole or not at all."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mammoctl_archive
short_description: Unpack an archive from the node's store into a folder of its own
description:
  - ROOT/KEY is complete when it holds the marker C(.complete); anything else at that place is made anew.
  - The store has checked the archive's sha256 when it came.
author: mammoctl
options:
  key: {description: Name of the folder., type: str, required: true}
  root: {description: Folder of such folders., type: path, required: true}
  archive: {description: The archive., type: path, required: true}
  strip: {description: Leave out the one folder that everything in the archive is in., type: bool, default: false}
  needs: {description: Paths that must be in it then., type: list, elements: str, default: []}
"""

EXAMPLES = r"""
- name: Unpack Spark
  mammoctl_archive:
    key: 0123456789abcdef
    root: /opt/mammoctl/spark
    archive: /var/lib/mammoctl/store/SHA/spark-bin-hadoop3.tgz
    strip: true
    needs: [bin/spark-class]
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mammoctl_manifest import record
from ansible.module_utils.mammoctl_unpack import BadArchive, unpack
from ansible.module_utils.mammoctl_whole import is_complete, made_whole


def make(module, place):
    """Unpack the archive to its place, whole."""
    wanted = module.params
    record("trees", [wanted["root"]])
    with made_whole(place) as folder:
        try:
            unpack(wanted["archive"], folder, wanted["strip"])
        except BadArchive as exc:
            module.fail_json(msg=str(exc))
        lacking = [name for name in wanted["needs"] if not os.path.exists(os.path.join(folder, name))]
        if lacking:
            module.fail_json(msg="%s has no %s" % (wanted["archive"], ", ".join(lacking)))


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "key": {"type": "str", "required": True},
            "root": {"type": "path", "required": True},
            "archive": {"type": "path", "required": True},
            "strip": {"type": "bool", "default": False},
            "needs": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    place = os.path.join(module.params["root"], module.params["key"])
    changed = not is_complete(place)
    if changed and not module.check_mode:
        make(module, place)
    diff = {"before": "", "after": "%s\n" % place} if changed else {}
    module.exit_json(changed=changed, place=place, diff=diff)


if __name__ == "__main__":
    main()
