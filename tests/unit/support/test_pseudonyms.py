"""Names of hosts, networks and people that become others."""

from __future__ import annotations

import pytest

from mammoctl.pseudonyms import Pseudonyms


@pytest.fixture
def names():
    found = Pseudonyms()
    found.add_full_name("ward1", "node-1")
    found.add_full_name("ward2.clinic.example.com", "node-2")
    found.add("10.0.0.1", "address-of-1")
    found.add_account("jane", "operator")
    found.add_account("root", "nobody")
    return found


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("ward1: WARD1, ward10 x_ward1_y", "node-1: node-1, ward10 x_node-1_y"),
        ("worker-10.0.0.1-7078 10.0.0.1:7077.", "worker-address-of-1-7078 address-of-1:7077."),
        ("spark://ward2.clinic.example.com:7077 ward2", "spark://node-2:7077 node-2"),
        ("ward1.clinic.example.com", "node-1.domain-1"),
        ("10.0.0.10 10.0.0.0/24 10.0.0.10", "address-1 address-2/24 address-1"),
        ("2001:db8::5 [2001:db8::5]:80 fe80::1", "address-1 [address-1]:80 address-2"),
        ("127.0.0.1 0.0.0.0:22 ::1 255.255.255.0", "127.0.0.1 0.0.0.0:22 ::1 255.255.255.0"),
        ("at 12:30:45 std::move", "at 12:30:45 std::move"),
        ("link aa:bb:cc:dd:ee:ff", "link mac-1"),
        ("http://proxy.local:3128/ https://debian.org/", "http://host-1:3128/ https://debian.org/"),
        ("/home/jane/x /home/bob/ /home/admin", "/home/operator/x /home/person-1/ /home/admin"),
        ("ended by jane@laptop, tom@ward1", "ended by operator@host-1, person-1@node-1"),
        ("user@1000.service getty@tty1", "user@1000.service getty@tty1"),
        ("write to a.b@clinic.example.com", "write to mail-1"),
        ("nvidia-cublas==12.5.3.2 root", "nvidia-cublas==12.5.3.2 root"),
    ],
)  # fmt: skip
def test_a_text(names, text, left):
    assert names.text(text) == left


def test_a_host_called_like_everything_keeps_its_name():
    """Replaced, it would change every word of Spark's; and it tells nobody whose it is."""
    found = Pseudonyms()
    found.add("spark", "node-1")
    found.add_full_name("debian.clinic.example.com", "node-2")
    text = "spark-worker on spark: spark://spark:7077 ID=debian"
    assert found.text(text) == text
    assert found.text("debian.clinic.example.com") == "node-2"
