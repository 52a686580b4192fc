# Copyright: the mammoctl authors
# GNU General Public License v3.0 or later (see ../COPYING)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what a playbook does as JSON lines to an inherited file descriptor."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: mammoctl_events
    type: notification
    short_description: JSON lines of a playbook's events for mammoctl
    description:
      - Writes one JSON object per event to the file descriptor in the environment variable
        E(MAMMOCTL_EVENTS_FD); does nothing when that variable is not set.
      - Results of modules are not written, only what came of them; what C(no_log) hides stays
        hidden.
"""

VERSION = 1
MESSAGE_MAX = 4000
LABEL_MAX = 80
DIFF_MAX = 20000
CHANGES_MAX = 2000
HIDDEN = "(hidden by no_log)"


class CallbackModule(CallbackBase):
    """One line per event: ``{"v": 1, "t": unix seconds, "event": name, ...}``."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "mammoctl_events"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._started = {}
        self._began = time.time()
        self._fd = None
        number = os.environ.get("MAMMOCTL_EVENTS_FD", "")
        if number.isdigit():
            self._fd = int(number)
            try:
                os.set_inheritable(self._fd, False)  # a lingering ssh must not hold the pipe open
            except OSError:
                self._fd = None
        self.disabled = self._fd is None

    def _emit(self, event, **fields):
        if self._fd is None:
            return
        line = json.dumps({"v": VERSION, "t": time.time(), "event": event, **fields}, default=str)
        data = line.encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            self._fd = None  # nobody listens any more; the playbook itself goes on

    # --- plays and tasks ----------------------------------------------------------------------

    def v2_playbook_on_start(self, playbook):
        self._emit("playbook_start", playbook=Path(str(playbook._file_name)).name)

    def v2_playbook_on_play_start(self, play):
        # Roles that tasks import stand in the list as well; such a play is a group of its own.
        own = [role for role in play.roles if not getattr(role, "from_include", False)]
        self._emit("play_start", play=play.get_name(), roles=bool(own))

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._task_start(task, handler=False)

    def v2_playbook_on_handler_task_start(self, task):
        self._task_start(task, handler=True)

    def _task_start(self, task, handler):
        role = getattr(task, "_role", None)
        self._emit(
            "task_start",
            task=str(task._uuid),
            name=str(task.name or task.action),
            role=role.get_name() if role else "",
            path=task.get_path() or "",
            handler=handler,
            # Ansible checks a role's arguments whatever tags say: that alone is no run of the role.
            preliminary=str(task.action).rpartition(".")[2] == "validate_argument_spec",
        )

    def v2_runner_on_start(self, host, task):
        self._started[host.get_name(), str(task._uuid)] = time.time()

    # --- results ------------------------------------------------------------------------------

    def v2_runner_on_ok(self, result):
        self._result("changed" if result.is_changed() else "ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._result("failed", result, ignored=bool(ignore_errors), message=_message(_data(result)))

    def v2_runner_on_unreachable(self, result):
        self._result("unreachable", result, message=_message(_data(result)))

    def v2_runner_on_skipped(self, result):
        self._result("skipped", result)

    def _result(self, event, result, **fields):
        host, task = _host(result).get_name(), str(_task(result)._uuid)
        began = self._started.pop((host, task), None)
        seconds = round(time.time() - began, 3) if began else 0.0
        # Our own warnings only: Ansible's are about playbooks, and no user can mend those.
        if str(_task(result).action).startswith("mammoctl_") and not _censored(_data(result)):
            for text in _data(result).get("warnings") or []:
                self._emit("warning", host=host, task=task, text=_text(text))
        changes = _changes(str(_task(result).action), _data(result)) if event == "changed" else []
        if changes:
            self._emit("changes", host=host, task=task, changes=changes[:CHANGES_MAX])
        self._emit(event, host=host, task=task, seconds=seconds, **fields)

    def v2_runner_item_on_ok(self, result):
        self._item("changed" if _data(result).get("changed") else "ok", result)

    def v2_runner_item_on_failed(self, result):
        self._item("failed", result, message=_message(_data(result)))

    def v2_runner_item_on_skipped(self, result):
        self._item("skipped", result)

    def _item(self, status, result, **fields):
        data = _data(result)
        label = HIDDEN if _censored(data) else str(data.get("_ansible_item_label", ""))[:LABEL_MAX]
        self._emit(
            "item",
            host=_host(result).get_name(),
            task=str(_task(result)._uuid),
            status=status,
            label=label,
            **fields,
        )

    def v2_runner_retry(self, result):
        data = _data(result)
        self._emit(
            "retry",
            host=_host(result).get_name(),
            task=str(_task(result)._uuid),
            attempt=data.get("attempts", 0),
            retries=data.get("retries", 0),
        )

    def v2_on_file_diff(self, result):
        """Pass on what --diff asked for; Ansible has taken it out of censored results."""
        data = _data(result)
        if _censored(data):
            return
        for part in data.get("results") or [data]:
            if isinstance(part, dict) and part.get("diff") and not _censored(part):
                text = self._get_diff(part["diff"])
                if text:
                    self._emit(
                        "diff",
                        host=_host(result).get_name(),
                        task=str(_task(result)._uuid),
                        text=text[:DIFF_MAX],
                    )

    def v2_playbook_on_stats(self, stats):
        hosts = {host: stats.summarize(host) for host in sorted(stats.processed)}
        self._emit("stats", hosts=hosts, seconds=round(time.time() - self._began, 3))


def _host(result):
    return getattr(result, "host", None) or result._host


def _task(result):
    return getattr(result, "task", None) or result._task


def _data(result):
    data = getattr(result, "result", None)
    return data if data is not None else result._result


def _censored(data):
    return "censored" in data or bool(data.get("_ansible_no_log"))


def _changes(action, data):
    """Return [kind, name, what] for each thing that one of our modules changed, or would change.

    Names only: contents and values stay here.
    """
    tell = _TELLS.get(action.rpartition(".")[2])
    return tell(data) if tell and not _censored(data) else []


def _actions(kind, data):
    parts = [str(line).rpartition(": ") for line in data.get("actions") or []]
    return [[kind, name or what, what if name else "run"] for name, _, what in parts]


_TELLS = {
    "mammoctl_packages": lambda data: [["package", str(n), "install"] for n in data.get("installed") or []],
    "mammoctl_service": lambda data: _actions("service", data),
    "mammoctl_gpu": lambda data: _actions("gpu", data),
    "mammoctl_push": lambda data: [["artifact", str(data.get("files", 0)), "send %d" % data.get("bytes", 0)]],
    "mammoctl_teardown": lambda data: [["removal", str(n), "remove"] for n in data.get("removed") or []],
    "mammoctl_files": lambda data: [_laid(part) for part in data.get("diff") or [] if isinstance(part, dict)],
    "mammoctl_lockdown": lambda data: [_laid(part) for part in data.get("diff") or [] if isinstance(part, dict)],
}


def _laid(part):
    """Return what became of a file, folder, link or account, by how it looked before and after."""
    kind, space, name = str(part.get("after_header", "")).partition(" ")
    if not space or kind.startswith("/"):
        kind, name = "file", str(part.get("after_header", ""))
    what = "change" if part.get("before") else "create"
    return [kind, name, what if part.get("after") else "remove"]


def _message(data):
    """Say why a task failed: the message, what a command said last, the first failed item."""
    if _censored(data):
        return HIDDEN
    parts = [_text(data.get("msg"))]
    for stream in ("stderr", "module_stderr", "stdout", "module_stdout"):
        said = _text(data.get(stream)).strip()
        if said:
            tail = "\n".join(said.splitlines()[-8:])
            if tail not in parts[0]:
                parts.append(tail)
            break
    for item in data.get("results") or []:
        if isinstance(item, dict) and item.get("failed"):
            parts.append(_message(item))
            break
    return "\n".join(part for part in parts if part)[:MESSAGE_MAX]


def _text(value):
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return "\n".join(_text(item) for item in value)
    return str(value)
