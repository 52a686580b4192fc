#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""The node's own lock-down: rules that take themselves back unless they are confirmed in time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mammoctl_lockdown
short_description: Load the rules of the node's lock-down in a way that locks nobody out
description:
  - New rules are loaded from C(/run) behind an armed timer, which restores what was in force before. Only what has been
    confirmed over a new connection is written to C(/etc/mammoctl/lockdown.nft). So an interrupted run, a lost
    connection and a reboot all end with what was there before.
  - The action plugin of the same name makes that new connection.
  - No table of others is ever touched.
author: mammoctl
options:
  state:
    description:
      - C(seen) tells who comes from where and which other packet filters are at work; C(tried) whether nft takes the
        rules; both change nothing. C(loaded) arms the timer and loads, C(confirmed) disarms it and keeps the rules.
        C(absent) removes rules, unit and files.
    type: str
    choices: [seen, tried, loaded, confirmed, absent]
    required: true
  rules: {description: The rules as a text for nft., type: str}
  confirm_s: {description: Seconds until the timer runs., type: int, default: 60}
  peers: {description: Addresses of the other nodes., type: list, elements: str, default: []}
"""

EXAMPLES = r"""
- name: Load the rules, and keep them only if a new SSH connection succeeds
  mammoctl_lockdown:
    state: loaded
    rules: "{{ lookup('ansible.builtin.template', 'lockdown.nft.j2') }}"
"""

import os
import re
import shutil
import socket
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mammoctl_manifest import record

TABLE = ["inet", "mammoctl_lockdown"]
CONFIRMED = "/etc/mammoctl/lockdown.nft"
CANDIDATE = "/run/mammoctl-lockdown.nft"
UNIT = "mammoctl-lockdown.service"
UNIT_FILE = "/etc/systemd/system/" + UNIT
RESTORE = "mammoctl-lockdown-restore"
# As the kernel would list a file's rules; in a network of its own, where loading them has no effect.
LISTING = 'nft --file "$0" && nft --stateless list table inet mammoctl_lockdown'
FOREIGN = re.compile(r"^table (?!inet mammoctl)(\S+ \S+)", re.M)
# Tables that belong to what is told by its own name.
KNOWN = re.compile(r"inet firewalld|ip6? (filter|nat|mangle|raw|security)|ip6? docker-bridges")


def restoring():
    """Return the line of sh that restores what was confirmed: open rather than shut where that cannot be loaded."""
    return "systemctl is-active --quiet %s && nft --file %s || nft delete table %s 2>/dev/null; true" % (
        UNIT,
        CONFIRMED,
        " ".join(TABLE),
    )


def part(name, before, after):
    """Return one part of a diff; the callback reads a kind from a name of several words."""
    return {"before_header": name, "after_header": name, "before": before, "after": after}


def text_of(path):
    """Return what a file says, or None when there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except OSError:
        return None


def connection(pid, proc="/proc"):
    """Return (client's address, server's port) of the SSH session that a process belongs to, or None.

    sudo does not pass SSH_CONNECTION on, so it is looked for among the processes above.
    """
    while pid > 1:
        try:
            with open("%s/%d/environ" % (proc, pid), "rb") as stream:
                found = re.search(rb"(?:^|\0)SSH_CONNECTION=(\S+) \S+ \S+ (\d+)", stream.read())
            with open("%s/%d/stat" % (proc, pid), "rb") as stream:
                parent = int(stream.read().rpartition(b")")[2].split()[1])
        except OSError:
            return None
        if found:
            address = found[1].decode().partition("%")[0]
            return address[7:] if address.startswith("::ffff:") else address, int(found[2])
        pid = parent
    return None


def ports_of(told):
    """Return the ports in what ``sshd -T`` says, loopback's not among them (pure)."""
    found = re.findall(r"^listenaddress (\S+):(\d+)$", told, re.M | re.I)
    return {int(port) for host, port in found if not host.strip("[]").startswith(("127.", "::1"))}


def source_of(address):
    """Return the address that this node's packets to another one have, or '' without a way (nothing is sent)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))
        except OSError:
            return ""
        return probe.getsockname()[0]


def others_of(ufw, firewalld, published, tables):
    """Return a line, 'seen. mend', for each packet filter of others (pure).

    Args:
        ufw: what ``ufw show added`` says, None where it is off.
        firewalld: what ``firewall-cmd --list-all`` says, None where it is off.
        published: a line for each container with published ports, None where Docker is off.
        tables: what ``nft list tables`` says.
    """
    found = []
    if ufw is not None:
        rules = [line.removeprefix("ufw ") for line in ufw.splitlines() if line.startswith("ufw ")]
        found.append(
            "ufw is active with %s: it stays as it is, and what it drops stays dropped. See that it lets in SSH and the"
            " nodes (sudo ufw status), or leave it to the lock-down (sudo ufw disable)"
            % ("rules of its own (%s)" % "; ".join(rules) if rules else "no rules of its own")
        )
    if firewalld is not None:
        rules = [line.strip() for line in firewalld.splitlines() if re.match(r"\s+(services|ports): \S", line)]
        found.append(
            "firewalld is active (%s): it stays as it is, and what it drops stays dropped. See that it lets in SSH and"
            " the nodes (sudo firewall-cmd --list-all), or leave it to the lock-down (sudo systemctl disable --now"
            " firewalld)" % ("; ".join(rules) or "nothing open in its zone")
        )
    if published is not None:
        lines = [line for line in published.splitlines() if "->" in line]
        if lines:
            found.append(
                "Docker publishes %s: such ports are forwarded, and the lock-down does not cover them. Publish to"
                " 127.0.0.1, or narrow Docker's own chain DOCKER-USER" % "; ".join(lines)
            )
        found.append(
            "Docker runs: its containers will no more reach ports of the host itself. Where they must:"
            " lockdown_rules: ['iifname docker0 accept']"
        )
    if foreign := [name for name in FOREIGN.findall(tables) if not KNOWN.fullmatch(name)]:
        found.append(
            "nftables has tables of others (%s): they stay as they are, and what they drop stays dropped. See that they"
            " let in SSH and the nodes: sudo nft list ruleset" % ", ".join(foreign)
        )
    return found


class Lockdown:
    """The lock-down of this node."""

    def __init__(self, module):
        self.module = module

    def run(self, *argv):
        """Run a program; return what it prints, or None when it fails or is missing."""
        if not self.has(argv[0]):
            return None
        rc, out, _err = self.module.run_command(list(argv))
        return out if rc == 0 else None

    def has(self, program):
        """Tell whether there is such a program."""
        return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is not None

    def live(self):
        """Return the rules that are in force, '' when there are none."""
        return self.run("nft", "--stateless", "list", "table", *TABLE) or ""

    def in_force(self, path):
        """Tell whether the rules of a file are the ones in force, to the letter."""
        live = self.live()
        listed = self.run("unshare", "--net", "sh", "-c", LISTING, path)
        # A node on which no network of one's own can be made (some containers) is taken at its word.
        return bool(live) and (listed is None or listed == live)

    def is_armed(self):
        """Tell whether rules wait to be confirmed."""
        return self.run("systemctl", "is-active", RESTORE + ".timer") is not None

    def disarm(self):
        """Stop the timer, and its service if it has begun."""
        self.run("systemctl", "stop", RESTORE + ".timer")
        self.run("systemctl", "stop", RESTORE + ".service")

    def seen(self):
        """Return who comes from where, and what else filters packets."""
        session = connection(os.getpid())
        ports = ports_of(self.run("sshd", "-T") or "") | ({session[1]} if session else set())
        ufw = re.search(r"^ENABLED=yes", text_of("/etc/ufw/ufw.conf") or "", re.M | re.I)
        firewalld = self.run("systemctl", "is-active", "firewalld.service")
        docker = self.run("systemctl", "is-active", "docker.service")
        return {
            "operator": session[0] if session else "",
            "ssh_ports": sorted(ports or {22}),
            "sources": {peer: source_of(peer) for peer in self.module.params["peers"]},
            "nft": self.has("nft"),
            "others": others_of(
                (self.run("ufw", "show", "added") or "") if ufw else None,
                (self.run("firewall-cmd", "--list-all") or "") if firewalld else None,
                (self.run("timeout", "20", "docker", "ps", "--format", "{{.Names}} {{.Ports}}") or "")
                if docker
                else None,
                self.run("nft", "list", "tables") or "",
            ),
        }

    def error(self, path):
        """Return what nft has against a file, '' for nothing; where nft is missing it is not asked."""
        if not self.has("nft"):
            return ""
        rc, _out, err = self.module.run_command(["nft", "--check", "--file", path])
        lines = [line.strip() for line in err.splitlines() if line.strip()]
        return " ".join(part.replace(path + ":", "line ") for part in lines[:2]) or "no reason given" if rc else ""

    def tried(self, rules):
        """Return what nft has against the rules."""
        with tempfile.NamedTemporaryFile("w", prefix="mammoctl-", suffix=".nft", encoding="utf-8") as stream:
            stream.write(rules)
            stream.flush()
            return {"error": self.error(stream.name)}

    def load(self, rules, confirm_s):
        """Load the rules behind an armed timer; return how what was confirmed before differs, nothing for nothing."""
        before = text_of(CONFIRMED)
        if before == rules and self.in_force(CONFIRMED):
            return []
        found = [
            part("step rules of the lock-down that others have changed", "other rules\n", "as they were confirmed\n")
        ]
        if before != rules:
            found = [part(CONFIRMED, before or "", rules)]
        if self.module.check_mode:
            return found
        if self.is_armed():  # what an interrupted run has left is no state to come back to
            self.run("sh", "-c", restoring())
            self.disarm()
        with open(os.open(CANDIDATE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            stream.write(rules)
        if reason := self.error(CANDIDATE):
            self.module.fail_json(msg="nft does not take the rules, nothing was changed: %s" % reason)
        self.arm(confirm_s)
        rc, _out, err = self.module.run_command(["nft", "--file", CANDIDATE])
        if rc:
            self.disarm()
            self.module.fail_json(msg="nft did not load the rules, nothing was changed: %s" % err.strip())
        return found

    def arm(self, confirm_s):
        """Let systemd restore in ``confirm_s`` seconds what is in force now, whatever becomes of us."""
        self.run("systemctl", "reset-failed", RESTORE + ".service")
        command = ["systemd-run", "--quiet", "--collect", "--unit=" + RESTORE, "--on-active=%d" % confirm_s]
        command += ["--timer-property=AccuracySec=100ms", "--property=DefaultDependencies=no"]
        command += ["--description=Take the lock-down back that nobody has confirmed"]
        rc, _out, err = self.module.run_command([*command, "/bin/sh", "-c", restoring()])
        if rc:
            self.module.fail_json(msg="The timer could not be armed, nothing was changed: %s" % err.strip())

    def confirm(self):
        """Keep the loaded rules; fail where the timer was quicker."""
        # All that may fail comes first: the timer goes on then.
        record("files", [CONFIRMED])
        temporary = CONFIRMED + ".mammoctl-new"
        with open(temporary, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), 0o644)
            stream.write(text_of(CANDIDATE) or "")
        self.disarm()
        if not self.in_force(CANDIDATE):
            os.unlink(temporary)
            self.module.fail_json(
                msg="The confirmation came too late: the timer had restored what was in force before. Give it more time"
                " with lockdown_confirm_s, and run the same command again."
            )
        os.replace(temporary, CONFIRMED)

    def remove(self):
        """Remove rules, unit, timer and files; return what of them was there."""
        files = [path for path in (UNIT_FILE, CONFIRMED, CANDIDATE) if os.path.lexists(path)]
        live = self.live()
        found = [part("removal rules of the lock-down", live, "")] if live else []
        found += [part(path, text_of(path) or "", "") for path in files]
        if self.module.check_mode or not (found or self.is_armed()):
            return found
        self.disarm()
        self.run("systemctl", "disable", "--now", UNIT)
        if self.live():  # without the service, too
            self.module.run_command(["nft", "delete", "table", *TABLE], check_rc=True)
        for path in files:
            os.unlink(path)
        self.run("systemctl", "daemon-reload")
        return found


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["seen", "tried", "loaded", "confirmed", "absent"],
                "required": True,
            },
            "rules": {"type": "str"},
            "confirm_s": {"type": "int", "default": 120},
            "peers": {"type": "list", "elements": "str", "default": []},
        },
        required_if=[("state", "tried", ["rules"]), ("state", "loaded", ["rules"])],
        supports_check_mode=True,
    )
    lockdown, state, rules = Lockdown(module), module.params["state"], module.params["rules"]
    if state == "seen":
        module.exit_json(changed=False, **lockdown.seen())
    if state == "tried":
        module.exit_json(changed=False, **lockdown.tried(rules))
    if state == "confirmed":
        lockdown.confirm()
        module.exit_json(changed=False)
    diff = lockdown.remove() if state == "absent" else lockdown.load(rules, module.params["confirm_s"])
    module.exit_json(changed=bool(diff), diff=diff)


if __name__ == "__main__":
    main()
