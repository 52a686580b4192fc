"""A node more or less in an inventory; everything else stays letter for letter."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
import yaml

from mammoctl.errors import UsageError
from mammoctl.node import edit

HERE = Path("hosts.yml")
ROOT = Path(__file__).resolve().parents[3]

OWN = """\
---
# Made by `mammoctl init`; change it as you like.
all:
  hosts:
    # Debian 12, 4 cores
    # bought in 2021
    ward1:
      ansible_host: 10.0.0.1   # rack 2
    # Debian 12, 8 cores
    ward2:
      ansible_host: 10.0.0.2
      # hdfs_data_dir: /srv/hdfs

    # Debian 12, 16 cores
    "ward3": {ansible_host: 10.0.0.3, note: 'a: b'}
  children:
    # Exactly one.
    spark_master:
      hosts:
        ward1:
    # Where executors run.
    spark_workers:
      hosts:
        ward1:  # heap 512
        # the small one
        ward2:  # heap 1024
        ward3:
    fast:
      hosts:
        ward3:
  vars:
    hosts: {ward3: not a host}
"""
GROUPS = """\
spark_master:
  hosts:
    a: {ansible_host: 10.0.0.1}
spark_workers:
  hosts:
    b:
      ansible_host: 10.0.0.2
      text: |
        many
        lines
  vars:
    x: [1,
        2]
"""


def changes(before: str, after: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line[0] in "+-"]


def test_a_node_is_added_where_the_others_are():
    values = {"ansible_host": "10.0.0.4", "ansible_port": 2222}
    after = edit.added(OWN, "ward4", values, "Debian 13", where=HERE)
    assert changes(OWN, after) == [
        "+     # Debian 13",
        "+     ward4:",
        "+       ansible_host: 10.0.0.4",
        "+       ansible_port: 2222",
        "+         ward4:",
    ]
    document = yaml.safe_load(after)
    assert document["all"]["hosts"]["ward4"] == values
    assert list(document["all"]["children"]["spark_workers"]["hosts"])[-1] == "ward4"
    assert "ward4" not in document["all"]["children"]["fast"]["hosts"]


def test_without_a_list_of_all_hosts_the_group_has_the_variables():
    after = edit.added(GROUPS, "c", {"ansible_host": "10.0.0.3"}, "", where=HERE)
    assert changes(GROUPS, after) == ["+     c:", "+       ansible_host: 10.0.0.3"]
    hosts = yaml.safe_load(after)["spark_workers"]["hosts"]
    assert hosts["c"] == {"ansible_host": "10.0.0.3"}
    assert hosts["b"]["text"] == "many\nlines\n"


def test_a_group_without_hosts_yet_and_a_file_without_a_last_newline():
    text = "all:\n  hosts:\n    a: {x: 1}\n  children:\n    spark_workers:\n      hosts:"
    after = edit.added(text, "b", {"ansible_host": "h"}, "", where=HERE)
    document = yaml.safe_load(after)["all"]
    assert document["children"]["spark_workers"]["hosts"] == {"b": None}
    assert document["hosts"] == {"a": {"x": 1}, "b": {"ansible_host": "h"}}


def test_names_that_yaml_would_take_for_something_else_are_quoted():
    after = edit.added(GROUPS, "12", {"ansible_host": "0x1f"}, "", where=HERE)
    assert yaml.safe_load(after)["spark_workers"]["hosts"]["12"] == {"ansible_host": "0x1f"}


def test_a_node_is_removed_everywhere_with_its_comment():
    assert changes(OWN, edit.removed(OWN, "ward2", where=HERE)) == [
        "-     # Debian 12, 8 cores",
        "-     ward2:",
        "-       ansible_host: 10.0.0.2",
        "-         ward2:  # heap 1024",
    ]
    after = edit.removed(OWN, "ward3", where=HERE)
    assert changes(OWN, after) == [
        "-     # Debian 12, 16 cores",
        "-     \"ward3\": {ansible_host: 10.0.0.3, note: 'a: b'}",
        "-         ward3:",
        "-         ward3:",
    ]
    assert yaml.safe_load(after)["all"]["vars"] == {"hosts": {"ward3": "not a host"}}


def test_a_value_of_several_lines_goes_whole():
    after = edit.removed(GROUPS, "b", where=HERE)
    assert yaml.safe_load(after)["spark_workers"] == {"hosts": None, "vars": {"x": [1, 2]}}


@pytest.mark.parametrize("text", [OWN, GROUPS, (ROOT / "inventory/example/hosts.yml").read_text()])
def test_what_was_added_can_be_removed_without_a_trace(text):
    after = edit.added(text, "n99", {"ansible_host": "h"}, "about it", where=HERE)
    assert yaml.safe_load(after) != yaml.safe_load(text)
    assert edit.removed(after, "n99", where=HERE) == text


def test_what_cannot_be_edited_is_left_alone():
    braces = "all: {hosts: {a: }, children: {spark_workers: {hosts: {a: }}}}\n"
    with pytest.raises(UsageError) as caught:
        edit.added(braces, "b", {"ansible_host": "h"}, "", where=HERE)
    assert caught.value.details == ["b:", "  ansible_host: h", "and b in the group spark_workers"]
    with pytest.raises(UsageError, match=r"hosts\.yml:1: a stands in braces"):
        edit.removed(braces, "a", where=HERE)
    for text in ("[spark_workers]\na\n", "", "- a\n", "a: [\n"):
        with pytest.raises(UsageError, match="not an inventory in YAML"):
            edit.added(text, "b", {}, "", where=HERE)
    with pytest.raises(UsageError, match="no group spark_workers"):
        edit.added("all:\n  hosts:\n    a:\n", "b", {}, "", where=HERE)
    with pytest.raises(UsageError, match="has no host nobody"):
        edit.removed(OWN, "nobody", where=HERE)
