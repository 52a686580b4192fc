"""Debian packages in the bundle, by the real apt on a small signed archive made here."""

from __future__ import annotations

import copy
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mammoctl.bundle import apt, debian, fetch
from mammoctl.bundle.model import Target
from mammoctl.bundle.sources import Sources
from mammoctl.bundle.store import Store
from mammoctl.errors import BundleError, UsageError

pytestmark = pytest.mark.programs

TARGET = Target("3.11", "x86_64", ("cpu",), Sources(packages=("debian12",)))
JAVA = "openjdk-17-jdk-headless"
# name -> (version, what it needs)
ARCHIVE = {
    JAVA: ("1:17.0-1", "libjvm (>= 2)"),
    "libjvm": ("2.1+b1", ""),
    **dict.fromkeys(debian.of_roles(), ("1:9", "")),
    "not-wanted": ("1", ""),
}

needs_apt = pytest.mark.skipif(
    not all(map(shutil.which, ("apt-get", "apt-cache", "dpkg-deb", "gpg"))),
    reason="apt-get, dpkg-deb and gpg are needed to make and read an archive",
)


def _run(*argv: object, **options: object) -> str:
    words = [str(word) for word in argv]
    done = subprocess.run(words, capture_output=True, text=True, check=True, **options)  # type: ignore[call-overload]
    return str(done.stdout)


class Archive:
    """A signed archive of one release; ``url`` is what a mirror option names."""

    def __init__(self, root: Path, home: Path) -> None:
        self.root = root / "archive"
        self.keys = root / "keys"
        self.home = home
        home.mkdir(mode=0o700)
        _run(
            *("gpg", "--homedir", home, "--batch", "--pinentry-mode", "loopback"),
            *("--passphrase", "", "--quick-gen-key", "test", "ed25519", "sign", "1d"),
        )
        self.keys.mkdir(parents=True)
        ring = self.keys / "debian-archive-keyring.gpg"
        _run("gpg", "--homedir", home, "--output", ring, "--export")
        for name, (version, depends) in ARCHIVE.items():
            self.add(name, version, depends)
        self.publish()

    @property
    def url(self) -> str:
        return f"file://{self.root}"

    def copied(self, root: Path) -> Archive:
        other = copy.copy(self)
        other.root, other.keys = root / "archive", root / "keys"
        shutil.copytree(self.root, other.root)
        shutil.copytree(self.keys, other.keys)
        return other

    def add(self, name: str, version: str, depends: str = "") -> None:
        folder = self.root / "build" / name
        (folder / "DEBIAN").mkdir(parents=True, exist_ok=True)
        needs = f"Depends: {depends}\n" if depends else ""
        (folder / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: T <t@t>\n"
            f"{needs}Description: {name}\n with more lines\n"
        )
        pool = self.root / "pool"
        pool.mkdir(exist_ok=True)
        for old in pool.glob(f"{name}_*.deb"):
            old.unlink()
        _run("dpkg-deb", "--build", "--root-owner-group", folder, pool)

    def publish(self) -> None:
        entries = []
        for deb in sorted((self.root / "pool").glob("*.deb")):
            digest = hashlib.sha256(deb.read_bytes()).hexdigest()
            control = _run("dpkg-deb", "-f", deb)
            place = f"Filename: pool/{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n"
            entries.append(control + place)
        index = "\n".join(entries).encode()
        for suite in ("bookworm", "bookworm-updates", "bookworm-security"):
            folder = self.root / "dists" / suite
            text = index if suite == "bookworm" else b""
            packages = folder / "main/binary-amd64/Packages"
            packages.parent.mkdir(parents=True, exist_ok=True)
            packages.write_bytes(text)
            digest = hashlib.sha256(text).hexdigest()
            (folder / "Release").write_text(
                f"Suite: {suite}\nCodename: {suite}\nArchitectures: amd64\nComponents: main\n"
                "Date: Fri, 20 Nov 2026 10:00:00 UTC\n"
                f"SHA256:\n {digest} {len(text)} main/binary-amd64/Packages\n"
            )
            (folder / "InRelease").unlink(missing_ok=True)
            _run(
                *("gpg", "--homedir", self.home, "--batch", "--output", folder / "InRelease"),
                *("--clearsign", folder / "Release"),
            )


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    # gpg's agent has a socket in its home, whose path must be short.
    homes = Path(tempfile.mkdtemp(prefix="gpg-"))
    yield Archive(tmp_path_factory.mktemp("original"), homes / "1")
    for home in homes.iterdir():
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
    shutil.rmtree(homes)


@pytest.fixture
def archive(original: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    made = original.copied(tmp_path)
    monkeypatch.setattr(apt, "_KEYRINGS", made.keys)
    return made


def _make(store: Store, archive: Archive, target: Target = TARGET) -> None:
    mirrors = apt.mirrors([f"debian={archive.url}", f"debian-security={archive.url}"])
    with store.writing() as scratch:
        job = debian.job(store, target, "debian12", mirrors)
        fetch.run_jobs([job], scratch, show=False)


@needs_apt
def test_everything_that_is_needed_enters_the_store_with_an_index(
    store: Store, archive: Archive
) -> None:
    assert debian.files(store, TARGET, "debian12") is None
    _make(store, archive)
    found = debian.files(store, TARGET, "debian12")
    assert found is not None
    index, packages = found
    names = {debian.package(stored.name) for stored in packages}
    assert names == {JAVA, "libjvm", *debian.of_roles()}
    assert index.name == "Packages" and debian.date(index.path) == "2026-11-20"
    for one in apt.paragraphs(index.path.read_text()):
        stored = store.get(one.fields["SHA256"])
        assert stored is not None
        assert one.fields["Filename"] == stored.relative and one.size == stored.size
        assert _run("dpkg-deb", "-f", stored.path, "Package").strip() == one.name


@needs_apt
def test_once_resolved_it_stays_until_it_is_asked_for_anew(store: Store, archive: Archive) -> None:
    _make(store, archive)
    before = debian.files(store, TARGET, "debian12")
    archive.add("libjvm", "2.2")
    archive.publish()
    assert debian.files(store, TARGET, "debian12") == before
    _make(store, archive)
    after = debian.files(store, TARGET, "debian12")
    assert before is not None and after is not None
    assert {s.name for s in after[1]} - {s.name for s in before[1]} == {"libjvm_2.2_amd64.deb"}


@needs_apt
def test_what_an_inventory_adds_is_brought_and_what_a_release_lacks_is_told(
    store: Store, archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = ("no-such", "not-wanted")
    target = replace(TARGET, sources=Sources(packages=("debian12",), packages_extra=extra))
    _make(store, archive, target)
    found = debian.files(store, target, "debian12")
    assert found is not None and any("not-wanted" in stored.name for stored in found[1])
    assert "debian12 has no package no-such" in capsys.readouterr().err


@needs_apt
def test_an_archive_that_lacks_what_the_roles_need_is_an_error(
    store: Store, archive: Archive
) -> None:
    next((archive.root / "pool").glob("nftables_*")).unlink()
    archive.publish()
    with pytest.raises(BundleError, match="debian12 has no package nftables"):
        _make(store, archive)


@needs_apt
@pytest.mark.parametrize("fault", ["changed index", "other key", "changed package"])
def test_what_the_archive_did_not_sign_is_refused(
    store: Store, archive: Archive, tmp_path: Path, fault: str
) -> None:
    if fault == "changed index":
        index = archive.root / "dists/bookworm/main/binary-amd64/Packages"
        index.write_text(index.read_text().replace("libjvm", "libjvn"))
    elif fault == "changed package":
        deb = next((archive.root / "pool").glob("libjvm_*"))
        deb.write_bytes(deb.read_bytes()[:-1] + b"x")
    else:
        home = archive.home.parent / "other"
        other = Archive(tmp_path / "another", home)
        shutil.copy(other.keys / "debian-archive-keyring.gpg", archive.keys)
    with pytest.raises(BundleError) as caught:
        _make(store, archive)
    assert caught.value.details and caught.value.hint
    assert ("signatures do not fit" in caught.value.hint) == (fault == "other key")
    assert debian.files(store, TARGET, "debian12") is None


def test_without_the_keys_or_apt_the_mend_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apt, "_KEYRINGS", tmp_path)
    with pytest.raises(BundleError, match="there is no ubuntu-archive-keyring") as caught:
        apt.keyring("ubuntu24.04")
    assert "apt-get install ubuntu-keyring" in caught.value.hint
    monkeypatch.setattr(apt.shutil, "which", lambda _name: None)
    with pytest.raises(BundleError, match="apt-get, which is not here") as caught:
        apt.require()
    assert "--output" in caught.value.hint


def test_releases_and_mirrors_as_they_are_written() -> None:
    assert debian.releases(["debian13,debian12", "debian12"]) == ("debian12", "debian13")
    with pytest.raises(UsageError, match="no such release: debian9"):
        debian.releases(["debian9"])
    assert apt.mirrors(["debian=https://m/debian/"]) == {"debian": "https://m/debian"}
    for wrong in ("debian", "fedora=https://m", "debian=m"):
        with pytest.raises(UsageError, match="ARCHIVE=URL"):
            apt.mirrors([wrong])


def test_sources_of_each_distribution() -> None:
    key = Path("/k.gpg")
    given = {"debian": "https://m/d", "debian-security": "https://m/s", "ubuntu": "https://m/u"}
    assert apt.sources("debian13", given, key).splitlines() == [
        "deb [signed-by=/k.gpg] https://m/d trixie main",
        "deb [signed-by=/k.gpg] https://m/d trixie-updates main",
        "deb [signed-by=/k.gpg] https://m/s trixie-security main",
    ]
    assert apt.sources("ubuntu24.04", given, key).splitlines()[2] == (
        "deb [signed-by=/k.gpg] https://m/u noble-security main universe"
    )
    with pytest.raises(UsageError, match="no source for debian-security") as caught:
        apt.sources("debian12", {"debian": "https://m/d"}, key)
    assert caught.value.hint == "name them: --mirror debian-security=URL"


def test_archives_that_nobody_names_are_those_of_this_machine() -> None:
    said = "http://m/debian/\nhttp://m/debian/\nhttp://m/debian-security/\nhttps://other/repo/\n"
    assert apt.configured(said) == {
        "debian": "http://m/debian",
        "debian-security": "http://m/debian-security",
    }
    assert apt.configured("http://p/ubuntu-ports/\n") == {"ubuntu": "http://p/ubuntu-ports"}
    assert apt.configured("") == {}


def test_the_roles_say_which_packages_they_need() -> None:
    assert {"nftables", "openssh-client", "ca-certificates"} <= debian.of_roles()
    assert debian.wanted("debian13", ["htop"])[0] == "ca-certificates"
    assert {"openjdk-21-jdk-headless", "htop"} <= set(debian.wanted("debian13", ["htop"]))
