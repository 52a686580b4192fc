"""What the commands say about themselves, word for word."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from mammoctl.cli import app


@pytest.mark.parametrize(
    "command",
    [
        "init",
        "check",
        "status",
        "start",
        "stop",
        "restart",
        "ui",
        "notebook",
        "exec",
        "ssh",
        "cp",
        "logs",
        "support-bundle",
        "plan",
        "provision",
        "unlock",
        "submit",
        "secrets rotate",
        "access grant",
        "access list",
        "access revoke",
        "access accept",
        "backup",
        "restore",
        "node add",
        "node remove",
    ],
)
def test_help(command, snapshot, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    done = CliRunner().invoke(app, [*command.split(), "--help"])
    assert done.exit_code == 0
    assert "\n".join(line.rstrip() for line in done.output.splitlines()) == snapshot
