"""A node's file system: an overlay over the base image, and what makes it this node."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from pathlib import Path

from mammoctl.errors import LabError
from mammoctl.lab.state import LabState, NodeState
from mammoctl.lab.system import run

# Of a closed lab: an address kept for documents (RFC 5737), so that every question leaves the node.
_NOBODY = "192.0.2.53"
_EXTRA_CA = Path("/usr/local/share/ca-certificates")


def root(state: LabState, node: NodeState) -> Path:
    """Return where the node's file system is mounted."""
    return state.node_dir(node) / "root"


def layer(state: LabState, node: NodeState, number: int) -> Path:
    """Return the folder of one writable or frozen layer."""
    return state.node_dir(node) / "l" / str(number)


def mount(state: LabState, node: NodeState) -> None:
    """Mount the node's file system, if it is not mounted.

    Raises:
        LabError: the kernel refused (for example, the lab's folder lies on an overlay itself).
    """
    target = root(state, node)
    if os.path.ismount(target):
        return
    upper, work = (layer(state, node, node.upper) / part for part in ("u", "w"))
    for path in (target, upper, work):
        path.mkdir(parents=True, exist_ok=True)
    # A volatile overlay refuses to come back after a crash of the machine until told that this is
    # fine: a lab's files may be lost with the machine.
    shutil.rmtree(work / "work" / "incompat", ignore_errors=True)
    lower = ":".join(
        [*(str(layer(state, node, number) / "u") for number in reversed(node.layers)), node.base]
    )
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    if len(options) > 4000:
        raise LabError(
            f"node {node.name} has too many layers", hint="restore an earlier snapshot first"
        )
    argv = ["mount", "-t", "overlay", f"mammoctl-{node.name}", str(target), "-o"]
    for extra in (",redirect_dir=on,volatile", ""):
        done = subprocess.run([*argv, options + extra], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
    raise LabError(
        f"the file system of {node.name} cannot be mounted",
        details=done.stderr.strip().splitlines()[-3:],
        hint="set MAMMOCTL_LAB_DIR to a folder on ext4, xfs or btrfs",
    )


def unmount(state: LabState, node: NodeState) -> None:
    """Unmount the node's file system; nothing may be running in it."""
    while os.path.ismount(root(state, node)):
        run(["umount", root(state, node)])


def host_key_path(state: LabState, node: NodeState) -> Path:
    """Return where the node's private host key is, seen from outside."""
    return root(state, node) / "etc/ssh/ssh_host_ed25519_key"


def prepare(state: LabState, node: NodeState, public_key: str) -> None:
    """Make the mounted file system this node's; it may have been done before.

    Args:
        state: the lab.
        node: the node.
        public_key: line for the login's ``authorized_keys``.
    """
    base = root(state, node)
    (base / "etc/hostname").write_text(node.name + "\n")
    machine_id = base / "etc/machine-id"
    if not machine_id.exists() or not machine_id.read_text().strip():
        machine_id.write_text(uuid.uuid4().hex + "\n")
    if state.closed:
        (base / "etc/resolv.conf").write_text(f"nameserver {_NOBODY}\noptions attempts:1\n")
        # As Debian's installer leaves it: else each sudo asks the name server for its own host.
        if not (hosts := base / "etc/hosts").exists():
            hosts.write_text(f"127.0.0.1\tlocalhost\n127.0.1.1\t{node.name}\n")
    else:
        _write_resolver(base / "etc/resolv.conf")
    _write_certificates(base)
    _let_in(base / "home/admin", public_key.strip())


def _let_in(home: Path, public_key: str) -> None:
    """Add a key to those that open a login; whoever else was let in since stays."""
    ssh = home / ".ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    keys = ssh / "authorized_keys"
    lines = keys.read_text().splitlines() if keys.is_file() and not keys.is_symlink() else []
    if public_key in lines:
        return
    keys.unlink(missing_ok=True)  # not through a link that the node may have put there
    keys.write_text("\n".join([*lines, public_key]) + "\n")
    owner = home.stat()
    for path in (ssh, keys):
        os.chown(path, owner.st_uid, owner.st_gid)
    keys.chmod(0o600)


def host_key(path: Path, comment: str) -> str:
    """Make an SSH key at ``path`` unless there is one, and return its public half."""
    public = path.with_name(path.name + ".pub")
    if not public.exists():
        path.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path])
    return " ".join(public.read_text().split()[:2])


def _write_resolver(target: Path) -> None:
    for source in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        if not source.exists():
            continue
        lines = source.read_text().splitlines()
        servers = [line.split()[1] for line in lines if line.startswith("nameserver ")]
        # A resolver on the loopback answers the control machine alone.
        if servers := [s for s in servers if not s.startswith("127.") and s != "::1"]:
            keep = [line for line in lines if line.split(" ")[0] in ("search", "options")]
            target.unlink(missing_ok=True)
            # By default a lost question costs 5 seconds, and two in a row fail an installation.
            # What the control machine says itself comes after, and holds.
            patient = "options timeout:2 attempts:5"
            lines = [*(f"nameserver {server}" for server in servers), patient, *keep]
            target.write_text("\n".join(lines) + "\n")
            return


def _write_certificates(base: Path) -> None:
    extra = sorted(_EXTRA_CA.rglob("*.crt"))
    if not extra:
        return
    target = base / "usr/local/share/ca-certificates"
    target.mkdir(parents=True, exist_ok=True)
    known = {path.name: path.read_bytes() for path in target.glob("*.crt")}
    wanted = {path.name: path.read_bytes() for path in extra}
    if known == {**known, **wanted}:
        return
    for name, content in wanted.items():
        (target / name).write_bytes(content)
    run(["chroot", base, "update-ca-certificates"])
