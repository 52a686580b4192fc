"""A mirror and a proxy for apt on the nodes."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("distribution", "codename", "components"),
    [("debian", "trixie", "main"), ("ubuntu", "noble", "main universe")],
)
def test_the_mirror_is_for_the_nodes_own_release(
    render, distribution: str, codename: str, components: str
) -> None:
    text = render(
        "common",
        "mirror.sources.j2",
        common_apt_mirror="https://mirror/x",
        ansible_facts={"mammoctl": {"distribution": distribution, "codename": codename}},
    )
    found = dict(line.split(": ", 1) for line in text.splitlines()[1:])
    assert found == {
        "Types": "deb",
        "URIs": "https://mirror/x",
        "Suites": f"{codename} {codename}-updates",
        "Components": components,
        "Signed-By": f"/usr/share/keyrings/{distribution}-archive-keyring.gpg",
    }


def test_the_proxy_is_for_both_schemes(render) -> None:
    lines = render("common", "apt.conf.j2", common_apt_proxy="http://p:3128").splitlines()
    assert lines[1:] == [
        'Acquire::http::Proxy "http://p:3128";',
        'Acquire::https::Proxy "http://p:3128";',
    ]
