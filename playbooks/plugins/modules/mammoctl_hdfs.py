#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""HDFS awaited, and its folders made, over the NameNode's HTTP interface: no JVM is started."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mammoctl_hdfs
short_description: Wait until HDFS can be written, and make its folders with their owners
description:
  - The command line of HDFS costs a JVM, seconds, per question. The NameNode answers the same over HTTP.
author: mammoctl
options:
  url: {description: The NameNode's page, type: str, required: true}
  user: {description: The superuser., type: str, default: hdfs}
  datanodes: {description: How many must be live., type: int, required: true}
  page: {description: Also the page of a DataNode which must itself say that it serves., type: str, default: ""}
  timeout_s: {description: Seconds to wait., type: int, default: 120}
  directories:
    description: The folders.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path in HDFS., type: str, required: true}
      owner: {description: Owner., type: str, required: true}
      group: {description: Group., type: str, required: true}
      mode: {description: Octal digits., type: str, required: true}
"""

EXAMPLES = r"""
- name: Make the folders
  mammoctl_hdfs:
    url: http://lab1:9870
    datanodes: 3
    directories:
      - {path: /mammoctl/data, owner: spark, group: spark, mode: "0750"}
"""

import json
import time
import urllib.error
import urllib.parse
import urllib.request

from ansible.module_utils.basic import AnsibleModule

STATE = "/jmx?qry=Hadoop:service=NameNode,name=%s"
DATANODE = "/jmx?qry=Hadoop:service=DataNode,name=DataNodeInfo"


class NameNode:
    """The NameNode's HTTP interface."""

    def __init__(self, url, user):
        self.url, self.user = url.rstrip("/"), user
        # Never through a proxy that the environment names: the address is on the cluster.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path, url=""):
        """Return the JSON at a path of the pages; of those at ``url`` when given."""
        with self.opener.open((url or self.url) + path, timeout=10) as answer:
            return json.load(answer)

    def call(self, method, path, operation, **parameters):
        """Run one operation of WebHDFS; None when the path does not exist."""
        query = urllib.parse.urlencode({"op": operation, "user.name": self.user, **parameters})
        url = "%s/webhdfs/v1%s?%s" % (self.url, urllib.parse.quote(path), query)
        try:
            with self.opener.open(urllib.request.Request(url, method=method), timeout=30) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise RuntimeError("%s %s: %s" % (operation, path, error.read().decode()[:500])) from error

    def state(self):
        """Return (safe mode text or '', number of live DataNodes)."""
        info = self.get(STATE % "NameNodeInfo")["beans"][0]
        system = self.get(STATE % "FSNamesystemState")["beans"][0]
        return info["Safemode"], system["NumLiveDataNodes"]


def serves(info):
    """Tell whether a DataNode's own account says that it is registered and heard (pure)."""
    actors = json.loads(info["beans"][0]["BPServiceActorInfo"])
    return bool(actors) and all(a["ActorState"] == "RUNNING" and int(a["LastHeartbeat"]) <= 10 for a in actors)


def wanted_changes(found, wanted):
    """Return which of ``create owner mode`` a folder needs (pure)."""
    if found is None:
        return ["create", "owner", "mode"]
    status = found["FileStatus"]
    changes = []
    if (status["owner"], status["group"]) != (wanted["owner"], wanted["group"]):
        changes.append("owner")
    if int(status["permission"], 8) != int(wanted["mode"], 8):
        changes.append("mode")
    return changes


def main():
    """Run the module."""
    text = {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "url": text,
            "user": {"type": "str", "default": "hdfs"},
            "datanodes": {"type": "int", "required": True},
            "page": {"type": "str", "default": ""},
            "timeout_s": {"type": "int", "default": 120},
            "directories": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"path": text, "owner": text, "group": text, "mode": text},
            },
        },
        supports_check_mode=True,
    )
    wanted = module.params
    namenode = NameNode(wanted["url"], wanted["user"])
    deadline = time.monotonic() + (0 if module.check_mode else wanted["timeout_s"])
    while True:
        try:
            safemode, live = namenode.state()
            seen = "%d of %d DataNodes live%s" % (
                live,
                wanted["datanodes"],
                ", safe mode" if safemode else "",
            )
            if not safemode and live >= wanted["datanodes"]:
                # The NameNode counts a DataNode that has just been stopped; its successor knows better.
                if not wanted["page"] or serves(namenode.get(DATANODE, wanted["page"])):
                    break
                seen = "the DataNode at %s has not registered yet" % wanted["page"]
        except (OSError, ValueError, LookupError) as error:
            seen = "no answer: %s" % error
        if time.monotonic() > deadline:
            if module.check_mode:
                paths = "".join("%(path)s\n" % folder for folder in wanted["directories"])
                module.exit_json(changed=True, seen=seen, diff={"before": "", "after": paths})
            module.fail_json(
                msg="HDFS is not ready: %s. Look at 'journalctl -u hdfs-namenode' on the master and at"
                " 'journalctl -u hdfs-datanode' on the workers that are missing." % seen
            )
        time.sleep(0.5)

    changed = []
    try:
        for folder in wanted["directories"]:
            path = folder["path"]
            changes = wanted_changes(namenode.call("GET", path, "GETFILESTATUS"), folder)
            if not changes:
                continue
            changed.append("%s: %s" % (path, ", ".join(changes)))
            if module.check_mode:
                continue
            if "create" in changes:
                namenode.call("PUT", path, "MKDIRS", permission=folder["mode"])
            namenode.call("PUT", path, "SETOWNER", owner=folder["owner"], group=folder["group"])
            namenode.call("PUT", path, "SETPERMISSION", permission=folder["mode"])
    except (OSError, RuntimeError) as error:
        module.fail_json(msg="HDFS refused: %s" % error)
    module.exit_json(
        changed=bool(changed),
        seen=seen,
        diff={"before": "", "after": "".join("%s\n" % c for c in changed)},
    )


if __name__ == "__main__":
    main()
