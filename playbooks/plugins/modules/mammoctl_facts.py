#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""One look at a node: everything that the roles ask before they change anything."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mammoctl_facts
short_description: Gather all facts that the roles of mammoctl need in one call
description:
  - Replaces several narrow C(setup), C(stat), C(package_facts) and C(service_facts) calls.
  - Never changes anything; the facts are below C(ansible_facts['mammoctl']).
author: mammoctl
options:
  packages: {description: Debian packages to look for., type: list, elements: str, default: []}
  users: {description: Users to look for., type: list, elements: str, default: []}
  paths: {description: Paths or patterns to look at., type: list, elements: str, default: []}
  ports: {description: TCP ports or FIRST-LAST ranges to look at., type: list, elements: str, default: []}
  disks: {description: Folders whose file system's free space matters., type: list, elements: str, default: []}
  control_time: {description: The control machine's clock in seconds since 1970., type: float, default: 0}
"""

EXAMPLES = r"""
- name: Look at the node
  mammoctl_facts:
    packages: [nftables]
    ports: ["7077", "7200-7216"]
"""

import glob
import grp
import os
import platform
import pwd
import re
import shutil
import socket
import subprocess
import sys
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mammoctl_manifest import load
from ansible.module_utils.mammoctl_nvidia import look


def os_release(path="/etc/os-release"):
    """Return the keys of os-release, lower-cased."""
    values = {}
    with open(path, encoding="utf-8") as stream:
        for line in stream:
            key, sep, value = line.strip().partition("=")
            if sep:
                values[key.lower()] = value.strip("\"'")
    return values


def memory_mb(path="/proc/meminfo"):
    """Return the memory's size in MiB."""
    with open(path, encoding="ascii") as stream:
        for line in stream:
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) // 1024
    return 0


def default_address():
    """Return the address that packets to other networks leave from (nothing is sent), or ''."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return probe.getsockname()[0]


def host_keys():
    """Return the public SSH host keys: 'TYPE BASE64', strongest first."""
    order = {"ssh-ed25519": 0, "ecdsa-sha2-nistp256": 1, "ssh-rsa": 2}
    keys = []
    for path in glob.glob("/etc/ssh/ssh_host_*_key.pub"):
        with open(path, encoding="utf-8") as stream:
            fields = stream.read().split()
        if len(fields) >= 2 and fields[0] in order:
            keys.append("%s %s" % (fields[0], fields[1]))
    return sorted(keys, key=lambda key: order[key.split()[0]])


def ssh_port():
    """Return the port on which other nodes reach the SSH server of this one."""
    try:
        told = subprocess.run(["/usr/sbin/sshd", "-T"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 22
    return listened(told)


def listened(told):
    """Return the port in what ``sshd -T`` says: the usual one where it is among them (pure)."""
    found = re.findall(r"^listenaddress (\S+):(\d+)$", told, re.M | re.I)
    ports = [int(port) for host, port in found if not host.strip("[]").startswith(("127.", "::1"))]
    return 22 if 22 in ports or not ports else ports[0]


def missing_packages(wanted):
    """Return which of ``wanted`` are not fully installed."""
    if not wanted:
        return []
    query = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\n", *wanted]
    done = subprocess.run(query, capture_output=True, text=True, check=False, env=dict(os.environ, LC_ALL="C"))
    installed = {line.split()[-1] for line in done.stdout.splitlines() if line[1:2] == "i"}
    return [name for name in wanted if name not in installed]


def user_of(name):
    """Return the account's id, home and shell, or None."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return {"uid": entry.pw_uid, "home": entry.pw_dir, "shell": entry.pw_shell}


def is_group(name):
    """Tell whether there is such a group."""
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def path_of(path):
    """Return what lies at ``path`` (the first match of a pattern), or None."""
    if "*" in path:
        path = next(glob.iglob(path), path)
    try:
        found = os.lstat(path)
    except OSError:
        return None
    link = os.readlink(path) if os.path.islink(path) else ""
    return {"link": link, "directory": os.path.isdir(path), "size": found.st_size}


def free_mb(path):
    """Return the free space in MiB of the file system that ``path`` is or would be on."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return shutil.disk_usage(path).free // 2**20


def listening(wanted):
    """Return [{port, unit, program}] for the TCP ports in ``wanted`` that somebody listens on."""
    numbers = set()
    for item in wanted:
        first, _sep, last = item.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    inodes = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as stream:
                rows = stream.readlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            port = int(fields[1].rpartition(":")[2], 16)
            if fields[3] == "0A" and port in numbers:
                inodes["socket:[%s]" % fields[9]] = port
    found = {port: {"port": port, "unit": "", "program": ""} for port in inodes.values()}
    if found:
        for descriptor in glob.iglob("/proc/[0-9]*/fd/*"):
            try:
                port = inodes.get(os.readlink(descriptor))
            except OSError:
                continue
            if port is not None and not found[port]["program"]:
                found[port].update(owner_of(descriptor.split("/")[2]))
    return sorted(found.values(), key=lambda entry: entry["port"])


def owner_of(pid):
    """Return the systemd unit and the program of a process."""
    unit = program = ""
    try:
        with open("/proc/%s/cgroup" % pid, encoding="utf-8") as stream:
            units = re.findall(r"([^/\n]+\.(?:service|scope))", stream.read())
        unit = units[-1] if units else ""
        with open("/proc/%s/comm" % pid, encoding="utf-8") as stream:
            program = stream.read().strip()
    except OSError:
        pass
    return {"unit": unit, "program": program}


def glibc():
    """Return the version of the C library, such as '2.36', or '' where it is another one."""
    try:
        told = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except ValueError:
        return ""
    return told.partition(" ")[2]


def time_service():
    """Return the unit that keeps the clock right, 'host' in a container (it has its host's clock), or ''."""
    if os.path.exists("/run/systemd/container"):
        return "host"
    patterns = ["systemd-timesyncd.service", "chrony*.service", "ntp*.service", "openntpd.service"]
    command = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active", *patterns]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    except OSError:
        return ""
    return told[0] if told else ""


def has_module(name, release=None, root="/"):
    """Tell whether the running kernel has a module: loaded, built in, or there to be loaded."""
    if os.path.isdir(os.path.join(root, "sys/module", name)):
        return True
    if os.path.exists(os.path.join(root, "run/systemd/container")):
        return False  # the modules that lie here are not those of the kernel
    folder = os.path.join(root, "lib/modules", release or platform.release())
    for listed in ("modules.builtin", "modules.dep"):
        try:
            with open(os.path.join(folder, listed), encoding="utf-8") as stream:
                if any("/%s.ko" % name in line.partition(":")[0] for line in stream):
                    return True
        except OSError:
            continue
    return False


def environments(root="/opt/mammoctl/envs"):
    """Return the keys of the complete Python environments."""
    return sorted(os.path.basename(os.path.dirname(p)) for p in glob.glob(root + "/*/.complete"))


def main():
    """Run the module."""
    strings = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "packages": dict(strings),
            "users": dict(strings),
            "paths": dict(strings),
            "ports": dict(strings),
            "disks": dict(strings),
            "control_time": {"type": "float", "default": 0.0},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    release = os_release()
    nvidia = look(release)
    now = time.time()
    facts = {
        "distribution": release.get("id", "unknown"),
        "version": release.get("version_id", ""),
        "codename": release.get("version_codename", ""),
        "pretty": release.get("pretty_name", platform.platform()),
        "arch": platform.machine(),
        "python": "%d.%d" % sys.version_info[:2],
        "glibc": glibc(),
        "hostname": socket.gethostname(),
        "login": os.environ.get("SUDO_USER", ""),
        "address": default_address(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": memory_mb(),
        "gpus": len(nvidia["devices"]) if nvidia else 0,
        "nvidia": nvidia,
        "systemd": os.path.isdir("/run/systemd/system"),
        "time": now,
        "time_service": time_service(),
        "behind": max(0.0, round(wanted["control_time"] - now, 1)),
        "host_keys": host_keys(),
        "ssh_port": ssh_port(),
        "missing_packages": missing_packages(wanted["packages"]),
        "users": {name: user_of(name) for name in wanted["users"]},
        "made_users": load()["users"],
        "groups": [name for name in wanted["users"] if is_group(name)],
        "paths": {path: path_of(path) for path in wanted["paths"]},
        "listening": listening(wanted["ports"]),
        "free_mb": {path: free_mb(path) for path in wanted["disks"]},
        "environments": environments(),
        "wireguard": has_module("wireguard"),
    }
    module.exit_json(changed=False, ansible_facts={"mammoctl": facts})


if __name__ == "__main__":
    main()
