# Copyright (c) the mammoctl authors
# GNU General Public License v3.0 or later: see ../COPYING (this file imports Ansible)
"""Renders a role's templates on the control machine and lays all of them down in one module call."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ansible.errors import AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template


def flattened(items):
    """Return the items, and those of lists among them, in one list."""
    return [inner for item in items for inner in ([item] if isinstance(item, Mapping) else list(item))]


class ActionModule(ActionBase):
    """The control machine's half of the module of the same name."""

    _requires_connection = True

    def run(self, tmp=None, task_vars=None):
        """Replace each item's ``template`` and ``secret`` by its content, then call the module."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        items = []
        for wanted in flattened(arguments.get("items") or []):
            item = dict(wanted)
            if not boolean(item.pop("when", True)):
                continue
            if "template" in item:
                item["content"] = self._render(item.pop("template"), task_vars)
            if boolean(item.pop("secret", False)):
                item["secret_content"] = item.pop("content")
            items.append(item)
        arguments["items"] = items
        result = self._execute_module(module_name="mammoctl_files", module_args=arguments, task_vars=task_vars)
        result.pop("invocation", None)  # the files' texts, again
        return result

    def _render(self, name, task_vars):
        """Return the text of one of the role's templates; it may include its neighbours."""
        path = self._find_needle("templates", name)
        text = self._loader.get_text_file_contents(path)
        variables = {
            **task_vars,
            "ansible_managed": "Made by mammoctl: changes here are overwritten",
        }
        templar = self._templar.copy_with_new_env(searchpath=[os.path.dirname(path)], available_variables=variables)
        rendered = templar.template(trust_as_template(text))
        if not isinstance(rendered, str):
            raise AnsibleError(f"{name} did not render to text")
        return rendered
