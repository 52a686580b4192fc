# SPDX-License-Identifier: Apache-2.0
"""Tar archives unpacked so that nothing in them can lead out of the folder."""

from __future__ import annotations

import os
import tarfile


class BadArchive(Exception):
    """The archive cannot be read, or something in it leads out of the folder."""


def unpack(archive, folder, strip=False, top=""):
    """Unpack ``archive`` into ``folder``: owned by root, readable by all.

    Args:
        archive: a tar, compressed or not.
        folder: where to; it is there.
        strip: leave out the one folder that all of the archive must be in.
        top: the name that this folder must have; any when left out.

    Raises:
        BadArchive: see there.
    """
    try:
        with tarfile.open(archive) as tar:
            members = []
            for member in tar:
                if strip and not top:
                    top = first(os.path.normpath(member.name))
                members.append(prepared(member, top if strip else ""))
            tar.extractall(folder, members=[member for member in members if member is not None])
    except (tarfile.TarError, OSError, EOFError) as exc:
        raise BadArchive("%s cannot be unpacked: %s" % (archive, exc)) from exc


def prepared(member, top):
    """Return a member as it is to be unpacked, or None for the folder that is left out.

    Args:
        member: of a tar.
        top: the folder that it must be in and that is left out; '' for none.

    Raises:
        BadArchive: it, or what it links to, is outside; or it is no file, folder or link.
    """
    name = os.path.normpath(member.name)
    if name == "." or (name == top and member.isdir()):
        return None
    if member.issym() or member.islnk():
        base = os.path.dirname(name) if member.issym() else ""
        target = os.path.normpath(os.path.join(base, member.linkname))
        if not (within(target, top) or target == top):
            raise BadArchive("in the archive, %s leads to %s" % (member.name, member.linkname))
        if member.islnk():
            member.linkname = stripped(target, top)
    elif not (member.isfile() or member.isdir()):
        raise BadArchive("the archive has %s, which is no file, folder or link" % member.name)
    if not within(name, top):
        where = "not below the folder %s" % top if top else "outside of it"
        raise BadArchive("the archive has %s, which is %s" % (member.name, where))
    member.name = stripped(name, top)
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def first(name):
    """Return the first folder of a normalised name; '' for one that says nothing of it."""
    return "" if name in (".", "..") else name.partition("/")[0]


def within(name, top):
    """Tell whether a normalised name stays inside: below ``top``, or of the archive where that is ''."""
    if top:
        return name.startswith(top + "/")
    return not os.path.isabs(name) and name != ".." and not name.startswith("../")


def stripped(name, top):
    """Return a name without the folder ``top`` before it."""
    return name[len(top) + 1 :] if top else name
