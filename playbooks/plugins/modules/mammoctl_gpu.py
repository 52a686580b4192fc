#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""From installed driver packages to GPUs that TensorFlow lists, or a failure that says what mends it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mammoctl_gpu
short_description: Bring a node's NVIDIA driver into effect and have TensorFlow list every GPU
description:
  - Holds the driver's packages, puts the ban of nouveau into the initial RAM disk, loads the driver, and compares
    what it lists with the PCI bus. What only a reboot can do is reported as C(reboot), or fails where reboots are
    not allowed.
  - Then TensorFlow must list every GPU, as a user without rights. A test that has passed is not repeated while the
    environment, the driver and the cards are the same.
author: mammoctl
options:
  devices: {description: Number of GPUs on the PCI bus., type: int, required: true}
  version: {description: The start that the driver's version must have., type: str, default: ""}
  hold: {description: Hold the driver's packages at their version., type: bool, default: false}
  ban: {description: The file that keeps nouveau away., type: path}
  libraries: {description: The file that names the toolkit's libraries for ldconfig., type: path}
  reboot:
    description: What to do where only a reboot helps; after one that was done it fails.
    type: str
    choices: [never, when_needed, done]
    default: never
  secure_boot: {description: Secure Boot is on., type: bool, default: false}
  python: {description: The environment's interpreter., type: path, default: /opt/mammoctl/env/bin/python}
  timeout_s: {description: Seconds for TensorFlow to list the GPUs., type: int, default: 300}
"""

EXAMPLES = r"""
- name: Bring the driver into effect
  mammoctl_gpu:
    devices: 2
    hold: true
"""

import glob
import hashlib
import json
import os
import re
import shutil
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mammoctl_manifest import record
from ansible.module_utils.mammoctl_nvidia import ask_driver

MARKER = "/var/lib/mammoctl/gpu.json"
PATTERNS = ("nvidia-*", "libnvidia-*", "cuda-drivers*", "libcuda1", "firmware-nvidia-*", "linux-modules-nvidia-*")
# Not the driver: container tools and the distribution's old toolkit have versions of their own.
NOT_DRIVER = re.compile(r"(lib)?nvidia-(container|docker|cuda)|nvidia-settings")
PROGRAM = """
import json
import tensorflow
print(json.dumps([device.name for device in tensorflow.config.list_physical_devices("GPU")]))
"""
JOBS = ("mammoctl-job-", "CoarseGrainedExecutorBackend")


def driver_packages(text):
    """Return the names of the driver's packages in lines of ``dpkg-query``: status and package (pure)."""
    rows = [line.split() for line in text.splitlines() if line[1:2] == "i"]
    return sorted({row[1] for row in rows if not NOT_DRIVER.match(row[1])})


def diagnose(said, loading, secure_boot, nouveau, other_kernel):
    """Return (whether a reboot mends it, what is wrong and what to do) for a driver that does not answer (pure).

    Args:
        said: nvidia-smi's message.
        loading: what modprobe said, '' when it worked.
        secure_boot: Secure Boot is on.
        nouveau: the kernel's own driver holds the GPUs.
        other_kernel: a kernel that is not running and that the module was built for, or ''.
    """
    if nouveau:
        return True, "nouveau still holds the GPUs"
    if "version mismatch" in said:
        return True, "the kernel still runs the driver from before the update (%s)" % said
    refused = re.search(r"[Kk]ey was rejected|[Rr]equired key not available", loading)
    if refused or (secure_boot and "Operation not permitted" in loading):
        return False, (
            "Secure Boot: the kernel refuses the driver's module, as nobody has trusted its key yet. On the host: "
            "'sudo mokutil --import /var/lib/dkms/mok.pub' (Ubuntu: /var/lib/shim-signed/mok/MOK.der), reboot, and "
            "confirm it at the console; or switch Secure Boot off in the firmware."
        )
    if "not found in directory" in loading:
        if other_kernel:
            return True, "the driver's module was built for the kernel %s, which does not run yet" % other_kernel
        return False, (
            "no module of the driver was built for the running kernel. Look on the host with 'sudo dkms status' and at "
            "/var/lib/dkms/nvidia/*/build/make.log; the kernel's headers must be installed."
        )
    return True, "the driver does not answer (%s)" % (said + (" " + loading if loading else "")).strip()


class Gpu:
    """The steps of one call, each with what it changed."""

    def __init__(self, module):
        self.module = module
        self.check = module.check_mode
        self.changed = []

    def run(self, *command):
        """Return status, and both outputs together, of a command; a missing one counts as failed."""
        if not shutil.which(command[0]):
            return 127, "%s: not installed" % command[0]
        rc, out, err = self.module.run_command(list(command), environ_update={"LC_ALL": "C"})
        return rc, (out + err).strip()

    def hold(self):
        """Hold the driver's packages, so that nothing replaces them below a running kernel module."""
        query = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\n", *PATTERNS]
        _rc, out, _err = self.module.run_command(query, environ_update={"LC_ALL": "C"})
        _rc, held = self.run("apt-mark", "showhold")
        held = {name.partition(":")[0] for name in held.split()}
        new = [name for name in driver_packages(out) if name not in held]
        if not new:
            return
        self.changed.append("hold " + " ".join(new))
        if not self.check:
            record("holds", new)
            self.module.run_command(["apt-mark", "hold", *new], check_rc=True)

    def refresh(self, path, product, command):
        """Run ``command`` when ``product`` is older than the file ``path`` that it is made from."""
        if not path or not os.path.exists(path) or not os.path.exists(product):
            return
        if os.stat(product).st_mtime >= os.stat(path).st_mtime or not shutil.which(command[0]):
            return
        self.changed.append(" ".join(command))
        if not self.check:
            self.module.run_command(command, check_rc=True)

    def other_kernel(self):
        """Return a kernel that is not running and has a module of the driver."""
        running = os.uname().release
        for path in sorted(glob.glob("/lib/modules/*/**/nvidia.ko*", recursive=True), reverse=True):
            kernel = path.split("/")[3]
            if kernel != running:
                return kernel
        return ""

    def load(self):
        """Return (GPUs that the driver lists, why a reboot is needed); fail where a reboot would not help."""
        gpus, said = ask_driver()
        nouveau = os.path.isdir("/sys/module/nouveau")
        loading = ""
        if not gpus and not nouveau and not self.check:
            rc, loading = self.run("modprobe", "nvidia")
            loading = loading if rc else ""
            gpus, said = ask_driver()
        if gpus:
            wanted = self.module.params["version"]
            if wanted and not gpus[0]["driver"].startswith(wanted):
                return gpus, "the driver %s runs, %s is installed" % (gpus[0]["driver"], wanted)
            return gpus, ""
        if self.check:
            return [], ""
        mends, text = diagnose(said, loading, self.module.params["secure_boot"], nouveau, self.other_kernel())
        if not mends:
            self.module.fail_json(msg=text, changed=bool(self.changed))
        return [], text

    def running_jobs(self):
        """Return what a reboot would end: a job's driver or an executor of one."""
        found = set()
        for path in glob.glob("/proc/[0-9]*/cgroup") + glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, encoding="utf-8", errors="replace") as stream:
                    text = stream.read()
            except OSError:
                continue
            found.update(word for word in JOBS if word in text)
        return found

    def reboot(self, reason):
        """Ask for a reboot, or fail with what the user has to do."""
        again = "run 'mammoctl provision' again"
        if self.module.params["reboot"] == "done":
            self.module.fail_json(
                msg="The GPUs do not work after the reboot either: %s. Look on the host with 'sudo dmesg | grep -i -e "
                "nvrm -e nvidia -e nouveau' and 'sudo dkms status'." % reason,
                changed=bool(self.changed),
            )
        if self.module.params["reboot"] == "never":
            self.module.fail_json(
                msg="The GPUs need a reboot of the host: %s. Reboot it and %s, or set cuda_reboot: when_needed to have "
                "mammoctl do it, one host at a time." % (reason, again),
                changed=bool(self.changed),
                reboot=True,
            )
        if self.running_jobs():
            self.module.fail_json(
                msg="The GPUs need a reboot of the host (%s), but a job runs on it. Wait for its end or end it with "
                "'mammoctl jobs kill', then %s." % (reason, again),
                changed=bool(self.changed),
                reboot=True,
            )

    def listed(self, gpus):
        """Have TensorFlow list the GPUs, unless it has done so with just these; fail when it does not."""
        wanted = self.module.params
        environment = os.path.realpath(os.path.dirname(os.path.dirname(wanted["python"])))
        known = [environment, *("%(uuid)s %(driver)s" % gpu for gpu in gpus)]
        if wanted["libraries"] and os.path.exists(wanted["libraries"]):
            with open(wanted["libraries"], encoding="utf-8") as stream:
                known.append(stream.read())
        key = hashlib.sha256("\n".join(known).encode()).hexdigest()
        try:
            with open(MARKER, encoding="utf-8") as stream:
                if json.load(stream)["key"] == key:
                    return
        except (OSError, ValueError, KeyError, TypeError):
            pass
        names, said = self.ask_tensorflow()
        if len(names) != wanted["devices"]:
            self.module.fail_json(
                msg="TensorFlow lists %d of %d GPUs, though the driver lists all: it would use the processor unseen. "
                "It said:\n%s\nLook on the host with: sudo runuser -u nobody -- %s -c 'import tensorflow as t; "
                'print(t.config.list_physical_devices("GPU"))\''
                % (len(names), wanted["devices"], said or "(nothing)", wanted["python"])
            )
        record("files", [MARKER])
        with open(MARKER + ".new", "w", encoding="utf-8") as stream:
            json.dump({"key": key, "gpus": gpus, "tensorflow": names}, stream, indent=1)
            stream.write("\n")
        os.replace(MARKER + ".new", MARKER)

    def ask_tensorflow(self):
        """Return (the GPUs that TensorFlow lists to a user without rights, the last lines of what it said)."""
        wanted = self.module.params
        command = ["runuser", "-u", "nobody", "--", wanted["python"], "-c", PROGRAM]
        environment = dict(os.environ, HOME="/tmp", LC_ALL="C.UTF-8", TF_CPP_MIN_LOG_LEVEL="0")  # noqa: S108
        try:
            done = subprocess.run(
                *(command,), capture_output=True, text=True, check=False, env=environment, timeout=wanted["timeout_s"],
                cwd="/",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return [], "no answer within %d s (timeout: cuda_timeout_s)" % wanted["timeout_s"]
        except OSError as error:
            return [], str(error)
        said = "\n".join(line[:300] for line in done.stderr.splitlines() if line.strip())[-1500:]
        try:
            return list(json.loads(done.stdout.strip().splitlines()[-1])), said
        except (ValueError, IndexError):
            return [], said


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "devices": {"type": "int", "required": True},
            "version": {"type": "str", "default": ""},
            "hold": {"type": "bool", "default": False},
            "ban": {"type": "path"},
            "libraries": {"type": "path"},
            "reboot": {"type": "str", "choices": ["never", "when_needed", "done"], "default": "never"},
            "secure_boot": {"type": "bool", "default": False},
            "python": {"type": "path", "default": "/opt/mammoctl/env/bin/python"},
            "timeout_s": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    gpu = Gpu(module)
    if module.params["hold"]:
        gpu.hold()
    gpu.refresh(module.params["ban"], "/boot/initrd.img-" + os.uname().release, ["update-initramfs", "-u", "-k", "all"])
    gpu.refresh(module.params["libraries"], "/etc/ld.so.cache", ["ldconfig"])
    gpus, reason = gpu.load()
    if reason and not module.check_mode:
        gpu.reboot(reason)
    elif not module.check_mode:
        if len(gpus) < module.params["devices"]:
            module.fail_json(
                msg="The driver lists %d of the %d GPUs on the PCI bus. Look on the host with 'sudo dmesg | grep -i "
                "nvrm': a card may be damaged, or too old for the driver." % (len(gpus), module.params["devices"])
            )
        gpu.listed(gpus)
    after = "".join("%s\n" % line for line in gpu.changed)
    result = {"changed": bool(gpu.changed), "actions": gpu.changed, "gpus": gpus, "reboot": bool(reason)}
    module.exit_json(diff={"before": "", "after": after}, reason=reason, **result)


if __name__ == "__main__":
    main()
