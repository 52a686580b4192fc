"""An apt of its own for one release and architecture, away from this machine's packages.

It has an own root, state and lists, and no package counts as installed there: what it resolves is
complete for the barest host. The archive's signatures are checked here, with the keys of the
release's distribution. Archives that no option names, proxies and retries are those that this
machine's apt is configured with.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mammoctl import paths
from mammoctl.bundle import versions
from mammoctl.bundle.process import Runner
from mammoctl.errors import BundleError, UsageError

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_KEYRINGS = Path("/usr/share/keyrings")
# What of this machine's own configuration holds here, too: how to reach the archives.
_KEPT = re.compile(r'Acquire::(https?|Retries|Queue-Mode)\b.* "[^"]*";')
_COMPONENTS = {"debian": "main", "ubuntu": "main universe"}


@dataclass(frozen=True)
class Paragraph:
    """A package as an archive's index lists it: field -> value, without the long description."""

    fields: Mapping[str, str]

    @property
    def name(self) -> str:
        """Return the package's name."""
        return self.fields["Package"]

    @property
    def size(self) -> int:
        """Return the size of its file in bytes."""
        return int(self.fields["Size"])


def paragraphs(text: str) -> list[Paragraph]:
    """Read an index of packages (pure)."""
    found = []
    for block in re.split(r"\n\s*\n", text.strip()):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line[:1] in (" ", "\t"):
                fields[name] += "\n" + line
            else:
                name, _colon, value = line.partition(":")
                fields[name] = value.strip()
        if "Package" in fields:
            found.append(Paragraph(fields))
    return found


def mirrors(given: Sequence[str]) -> dict[str, str]:
    """Return archive -> address from what the user wrote (``debian=https://...``).

    Raises:
        UsageError: it is not written so, or the archive is none of those known.
    """
    known = ("debian", "debian-security", "ubuntu", "ubuntu-security")
    found = {}
    for text in given:
        name, _equals, address = text.partition("=")
        if name not in known or not re.match(r"(https?|file)://?\S+$", address):
            raise UsageError(
                f"--mirror: {text!r} is not ARCHIVE=URL",
                hint=f"such as debian=https://mirror.example.org/debian; known: {', '.join(known)}",
            )
        # What lies on a disk here is copied like the rest: apt would leave it where it is.
        found[name] = re.sub("^file:", "copy:", address.rstrip("/"))
    return found


def configured(targets: str) -> dict[str, str]:
    """Return archive -> address out of what ``apt-get indextargets`` says of this machine (pure).

    Args:
        targets: a line for each index: the address of its archive.
    """
    found: dict[str, str] = {}
    for line in targets.splitlines():
        address = line.strip().rstrip("/")
        name = address.rpartition("/")[2].replace("ubuntu-ports", "ubuntu")
        if name in ("debian", "debian-security", "ubuntu"):
            found.setdefault(name, address)
    return found


def _own() -> dict[str, str]:
    argv = ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return configured(done.stdout)


def sources(release: str, given: Mapping[str, str], keyring: Path) -> str:
    """Return apt's source list for a release: its packages, updates and security updates.

    Args:
        release: such as ``debian12``.
        given: archive -> address. Ubuntu's archives carry the security updates, too.
        keyring: the keys that the archive is signed with.

    Raises:
        UsageError: an archive that is needed has no address.
    """
    distribution = release.rstrip("0123456789.")
    suite = versions.load()["releases"][release]["suite"]
    main = given.get(distribution)
    security = given.get(f"{distribution}-security", main if distribution == "ubuntu" else None)
    lacking = [
        name
        for name, where in ((distribution, main), (f"{distribution}-security", security))
        if where is None
    ]
    if lacking:
        raise UsageError(
            f"this machine's apt has no source for {' and '.join(lacking)}, which {release} needs",
            hint="name them: " + " ".join(f"--mirror {name}=URL" for name in lacking),
        )
    places = [(main, suite), (main, f"{suite}-updates"), (security, f"{suite}-security")]
    start = f"deb [signed-by={keyring}]"
    components = _COMPONENTS[distribution]
    return "".join(f"{start} {where} {which} {components}\n" for where, which in places)


def keyring(release: str) -> Path:
    """Return the file of the keys that a release's archive is signed with.

    Raises:
        BundleError: this machine does not have it.
    """
    distribution = release.rstrip("0123456789.")
    name = f"{distribution}-archive-keyring.gpg"
    mine = paths.cache_dir() / "keyrings"
    for folder in (_KEYRINGS, mine):
        if (folder / name).is_file():
            return folder / name
    package = "ubuntu-keyring" if distribution == "ubuntu" else "debian-archive-keyring"
    raise BundleError(
        f"the packages of {release} cannot be checked: there is no {name} here",
        hint=f"sudo apt-get install {package}, or copy that file from a {distribution.title()} "
        f"machine's {_KEYRINGS} into {mine}",
    )


def require() -> None:
    """Check that this machine has apt.

    Raises:
        BundleError: it has not.
    """
    if not (shutil.which("apt-get") and shutil.which("apt-cache")):
        raise BundleError(
            "Debian packages are resolved with apt-get, which is not here",
            hint="make the bundle on a Debian or Ubuntu machine (mammoctl bundle create "
            "--packages ... --output FILE) and bring the file here",
        )


class Apt:
    """apt for one release and architecture, in a folder of its own.

    Args:
        folder: where it works; it holds the lists and what is downloaded.
        release: such as ``debian12``.
        arch: as ``uname -m`` says.
        given: archive -> address; the others are those of this machine's own apt.
        runner: runs apt.
    """

    def __init__(
        self, folder: Path, release: str, arch: str, given: Mapping[str, str], runner: Runner
    ) -> None:
        self.release = release
        self._runner = runner
        self._config = folder / "apt.conf"
        self.archives = folder / "var/cache/apt/archives"
        self.lists = folder / "var/lib/apt/lists"
        for path in (self.archives / "partial", self.lists / "partial", folder / "var/lib/dpkg"):
            path.mkdir(parents=True)
        for name in ("apt.conf.d", "preferences.d", "sources.list.d", "trusted.gpg.d"):
            (folder / "etc/apt" / name).mkdir(parents=True)
        (folder / "var/lib/dpkg/status").touch()
        (folder / "etc/apt/sources.list").write_text(
            sources(release, {**_own(), **given}, keyring(release))
        )
        debian = ARCHITECTURES[arch]
        self._config.write_text(
            f'Dir "{folder}/";\n'
            f'Dir::State::status "{folder}/var/lib/dpkg/status";\n'
            f'APT::Architecture "{debian}";\nAPT::Architectures {{ "{debian}"; }};\n'
            # The folder is the user's own, where apt's own account cannot look.
            'APT::Sandbox::User "root";\n'
            'Acquire::Languages "none";\n'
            'Acquire::Retries "3";\n'
            # The machine's desktop may ask for further indexes.
            'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";\n' + _machine()
        )

    def update(self) -> None:
        """Fetch the lists and check their signatures.

        Raises:
            BundleError: an archive cannot be reached, or is not signed with the known keys.
        """
        self._run("apt-get", "-q", "update", "--error-on=any")

    def known(self, names: Sequence[str]) -> list[str]:
        """Return which of ``names`` the archives have."""
        text = self._run("apt-cache", "-q", "policy", *names)
        heads = re.split(r"^(?=\S)", text, flags=re.M)
        there = {
            head.partition(":")[0] for head in heads if re.search(r"Candidate: (?!\(none\))", head)
        }
        return [name for name in names if name in there]

    def resolve(self, names: Sequence[str]) -> list[Paragraph]:
        """Return everything that ``names`` need on a host where nothing is installed.

        Raises:
            BundleError: the archives cannot give it.
        """
        plan = self._run("apt-get", "-q", "-y", "--no-install-recommends", "-s", "install", *names)
        chosen = re.findall(r"^Inst (\S+) \((\S+) ", plan, re.M)
        exact = [f"{name.partition(':')[0]}={version}" for name, version in chosen]
        shown = self._run("apt-cache", "-q", "show", *exact)
        return sorted(
            {one.name: one for one in paragraphs(shown)}.values(), key=lambda one: one.name
        )

    def download(self, names: Sequence[str]) -> None:
        """Download what `resolve` returned for ``names`` into `archives`; apt checks the sums.

        Raises:
            BundleError: something cannot be had.
        """
        self._run("apt-get", "-q", "-y", "--no-install-recommends", "-d", "install", *names)

    def date(self) -> str:
        """Return the day of the newest of the lists, such as ``2026-11-20``."""
        from email.utils import parsedate_to_datetime

        texts = [path.read_text(errors="replace") for path in self.lists.glob("*_InRelease")]
        dates = [found[1] for text in texts if (found := re.search(r"^Date: (.+)$", text, re.M))]
        return max((parsedate_to_datetime(date).strftime("%Y-%m-%d") for date in dates), default="")

    def _run(self, *argv: str) -> str:
        environment = {**os.environ, "APT_CONFIG": str(self._config), "LC_ALL": "C.UTF-8"}
        code, output = self._runner.run(list(argv), env=environment)
        if code == 0:
            return output
        lines = [line for line in output.splitlines() if line[:2] in ("E:", "W:")] or [
            output[-300:]
        ]
        unsigned = re.search(r"NO_PUBKEY|not signed|EXPKEYSIG|BADSIG", output)
        hint = (
            "its signatures do not fit the keys here: do not go on with this mirror; if the keys "
            "are old, update the keyring package"
            if unsigned
            else "check the network, apt's proxy on this machine (apt-config dump Acquire) and the "
            "mirrors (--mirror debian=URL), then run the same command again"
        )
        raise BundleError(
            f"the packages of {self.release} cannot be resolved: {argv[0]} failed",
            details=lines[-8:],
            hint=hint,
        )


def _machine() -> str:
    """Return what this machine's apt is told of how to reach archives."""
    done = subprocess.run(
        ["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=False
    )
    return "".join(f"{line}\n" for line in done.stdout.splitlines() if _KEPT.fullmatch(line))
