"""Base images: built once with mmdebstrap, cached by their recipe, shared by all nodes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mammoctl import console, paths
from mammoctl.errors import LabError, UsageError
from mammoctl.lab.state import lock
from mammoctl.lab.system import mounts_below, require_disk, run

# What a bare server has, and no more.
_INCLUDE = (
    "ca-certificates,dbus,iproute2,libpam-systemd,openssh-server,python3,sudo,systemd,systemd-sysv"
)
_SSHD = "PermitRootLogin no\\nPasswordAuthentication no\\nHostKey /etc/ssh/ssh_host_ed25519_key\\n"
# Background package updates would hold dpkg's lock at random moments; host keys and the machine's
# identity belong to a node, not to the image.
_HOOKS = (
    'chroot "$1" useradd --create-home --shell /bin/bash admin',
    'echo "admin ALL=(ALL) NOPASSWD:ALL" > "$1/etc/sudoers.d/admin"; '
    'chmod 0440 "$1/etc/sudoers.d/admin"',
    f'printf "{_SSHD}" > "$1/etc/ssh/sshd_config.d/10-bare.conf"',
    'rm -f "$1"/etc/ssh/ssh_host_*',
    'for t in apt-daily apt-daily-upgrade; do if [ -e "$1/lib/systemd/system/$t.timer" ]; then '
    'chroot "$1" systemctl disable $t.timer; fi; done',
    'rm -f "$1/etc/hosts" "$1/etc/resolv.conf"; : > "$1/etc/machine-id"',
)
_BUILD_GIB = 1.5
_KEYRINGS = Path("/usr/share/keyrings")
_KEYRING_PACKAGE = "ubuntu-archive-keyring"
_UBUNTU_KEYS = "ubuntu-archive-keyring.gpg"


@dataclass(frozen=True)
class Image:
    """A release that nodes can run."""

    name: str
    suite: str
    keyring: str = ""
    components: str = "main"
    unified: bool = False  # its systemd no longer runs on cgroups v1
    packages: str = (
        ""  # what its servers have and a minimal installation has not, or not as default
    )


IMAGES = {
    image.name: image
    for image in (
        Image("debian12", "bookworm"),
        Image("debian13", "trixie"),
        Image("ubuntu22.04", "jammy", _UBUNTU_KEYS, "main,universe", packages="apt"),
        Image("ubuntu24.04", "noble", _UBUNTU_KEYS, "main,universe", packages="apt"),
        Image(
            "ubuntu26.04",
            "resolute",
            _UBUNTU_KEYS,
            "main,universe",
            unified=True,
            packages="apt,sudo-rs",
        ),
    )
}


def find(name: str) -> Image:
    """Return the image called ``name``.

    Raises:
        UsageError: there is none; the hint lists those that are.
    """
    if name not in IMAGES:
        raise UsageError(f"--image: unknown image {name!r}", hint=f"one of {', '.join(IMAGES)}")
    return IMAGES[name]


def build_argv(image: Image, target: Path, mirror: str, keyring: Path | None = None) -> list[str]:
    """Return the command that builds ``image`` into the folder ``target``.

    Args:
        image: what to build.
        target: folder that must not exist yet.
        mirror: package mirror; the release's default one when empty.
        keyring: keys that the packages are signed with; the control machine's own by default.
    """
    include = ",".join(filter(None, [_INCLUDE, image.packages]))
    argv = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={include}"]
    argv.append(f"--components={image.components}")
    if keyring:
        argv.append(f"--keyring={keyring}")
    argv += [f"--customize-hook={hook}" for hook in _HOOKS]
    return [*argv, image.suite, str(target), *([mirror] if mirror else [])]


def key(image: Image, mirror: str) -> str:
    """Return the name of the image in the cache: its release and a digest of its recipe."""
    recipe = "\0".join(build_argv(image, Path("target"), mirror))
    return f"{image.name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def ensure(image: Image, mirror: str = "") -> Path:
    """Return the folder of the base image, building it when it is not in the cache.

    The build goes to a temporary name and is renamed when complete; two builds of the same image
    wait for each other.

    Raises:
        LabError: mmdebstrap failed (a mirror that cannot be reached, a missing keyring, no room).
    """
    folder = paths.cache_dir() / "images"
    final = folder / key(image, mirror)
    if final.is_dir():
        return final
    require_disk(folder, _BUILD_GIB, f"the image {image.name}")
    keyring = _keyring(image)
    folder.mkdir(parents=True, exist_ok=True)
    with lock(f"image-{final.name}", wait=True) as fd:
        if final.is_dir():
            return final
        console.step(f"building the base image {image.name} (once)")
        start = time.monotonic()
        temporary = folder / f"{final.name}.part"
        if temporary.exists():
            for point in reversed(mounts_below(temporary)):
                run(["umount", point])
            shutil.rmtree(temporary)
        _build(build_argv(image, temporary, mirror, keyring), folder / f"{final.name}.log", fd)
        temporary.rename(final)
        console.note(f"    {final.name} in {time.monotonic() - start:.0f} s")
    return final


def _keyring(image: Image) -> Path | None:
    """Return the keys that an image's packages are signed with; None for the machine's own."""
    if not image.keyring:
        return None
    mine = paths.cache_dir() / "keyrings"
    for folder in (_KEYRINGS, mine):
        if (folder / image.keyring).is_file():
            return folder / image.keyring
    try:
        return _fetch_keyring(image.keyring, mine)
    except LabError as exc:
        raise LabError(
            f"the packages of {image.name} cannot be checked: no {image.keyring} here",
            hint="apt-get install ubuntu-keyring, or copy that file from an Ubuntu machine's "
            f"{_KEYRINGS} into {mine}",
            details=[exc.message, *exc.details],
        ) from exc


def _fetch_keyring(name: str, folder: Path) -> Path:
    """Take Ubuntu's keys out of Debian's package of them, which Debian's own keys vouch for."""
    folder.mkdir(parents=True, exist_ok=True)
    with lock(f"keyring-{name}", wait=True), tempfile.TemporaryDirectory(dir=folder) as scratch:
        if not (folder / name).is_file():
            target = Path(scratch, "root")
            argv = ["mmdebstrap", "--mode=root", "--variant=extract", "--quiet"]
            run([*argv, f"--include={_KEYRING_PACKAGE}", "trixie", target])
            (target / _KEYRINGS.relative_to("/") / name).replace(folder / name)
    return folder / name


# Ends with mammoctl, by its own PID namespace all of it, however mammoctl ends.
_CAGE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--fork", "--pid", "--mount-proc")
_REAPER = ("--kill-child", "sh", "-c", '"$@"; exit $?', "sh")


def _build(argv: list[str], log: Path, lock_fd: int) -> None:
    reader, writer = os.pipe()
    with log.open("w") as output:
        # The lock goes along: after a kill -9 the next build waits until this one has gone.
        build = subprocess.Popen(
            [*_CAGE, *_REAPER, *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(lock_fd, writer),
            start_new_session=True,
        )
    os.close(writer)
    try:
        build.wait()
    except BaseException:
        build.kill()
        build.wait()
        os.read(reader, 1)  # returns when the last process of the build has gone
        raise
    finally:
        os.close(reader)
    if build.returncode != 0:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise LabError(
            f"mmdebstrap could not build {argv[-1]}",
            details=lines[-8:],
            hint=f"see {log}; a mirror of your own can be given with --mirror URL",
        )
