#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""A key pair that is made on the node and never leaves it; only its public half comes back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mammoctl_ssh_key
short_description: Make an SSH key pair of an account, once, and return the public key
author: mammoctl
options:
  path: {description: The private key., type: path, required: true}
  user: {description: The account that owns it; made when there is none., type: str, required: true}
  home: {description: The account's home., type: path, required: true}
  comment: {description: Comment of the key., type: str, default: ""}
"""

EXAMPLES = r"""
- name: Make the key
  mammoctl_ssh_key:
    path: /var/lib/mammoctl/home/.ssh/id_ed25519
    user: mammoctl
    home: /var/lib/mammoctl/home
"""

import os
import pwd

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mammoctl_account import making
from ansible.module_utils.mammoctl_manifest import record


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "user": {"type": "str", "required": True},
            "home": {"type": "path", "required": True},
            "comment": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    path, public = wanted["path"], wanted["path"] + ".pub"
    changed = False
    if not (os.path.isfile(path) and os.path.isfile(public)):
        changed = True
        if module.check_mode:
            module.exit_json(changed=True, public_key="(made by the real run)")
        try:
            account = pwd.getpwnam(wanted["user"])
        except KeyError:
            record("users", [wanted["user"]])
            module.run_command(making(wanted["user"], wanted["home"], "/bin/bash"), check_rc=True)
            account = pwd.getpwnam(wanted["user"])
        for folder in (wanted["home"], os.path.dirname(path)):
            if not os.path.isdir(folder):
                os.makedirs(folder, 0o700)
                record("trees", [folder])
            os.chown(folder, account.pw_uid, account.pw_gid)
        if os.path.exists(path):
            command = ["ssh-keygen", "-y", "-f", path]
            _rc, out, _err = module.run_command(command, check_rc=True)
            with open(public, "w", encoding="utf-8") as stream:
                stream.write("%s %s\n" % (out.strip(), wanted["comment"]))
        else:
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", wanted["comment"], "-f", path]
            module.run_command(command, check_rc=True)
        record("files", [path, public])
        for name in (path, public):
            os.chown(name, account.pw_uid, account.pw_gid)
    if os.stat(path).st_mode & 0o777 != 0o600:
        changed = True
        if not module.check_mode:
            os.chmod(path, 0o600)
    with open(public, encoding="utf-8") as stream:
        module.exit_json(changed=changed, public_key=stream.read().strip())


if __name__ == "__main__":
    main()
