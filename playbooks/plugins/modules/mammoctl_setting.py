#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""One secret setting replaced in files that have it already, and nothing else in them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mammoctl_setting
short_description: Replace the value of a secret setting in the files that have it
description:
  - For files of lines C(NAME VALUE) that a role has laid down. A file without the setting is left alone, and so are
    all other lines, so that what the inventory has come to say meanwhile is not applied by halves.
  - Each file is replaced whole, with its owner and mode. Neither the old value nor the new one shows in the result.
author: mammoctl
options:
  files: {description: Paths or patterns., type: list, elements: path, required: true}
  required: {description: Paths among them that must have the setting., type: list, elements: path, default: []}
  name: {description: The setting., type: str, required: true}
  value: {description: Its new value; one line., type: str, required: true}
"""

EXAMPLES = r"""
- name: Put the present secret into the settings
  mammoctl_setting:
    files: [/etc/spark/spark-defaults.conf]
    name: spark.authenticate.secret
    value: "{{ _spark_secret }}"
"""

import glob
import os
import re
import stat

from ansible.module_utils.basic import AnsibleModule


def replaced(text, name, value):
    """Return the text with another value for a setting, or None where it has no such setting (pure)."""
    line = re.compile(r"^(%s[ \t]+)\S.*$" % re.escape(name), re.MULTILINE)
    return line.sub(lambda found: found[1] + value, text) if line.search(text) else None


def rewrite(path, text):
    """Put a file's new text in its place, atomically, with the owner and mode of the old one."""
    old = os.stat(path)
    temporary = "%s.mammoctl-new" % path
    if os.path.lexists(temporary):
        os.unlink(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as stream:
        os.fchown(stream.fileno(), old.st_uid, old.st_gid)
        os.fchmod(stream.fileno(), stat.S_IMODE(old.st_mode))
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


def main():
    """Run the module."""
    paths = {"type": "list", "elements": "path"}
    module = AnsibleModule(
        argument_spec={
            "files": {**paths, "required": True},
            "required": {**paths, "default": []},
            "name": {"type": "str", "required": True},
            "value": {"type": "str", "required": True, "no_log": True},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    if not wanted["value"] or wanted["value"] != wanted["value"].strip() or "\n" in wanted["value"]:
        module.fail_json(msg="%(name)s: the value must be one line, and not empty" % wanted)
    found = {path for pattern in wanted["files"] for path in glob.glob(pattern) if os.path.isfile(path)}
    missing, fresh = set(wanted["required"]), {}
    for path in sorted(found):
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            before = stream.read()
        after = replaced(before, wanted["name"], wanted["value"])
        if after is not None:
            missing.discard(path)
        if after not in (None, before):
            fresh[path] = after
    if missing:
        module.fail_json(
            msg="%s: no setting %s; has the host been provisioned?" % (", ".join(sorted(missing)), wanted["name"])
        )
    if not module.check_mode:
        for path, text in fresh.items():
            rewrite(path, text)
    hidden = "%s (a secret: not shown)\n" % wanted["name"]
    diff = [{"before_header": path, "after_header": path, "before": hidden, "after": hidden + " "} for path in fresh]
    module.exit_json(changed=bool(fresh), paths=list(fresh), diff=diff)


if __name__ == "__main__":
    main()
