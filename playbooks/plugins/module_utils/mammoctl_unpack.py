# SPDX-License-Identifier: Apache-2.0
"""Tar archives unpacked so that nothing in them can lead out of the folder."""

from __future__ import annotations

import os
import tarfile


class BadArchive(Exception):
    """The archive cannot be read, or something in it leads out of the folder."""


def unpack(archive, folder, strip=False):
    """Unpack ``archive`` into ``folder``: owned by root, readable by all.

    Args:
        archive: a tar, compressed or not.
        folder: where to; it is there.
        strip: leave out the one folder that all of the archive is in.

    Raises:
        BadArchive: see there.
    """
    try:
        with tarfile.open(archive) as tar:
            members = [prepared(member, strip) for member in tar]
            tar.extractall(folder, members=[member for member in members if member is not None])
    except (tarfile.TarError, OSError, EOFError) as exc:
        raise BadArchive("%s cannot be unpacked: %s" % (archive, exc)) from exc


def prepared(member, strip):
    """Return a member as it is to be unpacked, or None for the folder that is left out.

    Raises:
        BadArchive: it, or what it links to, is outside; or it is no file, folder or link.
    """
    name = os.path.normpath(member.name)
    if member.issym() or member.islnk():
        base = os.path.dirname(name) if member.issym() else ""
        target = os.path.normpath(os.path.join(base, member.linkname))
        if not within(target):
            raise BadArchive("in the archive, %s leads to %s" % (member.name, member.linkname))
        if member.islnk():
            member.linkname = stripped(target) if strip else target
    elif not (member.isfile() or member.isdir()):
        raise BadArchive("the archive has %s, which is no file, folder or link" % member.name)
    if not within(name):
        raise BadArchive("the archive has %s, which is outside of it" % member.name)
    member.name = stripped(name) if strip else name
    if member.name in ("", "."):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def within(name):
    """Tell whether a normalised relative name stays inside."""
    return not os.path.isabs(name) and name != ".." and not name.startswith("../")


def stripped(name):
    """Return a name without its first folder, '' for that folder itself."""
    return name.partition("/")[2]
