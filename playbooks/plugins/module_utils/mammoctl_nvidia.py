# SPDX-License-Identifier: Apache-2.0
"""What a node knows about its NVIDIA GPUs: PCI bus, driver, Secure Boot, package sources. Changes nothing."""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess

VENDOR = "0x10de"
DISPLAY, BRIDGE = "0x03", "0x0680"  # PCI classes: display controllers; other bridges, as NVSwitch is one
QUERY = ("index", "uuid", "name", "driver_version", "pci.bus_id", "memory.total")
OURS = "/etc/modprobe.d/mammoctl-nouveau.conf"
PREFERENCES = "/etc/apt/preferences.d/mammoctl-nvidia"
EFIVARS = "/sys/firmware/efi/efivars"
SECURE_BOOT = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
SHIM_OFF = "MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23"


def _read(path):
    """Return a small file's text without space around it, or ''."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return ""


def pci_devices(root="/sys/bus/pci/devices"):
    """Return (GPUs, number of NVSwitches); a GPU is its ``address`` and its ``id`` of four hexadecimal digits."""
    gpus, switches = [], 0
    for folder in sorted(glob.glob(root + "/*")):
        if _read(folder + "/vendor") != VENDOR:
            continue
        kind = _read(folder + "/class")
        if kind.startswith(DISPLAY):
            device = _read(folder + "/device")
            gpus.append({"address": os.path.basename(folder), "id": device[2:] if device.startswith("0x") else device})
        switches += kind.startswith(BRIDGE)
    return gpus, switches


def secure_boot(root=EFIVARS):
    """Tell whether the firmware enforces Secure Boot and shim has not been told to look away.

    A variable's file is four bytes of attributes and then its value (the kernel's efivarfs).
    """

    def value(name):
        try:
            with open(os.path.join(root, name), "rb") as stream:
                return stream.read()[4:5]
        except OSError:
            return b""

    return value(SECURE_BOOT) == b"\x01" and value(SHIM_OFF) != b"\x01"


def parse_gpus(text):
    """Return the GPUs of ``nvidia-smi --query-gpu=QUERY --format=csv,noheader,nounits``, memory in MiB.

    Raises:
        ValueError: a line is not of that form.
    """
    gpus = []
    for line in text.splitlines():
        if not line.strip():
            continue
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != len(QUERY) or not fields[0].isdigit():
            raise ValueError("nvidia-smi said: %s" % line.strip())
        gpus.append(
            {
                "index": int(fields[0]),
                "uuid": fields[1],
                "name": fields[2],
                "driver": fields[3],
                "bus": fields[4].lower(),
                "memory_mb": int(fields[5]) if fields[5].isdigit() else 0,
            }
        )
    return gpus


def pinned(text):
    """Return the version or branch of NVIDIA's driver that our preferences pin, or '' (pure)."""
    found = re.search(r"^Package: nvidia-\*.*\nPin: version (.+?)[-.]\*$", text, re.M)
    return found.group(1) if found else ""


def ask_driver(timeout_s=60):
    """Return (GPUs that the driver lists, what it says when it fails); a missing nvidia-smi says so, too."""
    if not shutil.which("nvidia-smi"):
        return [], "nvidia-smi is not installed"
    command = ["nvidia-smi", "--query-gpu=" + ",".join(QUERY), "--format=csv,noheader,nounits"]
    environment = dict(os.environ, LC_ALL="C")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, env=environment)
        # It writes its complaints to standard output.
        said = " ".join((done.stdout + " " + done.stderr).split())
        return (parse_gpus(done.stdout), "") if done.returncode == 0 else ([], said or "status %d" % done.returncode)
    except subprocess.TimeoutExpired:
        return [], "nvidia-smi did not answer within %d s" % timeout_s
    except (OSError, ValueError) as error:
        return [], str(error)


def _source(path, uri, suite, components):
    return {"uri": uri.rstrip("/"), "suite": suite, "components": components, "file": os.path.basename(path)}


def apt_sources(root="/etc/apt"):
    """Return what the node's apt sources name: ``uri``, ``suite``, ``components``, ``file`` (sources.list(5))."""
    found = []
    for path in [root + "/sources.list", *sorted(glob.glob(root + "/sources.list.d/*.list"))]:
        for line in _read(path).splitlines():
            parts = re.sub(r"\[[^]]*\]", "", line.partition("#")[0]).split()
            if len(parts) >= 3 and parts[0] == "deb":
                found.append(_source(path, parts[1], parts[2], parts[3:]))
    for path in sorted(glob.glob(root + "/sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", _read(path)):
            fields, last = {}, ""
            for line in stanza.splitlines():
                if line.startswith("#"):
                    continue
                if line[:1].isspace():
                    fields[last] = fields.get(last, "") + " " + line.strip()
                    continue
                key, _sep, value = line.partition(":")
                last = key.strip().lower()
                fields[last] = value.strip()
            if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
                continue
            components = fields.get("components", "").split()
            for uri in fields.get("uris", "").split():
                for suite in fields.get("suites", "").split():
                    found.append(_source(path, uri, suite, components))
    return found


def look(release):
    """Return everything that role cuda asks of a node with GPUs, None of one without.

    Args:
        release: the keys of os-release, in small letters.
    """
    gpus, switches = pci_devices()
    if not gpus:
        return None
    kernel = os.uname().release
    listed, said = ask_driver()
    return {
        "devices": gpus,
        "switches": switches,
        "kernel": kernel,
        "headers": os.path.isdir("/lib/modules/%s/build" % kernel),
        "nouveau": os.path.isdir("/sys/module/nouveau"),
        "driver": listed[0]["driver"] if listed else "",
        "listed": len(listed),
        "said": said,
        "secure_boot": secure_boot(),
        "ours": os.path.exists(OURS),
        "pinned": pinned(_read(PREFERENCES)),
        "codename": release.get("version_codename", ""),
        "sources": apt_sources(),
    }
