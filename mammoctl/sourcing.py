"""What an inventory says about where a cluster is installed from (docs/sources.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammoctl import inventory as inventories
from mammoctl.bundle.sources import Sources
from mammoctl.errors import UsageError

if TYPE_CHECKING:
    from mammoctl.bundle import Bundle
    from mammoctl.inventory import Cluster

SPARK_SOURCES = ("pypi", "archive", "file")
HDFS_SOURCES = ("maven", "file")
PACKAGE_SOURCES = ("apt", "bundle")
_SHA512 = re.compile(r"[0-9a-f]{128}")


def sources(cluster: Cluster, extra: Mapping[str, Any]) -> Sources:
    """Read what the cluster chooses; files that it names on this machine enter the store.

    Args:
        cluster: the inventory; relative paths in it are from its folder.
        extra: the variables of ``-e``, which win.

    Raises:
        UsageError: a value is none of those known, hosts differ, or a file is not the right one.
        BundleError: the store cannot be written.
    """
    _hdfs(cluster, extra)
    url, sha512 = _spark(cluster, extra)
    packages_of = _packages_of(cluster, extra)
    return Sources(
        sbt_repository=any(_is_on(value) for value in values(cluster, extra, "sbt_cache", True)),
        spark_url=url,
        spark_sha512=sha512,
        python_locks=_locks(cluster, extra),
        packages=packages_of,
        packages_extra=tuple(debian_packages(cluster, extra)) if packages_of else (),
    )


def values(
    cluster: Cluster, extra: Mapping[str, Any], name: str, default: object = ""
) -> list[Any]:
    """Return what a variable is on each host; only one value where ``-e`` gives it."""
    if name in extra:
        return [extra[name]]
    return [host.vars.get(name, default) for host in cluster.hosts.values()]


def one(cluster: Cluster, extra: Mapping[str, Any], name: str) -> Any:
    """Return a variable that must be the same on all hosts; '' when it is not set.

    Raises:
        UsageError: hosts differ.
    """
    found = values(cluster, extra, name)
    if any(value != found[0] for value in found):
        raise UsageError(
            f"{name} differs between hosts",
            hint="set it once for all, in group_vars/all.yml of the inventory",
        )
    return found[0] if found[0] is not None else ""


def packages(cluster: Cluster, extra: Mapping[str, Any]) -> list[str]:
    """Return ``python_extra_packages``, the team's own packages.

    Raises:
        UsageError: it is no list of requirements, or hosts differ.
    """
    found = one(cluster, extra, "python_extra_packages") or []
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise UsageError(
            "python_extra_packages is not a list of packages",
            hint='such as python_extra_packages: ["xgboost", "polars<2"]',
        )
    return found


def require_brought(cluster: Cluster, extra: Mapping[str, Any], bundle: Bundle) -> None:
    """Check that a bundle that is there already has what the inventory chooses.

    Raises:
        UsageError: Spark's tarball or a package of the team's own is not in it.
    """
    lost = []
    source = _choice(cluster, extra, "spark_source", SPARK_SOURCES)
    if source != "pypi" and all(file.kind != "spark" for file in bundle.files):
        lost.append(f"Spark's tarball (spark_source is {source})")
    for variant, file in bundle.requirements.items():
        lines = (bundle.store / file.path).read_text(encoding="utf-8").splitlines()
        there = {_canonical(line) for line in lines}
        own = [one for one in packages(cluster, extra) if _canonical(one) not in there]
        lost += [f"{one} for {variant} (python_extra_packages)" for one in own]
    if lost:
        raise UsageError(
            f"bundle {bundle.key} lacks what the inventory asks for",
            details=lost,
            hint=f"make it with this inventory: mammoctl bundle create -i "
            f"{inventories.selector(cluster.source)}",
        )


def _canonical(requirement: str) -> str:
    name = re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def debian_packages(cluster: Cluster, extra: Mapping[str, Any]) -> list[str]:
    """Return the Debian packages that the inventory names beside those that the roles default to.

    They are in ``java_package``, ``common_extra_packages`` and any ``<role>_packages``.

    Raises:
        UsageError: a value is neither a name nor a list of names.
    """
    from mammoctl.bundle import debian

    lists = ["common_extra_packages", "java_package", *debian.variables()]
    found: set[str] = set()
    for name in lists:
        for value in values(cluster, extra, name):
            names = [value] if isinstance(value, str) else value or []
            if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
                raise UsageError(f"{name} is not a list of Debian packages", hint=f"{name}: [htop]")
            found.update(one for one in names if one)
    return sorted(found - debian.of_roles())


def _packages_of(cluster: Cluster, extra: Mapping[str, Any]) -> tuple[str, ...]:
    """Return for which releases the bundle brings Debian packages."""
    from mammoctl.bundle import debian

    name = "common_packages_source"
    for value in values(cluster, extra, name):
        if str(value or PACKAGE_SOURCES[0]) not in PACKAGE_SOURCES:
            raise UsageError(
                f"{name} is {value!r}", hint=f"choose from {', '.join(PACKAGE_SOURCES)}"
            )
    return (debian.HOSTS,) if "bundle" in values(cluster, extra, name) else ()


def _is_on(value: object) -> bool:
    return str(value).lower() not in ("false", "no", "off", "0", "")


def _choice(cluster: Cluster, extra: Mapping[str, Any], name: str, known: tuple[str, ...]) -> str:
    value = str(one(cluster, extra, name) or known[0])
    if value not in known:
        raise UsageError(f"{name} is {value!r}", hint=f"choose from {', '.join(known)}")
    return value


def _path(cluster: Cluster, extra: Mapping[str, Any], name: str, source: str) -> Path:
    value = one(cluster, extra, name)
    if not value:
        raise UsageError(
            f"{source} is file, and {name} is not set",
            hint=f"set {name} to the file on this machine",
        )
    return cluster.path / Path(str(value)).expanduser()


def _spark(cluster: Cluster, extra: Mapping[str, Any]) -> tuple[str, str]:
    """Return URL and sha512 of the tarball; both empty where Spark comes with ``pyspark``."""
    from mammoctl.bundle import spark_archive
    from mammoctl.bundle.store import Store

    source = _choice(cluster, extra, "spark_source", SPARK_SOURCES)
    if source == "pypi":
        return "", ""
    sha512 = str(one(cluster, extra, "spark_archive_sha512")).lower()
    if sha512 and not _SHA512.fullmatch(sha512):
        raise UsageError(
            "spark_archive_sha512 is not a sha512", hint="128 hexadecimal digits, without the name"
        )
    if source == "file":
        path = _path(cluster, extra, "spark_archive", "spark_source")
        return "", spark_archive.adopt(Store(), path, sha512)
    url = str(one(cluster, extra, "spark_archive_url") or spark_archive.upstream())
    if not sha512:
        raise UsageError(
            "spark_source is archive, and spark_archive_sha512 is not set",
            hint=f"take it from {url}.sha512 and set it in the inventory",
        )
    return url, sha512


def _hdfs(cluster: Cluster, extra: Mapping[str, Any]) -> None:
    from mammoctl.bundle import hdfs
    from mammoctl.bundle.store import Store

    if _choice(cluster, extra, "hdfs_source", HDFS_SOURCES) == "file":
        hdfs.adopt(Store(), _path(cluster, extra, "hdfs_jar", "hdfs_source"))


def _locks(cluster: Cluster, extra: Mapping[str, Any]) -> str:
    """Return the folder of the cluster's own locks, which its own packages need."""
    from mammoctl.bundle import extra_locks

    wanted = packages(cluster, extra)
    if not wanted:
        return ""
    folder = cluster.path / "locks"
    extra_locks.require_current(folder, wanted)
    return str(folder)
