#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""The way back from an upgrade: what a node was before, kept beside what it is now."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mammoctl_upgrade
short_description: Keep what an upgrade replaces on a node, bring it back, and tidy up behind it
description:
  - Kept are the settings, units and links that mammoctl recorded as its own below C(/etc), C(/opt) and C(/usr); a
    few kilobytes. Environments and artifacts lie side by side under names of their own, so links are the way back.
  - C(looked) changes nothing. It tells what the node is, what is kept, and what runs.
  - C(saved) keeps the present state, unless the upgrade to C(to) has begun here before.
  - C(restored) brings the kept state back, removes files that came later, and disables units that came later.
  - C(dropped) forgets the kept state. C(pruned) removes the environments and unpacked archives of neither the present
    nor the kept.
author: mammoctl
options:
  state: {description: What to do., type: str, choices: [looked, saved, restored, dropped, pruned], default: looked}
  to: {description: Key of the bundle of the upgrade., type: str, default: ""}
  link: {description: The link to the current environment., type: path, default: /opt/mammoctl/env}
  interpreters: {description: Folder of managed interpreters., type: path, default: /opt/mammoctl/python}
  envs: {description: Folder of the environments., type: path, default: /opt/mammoctl/envs}
  unpacked:
    description: Folders of unpacked archives; the settings name those that are in use.
    type: list
    elements: path
    default: [/opt/mammoctl/spark, /opt/mammoctl/sbt]
  kept: {description: Where the kept state lies., type: path, default: /var/lib/mammoctl/previous}
"""

EXAMPLES = r"""
- name: Keep what there is
  mammoctl_upgrade:
    state: saved
    to: "{{ mammoctl_bundle.key }}"
"""

import fnmatch
import json
import os
import shutil
import urllib.request

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mammoctl_manifest import load, record, save
from ansible.module_utils.mammoctl_superfluous import superfluous, unnamed

CLUSTER = "/etc/mammoctl/cluster.json"
SETTINGS = ("/etc/", "/opt/", "/usr/")  # what lies elsewhere is state, and stays through upgrades
RECORD = "kept.json"


def read_json(path):
    """Return the JSON object in a file, or an empty one."""
    try:
        with open(path, encoding="utf-8") as stream:
            found = json.load(stream)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def describe(link):
    """Return what the node is: bundle, version of Spark, environment."""
    cluster = read_json(CLUSTER)
    return {
        "bundle": cluster.get("bundle", ""),
        "spark_version": cluster.get("spark_version", ""),
        "env": os.readlink(link) if os.path.islink(link) else "",
    }


def is_same_upgrade(kept, to, bundle):
    """Tell whether what is kept was kept for this very upgrade, which was interrupted (pure)."""
    return bool(kept) and kept["to"] == to and bundle in (kept["from"]["bundle"], to)


def state_of(path):
    """Return how a file or link is now, or None."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    if os.path.islink(path):
        return {"path": path, "link": os.readlink(path)}
    with open(path, "rb") as stream:
        data = stream.read()
    return {"path": path, "uid": found.st_uid, "gid": found.st_gid, "mode": found.st_mode & 0o7777, "data": data}


def keep(kept, names, present, to):
    """Write the state of the files and links ``names`` to the folder ``kept``, whole or not at all."""
    fresh = kept + ".new"
    shutil.rmtree(fresh, ignore_errors=True)
    os.makedirs(fresh, 0o700)
    os.chmod(fresh, 0o700)
    entries = []
    for number, name in enumerate(names):
        entry = state_of(name)
        if entry is None:
            continue
        data = entry.pop("data", None)
        if data is not None:
            entry["copy"] = str(number)
            with open(os.path.join(fresh, entry["copy"]), "wb") as stream:
                os.fchmod(stream.fileno(), 0o600)
                stream.write(data)
        entries.append(entry)
    with open(os.path.join(fresh, RECORD), "w", encoding="utf-8") as stream:
        json.dump({"from": present, "to": to, "files": entries}, stream)
    shutil.rmtree(kept, ignore_errors=True)
    os.replace(fresh, kept)


def differs(kept, entry):
    """Tell whether a file or link is not as it was kept."""
    now = state_of(entry["path"])
    if now is None or ("link" in now) != ("link" in entry):
        return True
    if "link" in entry:
        return now["link"] != entry["link"]
    with open(os.path.join(kept, entry["copy"]), "rb") as stream:
        same = stream.read() == now["data"]
    return not same or any(now[key] != entry[key] for key in ("uid", "gid", "mode"))


def bring_back(kept, entry):
    """Put a file or link back as it was kept, atomically."""
    path = entry["path"]
    temporary = path + ".mammoctl-new"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    if "link" in entry:
        os.symlink(entry["link"], temporary)
    else:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as target, open(os.path.join(kept, entry["copy"]), "rb") as source:
            os.fchown(target.fileno(), entry["uid"], entry["gid"])
            os.fchmod(target.fileno(), entry["mode"])
            shutil.copyfileobj(source, target)
    os.replace(temporary, path)


def restore(module, kept, record_of):
    """Bring everything back; return what that changes (check mode: would change)."""
    known = {entry["path"] for entry in record_of["files"]}
    later = [name for name in settings(load(), "") if name not in known and os.path.lexists(name)]
    stale = [entry for entry in record_of["files"] if differs(kept, entry)]
    changed = [entry["path"] for entry in stale] + later
    if module.check_mode:
        return changed
    for name in later:
        if fnmatch.fnmatch(name, "/etc/systemd/system/*.service"):
            module.run_command(["systemctl", "disable", "--now", os.path.basename(name)])
        os.unlink(name)
    if later:
        manifest = load()
        manifest["files"] = [name for name in manifest["files"] if name not in later]
        save(manifest)
    # The link to the environment last: until then an interrupted run is seen as not yet restored.
    for entry in sorted(stale, key=lambda entry: entry["path"] == module.params["link"]):
        bring_back(kept, entry)
    return changed


def settings(manifest, link):
    """Return the recorded files that are settings, and the link (pure)."""
    names = [name for name in manifest["files"] if name.startswith(SETTINGS)]
    return [*names, link] if link and link not in names else names


def applications(url):
    """Return the names of the applications that run, as the Spark master's page tells; none without an answer."""
    # Never through a proxy that the environment names: the address is on the cluster.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url + "/json/", timeout=10) as answer:
            found = json.load(answer)
    except (OSError, ValueError):
        return []
    return ["application %s" % app.get("name", "?") for app in found.get("activeapps", [])]


def running(module):
    """Return what runs on the cluster, as this node (the master) knows it."""
    cluster = read_json(CLUSTER).get("master", {})
    _rc, out, _err = module.run_command(
        ["systemctl", "list-units", "--no-legend", "--plain", "--state=active,activating", "mammoctl-job-*.service"]
    )
    units = [line.split()[0] for line in out.splitlines() if line.strip()]
    if "address" not in cluster:
        return units
    return units + applications("http://%(address)s:%(ui_port)s" % cluster)


def said_by_settings(kept, record_of, names):
    """Return all that the settings ``names`` and the kept ones say, texts and the targets of links."""
    texts = []
    for entry in filter(None, map(state_of, names)):
        texts.append(entry["link"] if "link" in entry else entry["data"].decode("utf-8", "replace"))
    for entry in record_of.get("files", []):
        if "link" in entry:
            texts.append(entry["link"])
            continue
        with open(os.path.join(kept, entry["copy"]), encoding="utf-8", errors="replace") as stream:
            texts.append(stream.read())
    return "\n".join(texts)


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["looked", "saved", "restored", "dropped", "pruned"],
                "default": "looked",
            },
            "to": {"type": "str", "default": ""},
            "link": {"type": "path", "default": "/opt/mammoctl/env"},
            "interpreters": {"type": "path", "default": "/opt/mammoctl/python"},
            "envs": {"type": "path", "default": "/opt/mammoctl/envs"},
            "unpacked": {
                "type": "list",
                "elements": "path",
                "default": ["/opt/mammoctl/spark", "/opt/mammoctl/sbt"],
            },
            "kept": {"type": "path", "default": "/var/lib/mammoctl/previous"},
        },
        supports_check_mode=True,
    )
    wanted, check = module.params, module.check_mode
    state, kept, link = wanted["state"], wanted["kept"], wanted["link"]
    before = read_json(os.path.join(kept, RECORD))
    present = describe(link)
    if state == "looked":
        known = {key: before[key] for key in ("from", "to")} if before else {}
        cluster = read_json(CLUSTER)
        module.exit_json(changed=False, present=present, kept=known, cluster=cluster, running=running(module))
    if state == "saved":
        needed = not is_same_upgrade(before, wanted["to"], present["bundle"])
        if needed and not check:
            keep(kept, settings(load(), link), present, wanted["to"])
            record("trees", [kept])
        module.exit_json(changed=False, saved=needed)
    if state == "restored":
        changed = restore(module, kept, before) if before else []
        after = "".join("%s\n" % name for name in changed)
        module.exit_json(changed=bool(changed), restored=changed, diff={"before": "", "after": after})
    if state == "dropped":
        there = os.path.isdir(kept)
        if there and not check:
            shutil.rmtree(kept)
        module.exit_json(changed=False, dropped=there)
    links = (present["env"], before.get("from", {}).get("env", ""))
    needed = {os.path.basename(name) for name in links if name}
    old = superfluous(wanted["envs"], wanted["interpreters"], needed) if needed else []
    old += unnamed(wanted["unpacked"], said_by_settings(kept, before, settings(load(), link)))
    if not check:
        for path in old:
            shutil.rmtree(path)
    text = "".join("%s\n" % path for path in old)
    module.exit_json(changed=bool(old), removed=old, diff={"before": text, "after": ""})


if __name__ == "__main__":
    main()
