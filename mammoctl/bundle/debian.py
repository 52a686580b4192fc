"""The Debian packages that the nodes need, per release, as a part of the bundle.

Each is a file of the store. An index of them (``Packages``) names their places there, so that a
node's copy of the store is a package source for apt (docs/bundle.md). What was resolved once is
kept until it is resolved anew on demand: the same command gives the same bundle.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from mammoctl import console, paths
from mammoctl.bundle import apt, versions
from mammoctl.bundle.fetch import Job
from mammoctl.bundle.model import Target
from mammoctl.bundle.process import Runner
from mammoctl.bundle.store import Store, Stored
from mammoctl.errors import BundleError, UsageError

KIND = "package"
INDEX_KIND = "package-index"
INDEX = "Packages"
DATE = "Mammoctl-Date"
HOSTS = "hosts"
"""In place of the releases: those that the hosts of the inventory run."""
_ABOUT = 190_000_000  # bytes; for the progress bar, before apt has said it
# Of an archive's index, what apt needs to install, and an administrator to know what it is.
_FIELDS = (
    *("Package", "Source", "Version", "Architecture", "Multi-Arch", "Essential", "Important"),
    *("Protected", "Priority", "Section", "Installed-Size", "Maintainer", "Pre-Depends"),
    *("Depends", "Recommends", "Suggests", "Conflicts", "Breaks", "Replaces", "Provides"),
    "Enhances",
)


def releases(names: Sequence[str]) -> tuple[str, ...]:
    """Return the releases that were named, each once and in order.

    Raises:
        UsageError: one is unknown.
    """
    found = {part.strip() for name in names for part in name.split(",") if part.strip()}
    known = list(versions.load()["releases"])
    if unknown := sorted(found - {*known, HOSTS}):
        raise UsageError(
            f"no such release: {', '.join(unknown)}",
            hint=f"choose from {', '.join(known)}, or {HOSTS} with -i for those of an inventory",
        )
    return tuple(sorted(found))


def wanted(release: str, extra: Sequence[str] = ()) -> list[str]:
    """Return the names of the packages that the roles install on a release, and ``extra``."""
    return sorted({versions.load()["releases"][release]["java"], *of_roles(), *extra})


@cache
def _declared() -> dict[str, list[str]]:
    import yaml

    found = {}
    for path in sorted((paths.project_root() / "roles").glob("*/defaults/main.yml")):
        name = f"{path.parent.parent.name}_packages"
        names = (yaml.safe_load(path.read_text()) or {}).get(name)
        if isinstance(names, list):
            found[name] = names
    return found


def variables() -> list[str]:
    """Return the variables in which the roles declare their packages: ``<role>_packages``."""
    return list(_declared())


def of_roles() -> frozenset[str]:
    """Return the packages that the roles' defaults declare."""
    return frozenset(name for names in _declared().values() for name in names)


def files(store: Store, target: Target, release: str) -> tuple[Stored, list[Stored]] | None:
    """Return the index of a release's packages and their files, or None while one is missing."""
    index = store.derived(_derivation(target, release))
    if index is None:
        return None
    found = [store.get(one.fields["SHA256"]) for one in apt.paragraphs(index.path.read_text())]
    there = [stored for stored in found if stored is not None]
    return (index, there) if len(there) == len(found) else None


def job(store: Store, target: Target, release: str, mirrors: Mapping[str, str]) -> Job:
    """Return the job that resolves a release's packages and fetches them.

    Raises:
        BundleError: this machine has no apt, or not the release's keys.
    """
    apt.require()
    apt.keyring(release)

    def work(folder: Path, runner: Runner) -> None:
        own = apt.Apt(folder / "apt", release, target.arch, mirrors, runner)
        own.update()
        names = _available(own, wanted(release, target.sources.packages_extra), release)
        chosen = own.resolve(names)
        for one in chosen:  # apt takes what lies there, and downloads the rest
            if (there := store.get(one.fields["SHA256"])) is not None:
                (own.archives / _archive_name(one)).symlink_to(there.path)
        own.download(names)
        entries = []
        for one in chosen:
            path = own.archives / _archive_name(one)
            name, sha256 = _name(one), one.fields["SHA256"]
            if not path.is_symlink():
                store.add(path, sha256, name=name)
            stored = store.get(sha256)
            if stored is None:
                raise BundleError(
                    f"{name} has gone while it was fetched", hint="run the same command again"
                )
            entries.append(entry(one, stored.relative, own.date()))
        path = folder / INDEX
        path.write_text("\n".join(entries))
        store.add_derived(_derivation(target, release), path, name=INDEX)

    return Job(title=f"Debian packages for {release}", size=_ABOUT, work=work)


def _available(own: apt.Apt, names: Sequence[str], release: str) -> list[str]:
    """Return ``names`` without further ones that this release does not have."""
    there = own.known(names)
    lost = [name for name in names if name not in there]
    needed = sorted(set(lost) & set(wanted(release)))
    if needed:
        raise BundleError(
            f"{release} has no package {', '.join(needed)}",
            hint="a mirror must carry the whole release (for Ubuntu, universe too): --mirror",
        )
    if lost:
        console.warn(f"{release} has no package {', '.join(lost)}: left out of the bundle")
    return there


def entry(one: apt.Paragraph, place: str, date: str) -> str:
    """Return a package's paragraph in the index (pure).

    Args:
        one: the package.
        place: its file, relative to the store.
        date: the day of the lists that it was resolved from.
    """
    kept = [(name, one.fields[name]) for name in _FIELDS if name in one.fields]
    short = one.fields.get("Description", one.fields.get("Description-en", "")).split("\n")[0]
    kept += [("Filename", place), ("Size", str(one.size)), ("SHA256", one.fields["SHA256"])]
    kept += [(DATE, date), ("Description", short)]
    return "".join(f"{name}: {value}\n" for name, value in kept)


def date(index: Path) -> str:
    """Return the day of the lists that an index was resolved from."""
    return next((one.fields.get(DATE, "") for one in apt.paragraphs(index.read_text())), "")


def _name(one: apt.Paragraph) -> str:
    """Return the name of a package's file, as the archive has it."""
    return unquote(one.fields["Filename"].rsplit("/", 1)[-1])


def _archive_name(one: apt.Paragraph) -> str:
    """Return the name that apt gives a downloaded file: the version's epoch is part of it."""
    version = one.fields["Version"].replace(":", "%3a")
    return f"{one.name}_{version}_{one.fields['Architecture']}.deb"


def package(file_name: str) -> str:
    """Return the package's name in the name of its file."""
    return re.split("_", file_name, maxsplit=1)[0]


def _derivation(target: Target, release: str) -> str:
    text = "\0".join(wanted(release, target.sources.packages_extra))
    return f"packages-{release}-{target.arch}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
