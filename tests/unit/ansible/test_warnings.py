"""What a role warns of reaches the user: from the action plugin through the pipe to a line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mammoctl.ansible import events
from mammoctl.ansible.render import PlainLines

ROOT = Path(__file__).resolve().parents[3]
PLAY = """\
- name: Check every host
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Check the GPUs
      mammoctl_check:
        warnings: ["Secure Boot is on"]
    - name: Refuse
      mammoctl_check:
        report: true
"""


def test_a_warning_is_shown_and_stops_nothing(tmp_path):
    play = tmp_path / "play.yml"
    play.write_text(PLAY)
    reader, writer = os.pipe()
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-c", "local", play],
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_CALLBACKS_ENABLED": "mammoctl_events",
            "MAMMOCTL_EVENTS_FD": str(writer),
        },
        cwd=ROOT, pass_fds=(writer,), capture_output=True, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    with os.fdopen(reader) as stream:
        told = [event for line in stream if (event := events.parse(line))]
    assert done.returncode == 0, done.stdout + done.stderr
    said: list[str] = []
    run = events.Run()
    lines = PlainLines(run, said.append)
    for event in told:
        run.add(event)
        lines.show(event)
    assert "  warning: [localhost] Secure Boot is on" in said
    assert run.failures == []
