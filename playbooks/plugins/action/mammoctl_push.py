# Copyright (c) the mammoctl authors
# GNU General Public License v3.0 or later: see ../COPYING (this file imports Ansible)
"""Brings the artifacts of a bundle that a node lacks into its content-addressed store."""

from __future__ import annotations

import os
import tarfile
import tempfile
import time

from ansible.plugins.action import ActionBase

SMALL = 8 << 20  # bytes: below, files travel together; each transfer by itself costs 50 to 100 ms


def parcels(files, small=SMALL):
    """Split files into ([those that travel together], [those that travel alone]) by size."""
    together = [item for item in files if item["size"] < small]
    alone = [item for item in files if item["size"] >= small]
    return together, alone


class ActionModule(ActionBase):
    """Ask for the missing files, send them over the task's connection, have them checked."""

    _requires_connection = True
    _VALID_ARGS = frozenset({"source", "files", "root"})

    def run(self, tmp=None, task_vars=None):
        """Return changed, files (sent), bytes, seconds."""
        result = super().run(tmp, task_vars)
        source, wanted = self._task.args["source"], self._task.args["files"]
        paths = {item["sha256"]: os.path.join(source, item["path"]) for item in wanted}
        listed = [{key: item[key] for key in ("name", "sha256", "size")} for item in wanted]
        arguments = {"files": listed}
        if "root" in self._task.args:
            arguments["root"] = self._task.args["root"]

        asked = self._call("missing", arguments, task_vars)
        if asked.get("failed"):
            return asked
        missing = asked["missing"]
        size = sum(item["size"] for item in missing)
        result.update(changed=bool(missing), files=len(missing), bytes=size, seconds=0.0)
        if not missing or self._task.check_mode:
            if missing:
                names = "".join(f"{item['name']}\n" for item in missing)
                result["diff"] = {"before": "", "after": names}
            return result
        lost = [item["name"] for item in missing if not os.path.isfile(paths[item["sha256"]])]
        if lost:
            message = f"Not in the bundle's store {source}: {', '.join(lost)}. Run 'mammoctl bundle create'."
            return {"failed": True, "msg": message}
        started = time.monotonic()
        self._send(missing, paths, asked["incoming"])
        sent = time.monotonic()
        taken = self._call("taken", arguments, task_vars)
        if taken.get("failed"):
            return taken
        result["seconds"] = round(sent - started, 1)
        result["check_seconds"] = round(time.monotonic() - sent, 1)
        return result

    def _call(self, state, arguments, task_vars):
        return self._execute_module(
            module_name="mammoctl_store",
            module_args={**arguments, "state": state},
            task_vars=task_vars,
        )

    def _send(self, missing, paths, incoming):
        together, alone = parcels(missing)
        if together:
            with tempfile.TemporaryDirectory(prefix="mammoctl-push-") as folder:
                archive = os.path.join(folder, "small.tar")
                with tarfile.open(archive, "w") as tar:
                    for item in together:
                        tar.add(paths[item["sha256"]], arcname=item["sha256"], recursive=False)
                self._connection.put_file(archive, f"{incoming}/small.tar")
        for item in alone:
            self._connection.put_file(paths[item["sha256"]], f"{incoming}/{item['sha256']}")
