#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Everything that a role lays down on a node (users, folders, files, links) in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mammoctl_files
short_description: Lay down a role's users, folders, files, links and managed blocks in one call
description:
  - Every call of a module costs a node a fraction of a second; a role has a dozen files. This is one call for all
    of them, with a true check mode and a diff per file. Secret contents never show in the diff.
  - The action plugin of the same name renders C(template) on the control machine before.
  - What it makes is recorded on the node (see mammoctl_manifest), for teardown.
author: mammoctl
options:
  users:
    description: System accounts, each with a group of its name.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: The account., type: str, required: true}
      home: {description: Its home; not created., type: path, required: true}
      members: {description: Accounts of people who join its group., type: list, elements: str, default: []}
      shell: {description: Its login shell., type: path, default: /usr/sbin/nologin}
  items:
    description: What must be there, in this order.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Where., type: path, required: true}
      state:
        description:
          - What. A block is a marked part of a file that others own, too; absent removes.
          - With others_absent C(path) is a pattern; what matches it goes, but for the paths of the other items.
        type: str
        choices: [file, directory, link, block, absent, others_absent]
        default: file
      content: {description: The text of a file or block., type: str}
      secret_content: {description: The same for a text that must not be shown., type: str}
      target: {description: Where a link points to., type: path}
      owner: {description: The owner., type: str, default: root}
      group: {description: The group., type: str, default: root}
      mode: {description: The mode in octal digits; 0755 for a folder and 0644 for a file when left out., type: str}
      validate: {description: Command that must accept the new file; %s is its path., type: str}
      disable: {description: Lines of the file outside the block that match are commented out., type: str}
"""

EXAMPLES = r"""
- name: Lay down the settings
  mammoctl_files:
    users:
      - {name: spark, home: /var/lib/spark}
    items:
      - {path: /etc/spark, state: directory}
      - {path: /etc/spark/spark-env.sh, template: spark-env.sh.j2, mode: "0644"}
"""

import glob
import grp
import os
import pwd
import shlex
import shutil
import stat
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mammoctl_account import making
from ansible.module_utils.mammoctl_files_text import with_block
from ansible.module_utils.mammoctl_manifest import load, record

HIDDEN = "(a secret: not shown)\n"


def attributes(path):
    """Return (owner, group, mode) as they are, or None when nothing is there."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


class Layer:
    """Brings items into being, one after the other, and remembers what changed."""

    def __init__(self, module):
        self.module = module
        self.check = module.check_mode
        self.changed, self.diff = [], []
        self.new_users = set()

    def note(self, path, before, after):
        """Remember one change and how it looks."""
        self.changed.append(path)
        self.diff.append({"before_header": path, "after_header": path, "before": before, "after": after})

    def user(self, wanted):
        """Create a system account when there is none; one that is ours gets its shell back."""
        name = wanted["name"]
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            pass
        else:
            if found.pw_shell != wanted["shell"] and name in load()["users"]:
                self.note("user " + name, "shell %s\n" % found.pw_shell, "shell %(shell)s\n" % wanted)
                if not self.check:
                    command = ["usermod", "--shell", wanted["shell"], name]
                    self.module.run_command(command, check_rc=True)
            return
        self.note("user " + name, "", "home %(home)s, shell %(shell)s\n" % wanted)
        self.new_users.add(name)
        if self.check:
            return
        record("users", [name])
        rc, _out, err = self.module.run_command(making(name, wanted["home"], wanted["shell"]))
        if rc:
            self.module.fail_json(msg="Cannot create the account %s: %s" % (name, err.strip()))

    def members(self, wanted):
        """Let people join the group of an account; nobody is ever put out of it."""
        try:
            group = grp.getgrnam(wanted["name"])
            present, gid = set(group.gr_mem), group.gr_gid
        except KeyError:  # in check mode, before the account is there
            present, gid = set(), -1
        for name in wanted["members"]:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                self.module.fail_json(msg="There is no account %s to join the group %s" % (name, wanted["name"]))
            if name in present or entry.pw_gid == gid:
                continue
            self.note("group %(name)s" % wanted, "", "member %s\n" % name)
            if not self.check:
                command = ["usermod", "--append", "--groups", wanted["name"], name]
                self.module.run_command(command, check_rc=True)

    def ids(self, item):
        """Return the numeric (owner, group); -1 for an account that only this run would create."""
        try:
            return pwd.getpwnam(item["owner"]).pw_uid, grp.getgrnam(item["group"]).gr_gid
        except KeyError:
            if self.check:
                return -1, -1
            self.module.fail_json(msg="%(path)s: no account or group %(owner)s:%(group)s" % item)

    def describe(self, found):
        """Return owner, group and mode as a line of a diff."""
        return "owner %d, group %d, mode %04o\n" % found if found else ""

    def permissions(self, item, default_mode):
        """Set owner, group and mode of what is there already; return whether they were others."""
        owner, group = self.ids(item)
        mode = int(item["mode"] or default_mode, 8)
        found = attributes(item["path"])
        if found == (owner, group, mode):
            return False
        if not self.check:
            os.chown(item["path"], owner, group, follow_symlinks=False)
            os.chmod(item["path"], mode)
        if item["path"] not in self.changed:
            self.note(item["path"], self.describe(found), self.describe((owner, group, mode)))
        return True

    def parents(self, path):
        """Create the folders above ``path``, 0755 whatever the umask is."""
        folder = os.path.dirname(path)
        if os.path.isdir(folder) or self.check:
            return
        self.parents(folder)
        os.mkdir(folder)
        os.chmod(folder, 0o755)
        record("directories", [folder])

    def directory(self, item):
        """Make a folder."""
        if os.path.lexists(item["path"]) and not os.path.isdir(item["path"]):
            self.module.fail_json(msg="%(path)s is there and is no folder: move it away" % item)
        if not os.path.isdir(item["path"]):
            self.note(item["path"], "", "a folder, %(owner)s:%(group)s\n" % item)
            if self.check:
                return
            self.parents(item["path"])
            os.mkdir(item["path"], 0o700)
            record("trees", [item["path"]])
        self.permissions(item, "0755")

    def link(self, item):
        """Make a symbolic link, replacing an earlier link atomically."""
        path, target = item["path"], item["target"]
        current = os.readlink(path) if os.path.islink(path) else None
        if current == target:
            return
        if os.path.isdir(path) and not os.path.islink(path):
            self.module.fail_json(msg="%s is a folder that mammoctl did not make: move it away" % path)
        self.note(path, "-> %s\n" % current if current else "", "-> %s\n" % target)
        if self.check:
            return
        self.parents(path)
        record("files", [path])
        temporary = path + ".mammoctl-new"
        if os.path.lexists(temporary):
            os.unlink(temporary)
        os.symlink(target, temporary)
        os.replace(temporary, path)

    def absent(self, item):
        """Remove a file or link."""
        if os.path.lexists(item["path"]):
            self.note(item["path"], "present\n", "")
            if not self.check:
                os.unlink(item["path"])

    def others_absent(self, item, wanted):
        """Remove the files that match a pattern and are not wanted."""
        for path in sorted(glob.glob(item["path"])):
            if path not in wanted:
                self.absent({"path": path})

    def file(self, item):
        """Write a file, or our block in it, when its text differs; then its permissions."""
        path, is_block = item["path"], item["state"] == "block"
        secret = item["secret_content"] is not None
        text = item["secret_content"] if secret else item["content"]
        if text is None:
            self.module.fail_json(msg="%s: no content" % path)
        before = None
        if os.path.isfile(path):
            with open(path, encoding="utf-8", errors="surrogateescape") as stream:
                before = stream.read()
        after = with_block(before or "", text, item["disable"]) if is_block else text
        if before != after:
            shown = (HIDDEN if before else "", HIDDEN + " ") if secret else (before or "", after)
            self.note(path, *shown)
            if not self.check:
                self.write(item, after, existed=before is not None, is_block=is_block)
        if before is not None or not self.check:
            self.permissions(item, "0644")

    def write(self, item, text, existed, is_block):
        """Write to a temporary file of the same name, validate it, and put it in place."""
        path = item["path"]
        self.parents(path)
        if is_block:
            record("blocks", [path])
        if not existed:
            record("files", [path])
        folder = tempfile.mkdtemp(prefix=".mammoctl-", dir=os.path.dirname(path))
        try:
            temporary = os.path.join(folder, os.path.basename(path))
            with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(text)
            owner, group = self.ids(item)
            os.chown(temporary, owner, group)
            os.chmod(temporary, int(item["mode"] or "0644", 8))
            if item["validate"]:
                self.validate(item, temporary)
            os.replace(temporary, path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def validate(self, item, temporary):
        """Fail, and leave the old file, when the new one is not accepted."""
        command = [part.replace("%s", temporary) for part in shlex.split(item["validate"])]
        rc, out, err = self.module.run_command(command)
        if rc:
            said = "(a secret: not shown)" if item["secret_content"] else (err or out).strip()
            self.module.fail_json(msg="%s is not valid, the old one was kept: %s" % (item["path"], said))


def main():
    """Run the module."""
    text, account = {"type": "str"}, {"type": "str", "default": "root"}
    item = {
        "path": {"type": "path", "required": True},
        "state": {
            "type": "str",
            "choices": ["file", "directory", "link", "block", "absent", "others_absent"],
            "default": "file",
        },
        "content": text,
        "secret_content": {"type": "str", "no_log": True},
        "target": {"type": "path"},
        "owner": account,
        "group": account,
        "mode": text,
        "validate": text,
        "disable": text,
    }
    user = {
        "name": {"type": "str", "required": True},
        "home": {"type": "path", "required": True},
        "members": {"type": "list", "elements": "str", "default": []},
        "shell": {"type": "path", "default": "/usr/sbin/nologin"},
    }
    module = AnsibleModule(
        argument_spec={
            "users": {"type": "list", "elements": "dict", "default": [], "options": user},
            "items": {"type": "list", "elements": "dict", "default": [], "options": item},
        },
        supports_check_mode=True,
    )
    layer = Layer(module)
    for wanted in module.params["users"]:
        layer.user(wanted)
        layer.members(wanted)
    for wanted in module.params["items"]:
        state = wanted["state"]
        if state == "others_absent":
            layer.others_absent(wanted, {item["path"] for item in module.params["items"]})
            continue
        getattr(layer, "file" if state == "block" else state)(wanted)
    module.exit_json(changed=bool(layer.changed), paths=layer.changed, diff=layer.diff)


if __name__ == "__main__":
    main()
