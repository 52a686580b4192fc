"""Rewrite parts of ``versions.yml``; comments and everything else stay as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mammoctl.errors import BundleError


def repin(
    text: str,
    part: str,
    default: str,
    *,
    sha256: str | Mapping[str, str],
    size: int | None = None,
    **scalars: str,
) -> str:
    """Return ``versions.yml`` with another version in one of its parts.

    Args:
        text: the file.
        part: a key below ``mammoctl_versions``.
        default: the version.
        sha256: its checksum, or one for each architecture.
        size: its bytes, in a part that has sizes.
        scalars: further keys of the part, such as ``scala``.

    Raises:
        BundleError: there is no such part, or it lacks one of the keys.
    """
    found = re.search(rf"(?m)^  {re.escape(part)}:\n(?: {{4,}}.*\n)+", text)
    if found is None:
        raise BundleError(f"versions.yml has no part `{part}`")
    block = found[0]
    if isinstance(sha256, str):
        sums = f'      "{default}": {sha256}\n'
    else:
        rows = (f"        {arch}: {sha256[arch]}\n" for arch in sorted(sha256, reverse=True))
        sums = f'      "{default}":\n' + "".join(rows)
    changes = {"default": f'    default: "{default}"\n', "sha256": f"    sha256:\n{sums}"}
    if size is not None:
        changes["size"] = f'    size:\n      "{default}": {size}\n'
    changes |= {key: f'    {key}: "{value}"\n' for key, value in scalars.items()}
    for key, lines in changes.items():
        block, count = re.subn(
            rf"(?m)^    {key}:.*\n(?: {{6,}}\S.*\n)*", lines.replace("\\", r"\\"), block
        )
        if count != 1:
            raise BundleError(f"versions.yml has no `{key}` in its part `{part}`")
    return text[: found.start()] + block + text[found.end() :]
