# SPDX-License-Identifier: Apache-2.0
"""System accounts as mammoctl makes them."""

from __future__ import annotations


def making(name, home, shell):
    """Return the command that makes an account with a group of its name; its home is not made."""
    command = ["useradd", "--system", "--user-group", "--no-create-home"]
    return [*command, "--home-dir", home, "--shell", shell, name]
