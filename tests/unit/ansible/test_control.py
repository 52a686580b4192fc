"""Which hosts the Ansible of this machine can manage."""

import pytest

from mammoctl.ansible import control


@pytest.mark.parametrize(
    ("core", "python", "able"),
    [
        ("2.19.14", "3.13", True),
        ("2.19.14", "3.14", False),
        ("2.20.1", "3.14", True),
        ("2.21.5", "3.14", True),
        ("2.21.5", "3.15", False),
        ("2.99.0", "3.15", True),
        ("2.19.14", "3.9", True),
    ],
)
def test_newest_python_of_a_host(monkeypatch, core, python, able):
    monkeypatch.setattr(control, "core_version", lambda: core)
    assert (control.too_new(python) == "") is able


def test_the_mend_names_what_to_install(monkeypatch):
    monkeypatch.setattr(control, "core_version", lambda: "2.19.14")
    said = control.too_new("3.14")
    assert "ansible-core 2.19.14 on this machine cannot manage (up to 3.13)" in said
    assert "PYTHON=python3.13 scripts/bootstrap" in said
    assert "ansible-core 2.20 or later" in said
