"""Make the bundle of a target: find what is missing, fetch it, record the whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mammoctl import console, files, paths
from mammoctl.bundle import debian, environment, fetch, locks, parts, pyspark, versions, weights
from mammoctl.bundle.locks import Pin
from mammoctl.bundle.model import Artifact, Bundle, Target, content_key, from_json, to_json
from mammoctl.bundle.store import Store, Stored, human
from mammoctl.errors import BundleError, Interrupted, UsageError

# What unpacking and building PySpark's wheel takes for a while, as a multiple of its source.
_BUILD_SPACE = 3


def ensure_bundle(
    target: Target,
    *,
    progress: bool = True,
    store: Store | None = None,
    mirrors: Mapping[str, str] | None = None,
    update_packages: bool = False,
) -> Bundle:
    """Return the bundle for ``target``, fetching and building only what the store lacks.

    With everything there it takes no network and a fraction of a second. Concurrent runs wait for
    each other; an interrupted one keeps its finished files.

    Args:
        target: what the nodes are.
        progress: show a bar on a terminal and plain lines elsewhere.
        store: the store; by default the one in mammoctl's cache folder.
        mirrors: archive of Debian packages -> its address (:func:`mammoctl.bundle.apt.mirrors`).
        update_packages: resolve Debian packages anew, although they were before.

    Raises:
        UsageError: there is no locked environment for the target.
        BundleError: something cannot be fetched or built, or is not what is pinned.
    """
    store = store or Store()
    if target.python not in versions.python_minors():
        raise UsageError(
            f"Python {target.python} is not supported on the nodes",
            hint=f"supported: {', '.join(versions.python_minors())}",
        )
    pins = _pins(target)
    try:
        files = None if update_packages else _collect(store, target, pins)
        if files is None:
            anew = target.sources.packages if update_packages else ()
            with store.writing() as scratch:
                lacking = _lacking(store, target, pins, mirrors or {}, anew)
                _fill(store, target, pins, scratch, lacking, show=progress)
                files = _collect(store, target, pins)
        if files is None:
            raise BundleError(
                "the artifact store changed while it was being filled",
                hint="run the same command again",
            )
        return _record(store, target, files)
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted while making the bundle",
            hint="run the same command again: finished files are kept",
        ) from None
    except OSError as exc:
        raise BundleError(
            f"cannot fill the artifact store {store.root}: {exc}",
            hint="check the disk, or point MAMMOCTL_CACHE_DIR to another folder",
        ) from exc


def require_room(target: Target, store: Store | None = None) -> None:
    """Check that this machine has room for making the bundle for ``target``, and the clients.

    Raises:
        BundleError: it has not.
        UsageError: there is no locked environment for the target.
    """
    store = store or Store()
    pins = _pins(target)
    missing, jobs = _lacking(store, target, pins, {})
    unpacked = _unpacked(store, target, pins)
    if missing or jobs or unpacked:
        store.require_space(_space(missing, jobs, unpacked))


def bundles_dir() -> Path:
    """Return the folder of the bundles' records."""
    return paths.cache_dir() / "bundles"


def recorded(key: str | None = None) -> list[Bundle]:
    """Return the bundles made here, newest first.

    Args:
        key: only those whose key begins so.

    Raises:
        UsageError: there is none.
    """
    found = sorted(
        bundles_dir().glob("*/bundle.json"), key=lambda p: p.stat().st_mtime, reverse=True
    )
    chosen = [path for path in found if path.parent.name.startswith(key or "")]
    if not chosen:
        keys = ", ".join(path.parent.name for path in found)
        raise UsageError(
            f"there is no bundle {key}" if key else "there is no bundle yet",
            hint=f"there are: {keys}" if keys else "mammoctl bundle create",
        )
    if key:
        return [from_json(path) for path in chosen]
    return list(_readable(chosen))


def _readable(paths: Sequence[Path]) -> Iterator[Bundle]:
    """Yield the bundles of the records; one of another version hides none of the others."""
    for path in paths:
        try:
            yield from_json(path)
        except UsageError as exc:
            console.warn(exc.message)


def _collect(
    store: Store, target: Target, pins: dict[str, list[Pin]]
) -> tuple[dict[str, Artifact], list[Artifact]] | None:
    """Return the requirements and all files, or None as soon as one is missing."""
    found: dict[str, tuple[str, Stored, list[str], list[str]]] = {}
    requirements: dict[str, Artifact] = {}

    def use(kind: str, stored: Stored, variants: Sequence[str], release: str = "") -> None:
        entry = found.setdefault(stored.sha256, (kind, stored, [], []))
        entry[2].extend(name for name in variants if name not in entry[2])
        entry[3].extend([release] if release else [])

    for variant, wanted in pins.items():
        text = _requirements(store, variant, wanted)
        packed = environment.stored(store, target, text) if text else None
        if text is None or packed is None:
            return None
        use("requirements", text, [variant])
        use(environment.KIND, packed, [variant])
        requirements[variant] = _artifact("requirements", text, [variant])
    for part in parts.wanted(target):
        other = part.stored(store, target)
        if other is None:
            return None
        use(part.KIND, other, part.variants(target))
    for release in target.sources.packages:
        packages = debian.files(store, target, release)
        if packages is None:
            return None
        use(debian.INDEX_KIND, packages[0], target.variants, release)
        for package in packages[1]:
            use(debian.KIND, package, target.variants, release)
    for backbone in target.sources.weights:
        given = weights.published(store, backbone)
        if given is None:
            return None
        use(weights.KIND, given, ())
    return requirements, [_artifact(*entry) for entry in found.values()]


def _artifact(
    kind: str, stored: Stored, variants: Sequence[str], releases: Sequence[str] = ()
) -> Artifact:
    where = stored.name, stored.sha256, stored.size, stored.relative
    return Artifact(kind, *where, tuple(variants), tuple(releases))


def _requirements(store: Store, variant: str, pins: Sequence[Pin]) -> Stored | None:
    """Return the requirements that name exactly the wheels in the store, or None if one lacks."""
    wheels = [_stored(store, pin, pins) for pin in pins]
    lines = [
        f"{pin.name}=={pin.version} --hash=sha256:{wheel.sha256}\n"
        for pin, wheel in zip(pins, wheels, strict=True)
        if wheel is not None
    ]
    if len(lines) < len(pins):
        return None
    return store.add_text("".join(lines), f"requirements-{variant}.txt")


def _stored(store: Store, pin: Pin, pins: Sequence[Pin]) -> Stored | None:
    if pin.is_source:
        return store.derived(pyspark.derivation(pin, pins))
    return store.get(pin.sha256)


def _pins(target: Target) -> dict[str, list[Pin]]:
    own = Path(target.sources.python_locks) if target.sources.python_locks else None
    return {v: locks.read(target.python, target.arch, v, own) for v in target.variants}


def _lacking(
    store: Store,
    target: Target,
    pins: dict[str, list[Pin]],
    mirrors: Mapping[str, str],
    anew: Sequence[str] = (),
) -> tuple[list[Pin], list[fetch.Job]]:
    """Return what the store lacks: pins, and the jobs for the other parts.

    Releases in ``anew`` are resolved again although they were before.
    """
    wanted = {pin.sha256: pin for variant in pins.values() for pin in variant}
    some = next(iter(pins.values()))
    missing = [pin for pin in wanted.values() if _stored(store, pin, some) is None]
    lacking = [part for part in parts.wanted(target) if part.stored(store, target) is None]
    jobs = [part.job(store, target) for part in lacking]
    for release in target.sources.packages:
        if release in anew or debian.files(store, target, release) is None:
            jobs.append(debian.job(store, target, release, mirrors))
    for backbone in target.sources.weights:
        if weights.published(store, backbone) is None:
            jobs.append(weights.job(store, backbone))
    return missing, jobs


def _unpacked(store: Store, target: Target, pins: dict[str, list[Pin]]) -> dict[str, list[Pin]]:
    """Return the variants whose environment is not packed yet."""

    def is_packed(variant: str, wanted: list[Pin]) -> bool:
        text = _requirements(store, variant, wanted)
        return text is not None and environment.stored(store, target, text) is not None

    return {each: wanted for each, wanted in pins.items() if not is_packed(each, wanted)}


def _space(
    missing: Sequence[Pin], extra: Sequence[fetch.Job], unpacked: dict[str, list[Pin]]
) -> int:
    """Return the bytes that fetching, building and packing takes for a while."""
    total = sum(pin.size for pin in missing) + sum(job.size for job in extra)
    building = sum(pin.size for pin in missing if pin.is_source) * _BUILD_SPACE
    building += sum(pin.size for pins in unpacked.values() for pin in pins) * environment.SPACE
    return int(total * 1.1) + building + 50_000_000


def _fill(
    store: Store,
    target: Target,
    pins: dict[str, list[Pin]],
    scratch: Path,
    lacking: tuple[list[Pin], list[fetch.Job]],
    *,
    show: bool,
) -> None:
    """Fetch and build what is missing."""
    some = next(iter(pins.values()))
    missing, extra = lacking
    sources = [pin for pin in missing if pin.is_source]
    wheels = [pin for pin in missing if not pin.is_source]
    total = sum(pin.size for pin in missing) + sum(job.size for job in extra)
    store.require_space(_space(missing, extra, _unpacked(store, target, pins)))
    if show and (missing or extra):
        count = len(missing) + len(extra)
        console.note(f"downloading {count} files, {human(total)}, for {target}")
    # The build needs its tools in the store, so they are first and alone.
    first = [pin for pin in wheels if sources and pin in pyspark.tools(some)]
    if first:
        before = scratch / "tools"
        before.mkdir()
        job = fetch.wheel_job(store, first, target.python, target.arch)
        fetch.run_jobs([job], before, show=False)
    rest = fetch.batches([pin for pin in wheels if pin not in first])
    jobs = [pyspark.build_job(store, pin, some) for pin in sources]
    jobs += extra
    jobs += [fetch.wheel_job(store, group, target.python, target.arch) for group in rest]
    if jobs:
        fetch.run_jobs(jobs, scratch, show=show)
    _pack(store, target, pins, scratch, show=show)


def _pack(
    store: Store, target: Target, pins: dict[str, list[Pin]], scratch: Path, *, show: bool
) -> None:
    """Make the environments that are not packed yet, out of wheels that are all there."""
    jobs = []
    for variant, wanted in _unpacked(store, target, pins).items():
        text = _requirements(store, variant, wanted)
        wheels = [wheel for pin in wanted if (wheel := _stored(store, pin, wanted)) is not None]
        if text is not None:
            jobs.append(environment.job(store, target, variant, text, wheels))
    if jobs:
        if show:
            console.note(f"installing the nodes' environment here, to be packed, for {target}")
        folder = scratch / "environments"
        folder.mkdir()
        fetch.run_jobs(jobs, folder, show=show, doing="packing")


def _record(
    store: Store, target: Target, files: tuple[dict[str, Artifact], list[Artifact]]
) -> Bundle:
    requirements, artifacts = files
    artifacts.sort(key=lambda f: (f.kind, f.name))
    key, ordered = content_key(artifacts), tuple(artifacts)
    return remember(Bundle(key, bundles_dir(), store.root, target, requirements, ordered))


def remember(bundle: Bundle) -> Bundle:
    """Write the record of a bundle whose files are in the store; return it with its place."""
    bundle = replace(bundle, path=bundles_dir() / bundle.key / "bundle.json")
    text = json.dumps(to_json(bundle), indent=1) + "\n"
    if not bundle.path.is_file() or bundle.path.read_text() != text:
        files.write(bundle.path, text)
    return bundle
