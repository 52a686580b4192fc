"""Small packages with the names of NVIDIA's, in repositories that a lab's nodes can reach.

What a real package does to a kernel, these do not; they bring an ``nvidia-smi`` that answers in the
form of the real one.
"""

from __future__ import annotations

import email.utils
import functools
import hashlib
import http.server
import os
import platform
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PINNED, NEWER, DISTRIBUTION = "595.71.05", "610.43.02", "535.261.03"
KERNEL = platform.release()  # the nodes run on this machine's

# Two cards; they do not answer between the installation and the next boot, if the node says so.
NVIDIA_SMI = """#!/bin/sh
if [ -e /run/driver-needs-reboot ]; then
  echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. \
Make sure that the latest NVIDIA driver is installed and running."
  exit 9
fi
case "$1" in
  --query-gpu=index) printf '0\\n1\\n' ;;
  --query-gpu=*)
    set -- "Tesla T4, {version}"
    echo "0, GPU-5a9c0f0e-9f7d-1c5b-8a55-3f1f6f6b2d10, $1, 00000000:18:00.0, 15360"
    echo "1, GPU-0d0cbb0d-6f6e-4d62-9d3a-b0b7a3a0c7f1, $1, 00000000:AF:00.0, 15360" ;;
  -pm) echo "$*" >> /run/nvidia-smi.asked ;;
esac
"""
NEEDS_REBOOT = "#!/bin/sh\n[ ! -e /etc/driver-needs-reboot ] || touch /run/driver-needs-reboot\n"


@dataclass
class Package:
    """A Debian package: its fields, its files, and what it does after its installation."""

    name: str
    version: str
    depends: str = ""
    conflicts: str = ""
    files: tuple[tuple[str, str], ...] = ()
    postinst: str = ""

    def build(self, folder: Path) -> None:
        """Write the package into ``folder``."""
        root = folder / f".{self.name}"
        (root / "DEBIAN").mkdir(parents=True)
        fields = {
            "Package": self.name,
            "Version": self.version,
            "Architecture": "amd64",
            "Maintainer": "nobody <nobody@example.org>",
            "Depends": self.depends,
            "Conflicts": self.conflicts,
            "Description": "stands in for the real one in a test",
        }
        lines = [f"{name}: {value}\n" for name, value in fields.items() if value]
        (root / "DEBIAN/control").write_text("".join(lines))
        scripts = [*self.files, *([("DEBIAN/postinst", self.postinst)] if self.postinst else [])]
        for path, text in scripts:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
            (root / path).chmod(0o755)
        target = folder / f"{self.name}_{self.version}_amd64.deb"
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Znone", "-b", root, target],
            check=True,
            capture_output=True,
        )
        shutil.rmtree(root)


def _smi(version: str) -> tuple[tuple[str, str], ...]:
    return (("usr/bin/nvidia-smi", NVIDIA_SMI.replace("{version}", version)),)


def _modules(version: str, revision: str, names: tuple[str, str]) -> list[Package]:
    one, other = names
    return [
        Package(one, version + revision, conflicts=other, postinst=NEEDS_REBOOT),
        Package(other, version + revision, conflicts=one, postinst=NEEDS_REBOOT),
    ]


def nvidias() -> list[Package]:
    """Return what NVIDIA's repository for Debian has, in the pinned version and a newer one."""
    found: list[Package] = []
    for version in (PINNED, NEWER):
        exact = f"{version}-1"
        found += [
            *_modules(version, "-1", ("nvidia-kernel-dkms", "nvidia-kernel-open-dkms")),
            Package("libcuda1", exact),
            Package(
                "nvidia-driver-cuda",
                exact,
                depends=f"libcuda1 (= {exact})",
                conflicts="nvidia-smi",
                files=_smi(version),
            ),
            Package("nvidia-persistenced", exact),
            Package("nvidia-modprobe", exact),
        ]
    for version in ("9.3.0.75-1", "9.28.0.42-1"):
        found.append(Package("libcudnn9-cuda-12", version))
    found.append(Package("cuda-toolkit-12-5", "12.5.1-1"))
    return found


def distributions() -> list[Package]:
    """Return what Debian has, and what a kernel brings; the version is above the real ones'."""
    return [
        *_modules(DISTRIBUTION, "-99", ("nvidia-kernel-dkms", "nvidia-open-kernel-dkms")),
        Package("libcuda1", f"{DISTRIBUTION}-99"),
        Package("nvidia-smi", f"{DISTRIBUTION}-99", files=_smi(DISTRIBUTION)),
        Package("nvidia-persistenced", f"{DISTRIBUTION}-99"),
        Package("nvidia-modprobe", f"{DISTRIBUTION}-99"),
        Package(f"linux-headers-{KERNEL}", "99"),
        Package("linux-headers-amd64", "99"),
    ]


@dataclass
class Repositories:
    """Repositories below one folder, signed with a key made for them.

    Attributes:
        root: what the web server shows: ``nvidia/`` (flat, as NVIDIA's are) and ``debian/``.
        key: the public key, as a file.
        keyring: a keyring package with that key, and its sum.
        port: where the root is served, on every name of this machine; 0 while it is not.
    """

    root: Path
    home: Path
    key: Path
    keyring: Path
    keyring_sha256: str
    port: int = 0

    def address(self, name: str) -> str:
        """Return the root's address by one of the names that nodes have for this machine."""
        return f"http://{name}:{self.port}"

    def gpg(self, *arguments: str | Path) -> bytes:
        command = ["gpg", "--batch", "--yes", "--homedir", self.home, *arguments]
        return subprocess.run(command, check=True, capture_output=True).stdout

    def sign(self, folder: Path, fields: str) -> None:
        """Write and sign the Release file of the index files below ``folder``."""
        files = sorted(folder.rglob("Packages"))
        sums = [f" {sha256(p)} {p.stat().st_size} {p.relative_to(folder)}" for p in files]
        release = folder / "Release"
        date = email.utils.formatdate(usegmt=True)
        head = f"{fields}Architectures: amd64\nDate: {date}\nSHA256:\n"
        release.write_text(head + "\n".join(sums) + "\n")
        self.gpg("--clearsign", "--output", folder / "InRelease", release)


def sha256(path: Path) -> str:
    """Return a file's sum in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _index(pool: Path, relative_to: Path) -> str:
    done = subprocess.run(
        ["dpkg-scanpackages", "-m", pool.relative_to(relative_to)],
        cwd=relative_to, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def make(folder: Path) -> Repositories:
    """Build the packages and both repositories below ``folder``."""
    home, root = folder / "gnupg", folder / "www"
    home.mkdir(mode=0o700)
    made = Repositories(root, home, root / "key.asc", folder / "keyring.deb", "")
    user = "The test's own <nobody@example.org>"
    made.gpg("--passphrase", "", "--quick-generate-key", user, "rsa3072", "sign", "never")

    flat = root / "nvidia/debian12/x86_64"
    flat.mkdir(parents=True)
    for package in nvidias():
        package.build(flat)
    (flat / "Packages").write_text(_index(flat, flat))
    made.sign(flat, "Origin: NVIDIA\nLabel: NVIDIA CUDA\n")

    debian = root / "debian"
    pool, suite = debian / "pool", debian / "dists/bookworm"
    pool.mkdir(parents=True)
    for package in distributions():
        package.build(pool)
    text = _index(pool, debian)
    for part in ("main", "contrib", "non-free", "non-free-firmware"):
        index = suite / part / "binary-amd64"
        index.mkdir(parents=True)
        (index / "Packages").write_text(text if part == "non-free" else "")
    made.sign(suite, "Origin: Debian\nSuite: stable\nCodename: bookworm\n"
              "Components: main contrib non-free non-free-firmware\n")  # fmt: skip

    made.key.write_bytes(made.gpg("--armor", "--export"))
    _keyring(folder, made)
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
    return made


def _keyring(folder: Path, made: Repositories) -> None:
    tree = folder / "keyring"
    ring = tree / "usr/share/keyrings/cuda-archive-keyring.gpg"
    ring.parent.mkdir(parents=True)
    ring.write_bytes(made.gpg("--export"))
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        "Package: cuda-keyring\nVersion: 1.1-1\nArchitecture: all\n"
        "Maintainer: nobody <nobody@example.org>\nDescription: stands in for the real one\n"
    )
    subprocess.run(["dpkg-deb", "-Zxz", "-b", tree, made.keyring], check=True, capture_output=True)
    made.keyring_sha256 = sha256(made.keyring)


@contextmanager
def served(made: Repositories, host: str) -> Iterator[Repositories]:
    """Serve the repositories on an address of this machine, until the end of the block."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=os.fspath(made.root))
    server = http.server.ThreadingHTTPServer((host, 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made.port = server.server_port
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
