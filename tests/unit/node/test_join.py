"""How a machine that joins is logged in to, and what the inventory must say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mammoctl.init.draft import from_words
from mammoctl.inventory import Cluster, Host
from mammoctl.node import join


def cluster(*ports: int) -> Cluster:
    hosts = {f"n{n}": Host(f"n{n}", f"10.0.0.{n}", port) for n, port in enumerate(ports, 1)}
    first = hosts["n1"]
    return Cluster("ward", Path(), Path("hosts.yml"), hosts, first, list(hosts.values()))


@pytest.mark.parametrize(
    ("ports", "word", "port", "written"),
    [
        ((22, 22), "n9=10.0.0.9", 22, None),
        ((22, 22), "n9=10.0.0.9:2222", 2222, 2222),
        # as `init --port 2222` writes it, for all
        ((2222, 2222), "n9=10.0.0.9", 2222, 2222),
        # the group's port would count otherwise
        ((2222, 2222), "n9=10.0.0.9:22", 22, 22),
        # ports of their own, as behind a forwarding
        ((2201, 2202), "n9=10.0.0.9", 22, 22),
        ((2201,), "n9=10.0.0.9", 22, 22),
    ],
)
def test_the_port_of_a_newcomer(
    ports: tuple[int, ...], word: str, port: int, written: int | None
) -> None:
    ward = cluster(*ports)
    usual = join.usual_login(ward)
    (draft,) = from_words([word], usual)
    assert draft.login.port == port
    assert join._values(draft, usual, ward).get("ansible_port") == written
