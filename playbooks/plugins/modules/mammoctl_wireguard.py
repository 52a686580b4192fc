#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""A node's WireGuard key, which is made on it and never leaves it, and what its network says of the rest."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mammoctl_wireguard
short_description: Make a node's WireGuard key, once, and return the public half; look at its network
description:
  - The private key goes from one program to the next through pipes, and into a file of mode 0600. It appears in no
    argument, result, log or diff.
author: mammoctl
options:
  state:
    description: looked changes nothing; present makes the key.
    type: str
    choices: [looked, present]
    default: looked
  key: {description: Where the private key lies., type: path, default: /etc/mammoctl/wireguard.key}
  interface: {description: Name of the interface., type: str, default: mammoctl0}
  port: {description: UDP port that it will listen on., type: int, default: 51820}
  address: {description: The node's address on the hosts' network., type: str, default: ""}
"""

EXAMPLES = r"""
- name: Make the key
  mammoctl_wireguard:
    state: present
  register: _wireguard_key
"""

import json
import os
import socket

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mammoctl_manifest import record

UNMADE = "(made by the real run)"


def public_half(module, path):
    """Return the public key that belongs to the private one in ``path``; "" where there is none."""
    if not os.path.isfile(path) or not module.get_bin_path("wg"):
        return ""
    with open(path, encoding="ascii") as stream:
        rc, out, _err = module.run_command(["wg", "pubkey"], data=stream.read())
    return "" if rc else out.strip()


def make(module, path):
    """Make a private key at ``path``, whole or not at all."""
    _rc, out, _err = module.run_command(["wg", "genkey"], check_rc=True)
    if not os.path.isdir(os.path.dirname(path)):
        module.fail_json(msg="%s: the folder is missing; role common makes it" % path)
    temporary = path + ".new"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(out)
    record("files", [path])
    os.replace(temporary, path)


def bound(table, port):
    """Tell whether a UDP socket has the port (``table``: the lines of ``/proc/net/udp``; pure)."""
    return any(int(line.split()[1].rpartition(":")[2], 16) == port for line in table[1:])


def listened(port):
    """Tell whether somebody has the UDP port on this host."""
    for path in ("/proc/net/udp", "/proc/net/udp6"):
        try:
            with open(path, encoding="ascii") as stream:
                if bound(stream.readlines(), port):
                    return True
        except OSError:
            continue
    return False


def spoken(module, *words):
    """Return the JSON that ``ip`` says; [] where it says none."""
    if not module.get_bin_path("ip"):
        return []
    rc, out, _err = module.run_command(["ip", "-json", *words])
    return json.loads(out) if not rc and out.strip() else []


def mtu_of(links, address):
    """Return the largest packet of the interface that has ``address``, 1500 where none has it (pure)."""
    for link in links:
        if any(entry.get("local") == address for entry in link.get("addr_info", [])):
            return int(link.get("mtu", 1500))
    return 1500


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["looked", "present"], "default": "looked"},
            "key": {"type": "path", "default": "/etc/mammoctl/wireguard.key", "no_log": False},
            "interface": {"type": "str", "default": "mammoctl0"},
            "port": {"type": "int", "default": 51820},
            "address": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    path = wanted["key"]
    if wanted["state"] == "present":
        changed = not os.path.isfile(path)
        if changed and module.check_mode:
            module.exit_json(changed=True, public_key=UNMADE)
        if changed:
            make(module, path)
        if os.stat(path).st_mode & 0o777 != 0o600:
            changed = True
            if not module.check_mode:
                os.chmod(path, 0o600)
        public = public_half(module, path)
        if not public and not module.check_mode:
            module.fail_json(
                msg="%s holds no key that wg knows. Remove it, then run 'mammoctl provision': a new one is made." % path
            )
        module.exit_json(changed=changed, public_key=public or UNMADE)
    # Not from /sys, which in a container may be that of its host.
    there = wanted["interface"] in [name for _index, name in socket.if_nameindex()]
    module.exit_json(
        changed=False,
        public_key=public_half(module, path),
        interface=there,
        port_taken=listened(wanted["port"]) and not there,
        routes=spoken(module, "-4", "route", "show", "table", "all"),
        mtu=mtu_of(spoken(module, "address", "show"), wanted["address"]),
        tun=os.path.exists("/dev/net/tun"),
    )


if __name__ == "__main__":
    main()
