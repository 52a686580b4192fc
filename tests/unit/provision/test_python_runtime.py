"""What the inventory and ``-e`` say about the nodes' Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mammoctl import python_runtime
from mammoctl.ansible import extra_vars
from mammoctl.bundle.interpreter import Interpreter
from mammoctl.bundle.sources import Sources
from mammoctl.errors import UsageError
from mammoctl.inventory import Cluster, Host
from mammoctl.python_runtime import Wish


def cluster(*hosts: dict[str, Any]) -> Cluster:
    made = {f"n{i}": Host(f"n{i}", f"192.0.2.{i}", vars=v) for i, v in enumerate(hosts)}
    first = made["n0"]
    return Cluster("c", Path("/inv"), Path("/inv/hosts.yml"), made, first, list(made.values()))


def test_nothing_said() -> None:
    assert python_runtime.wish(cluster({}, {}), {}) == Wish("auto", None)


def test_the_inventory_and_what_wins_over_it() -> None:
    there = cluster(*[{"python_runtime": "managed", "python_archive": "own.tar.gz"}] * 2)
    assert python_runtime.wish(there, {}) == Wish("managed", Path("/inv/own.tar.gz"))
    told = {"python_runtime": "system", "python_archive": "/srv/x.tar.gz"}
    assert python_runtime.wish(there, told) == Wish("system", Path("/srv/x.tar.gz"))
    assert python_runtime.wish(there, {"python_archive": ""}).archive is None


def test_an_unknown_word_and_hosts_that_differ() -> None:
    with pytest.raises(UsageError, match="'conda'"):
        python_runtime.wish(cluster({"python_runtime": "conda"}), {})
    with pytest.raises(UsageError, match="differs between hosts: not set, system"):
        python_runtime.wish(cluster({"python_runtime": "system"}, {}), {})


def test_a_bundle_before_its_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Interpreter("3.13", ("x86_64",), "2.36", "f" * 64)
    monkeypatch.setattr(python_runtime, "managed", lambda _wish: own)
    chosen = python_runtime.chosen
    assert chosen(Wish("system"), None, "x86_64") == (Sources(), "3.11")
    assert chosen(Wish("system"), "3.12", "x86_64") == (Sources(), "3.12")
    brought = (Sources("managed", "f" * 64), "3.13")
    assert chosen(Wish("managed"), None, "x86_64") == brought
    assert chosen(Wish("managed"), "3.13", "x86_64") == brought
    for python, arch in (("3.12", "x86_64"), (None, "aarch64")):
        with pytest.raises(UsageError, match=r"the managed Python is 3\.13 for x86_64"):
            chosen(Wish("managed"), python, arch)
    with pytest.raises(UsageError, match="--runtime"):
        chosen(Wish("auto"), None, "x86_64")


def test_extra_variables_as_ansible_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "vars.yml"
    file.write_text("python_runtime: managed\nsecret: !vault |\n  $ANSIBLE_VAULT;1.1\n")
    read = extra_vars.read
    assert read(["a=1 b='two words'"]) == {"a": "1", "b": "two words"}
    assert read(['{"a": {"b": 1}}', "a=2"]) == {"a": "2"}
    assert read([f"@{file}"])["python_runtime"] == "managed"
    assert read([]) == {}
    for bad in ("@/nowhere", "[1, 2]", "a='", "{a: "):
        with pytest.raises(UsageError):
            read([bad])
