"""What travels with a program of the user's own: itself, and the files that options name."""

from __future__ import annotations

import difflib
import io
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from mammoctl.errors import UsageError
from mammoctl.jobs.package import Shipment, read_tree, zipped

MOST_BYTES = 512 * 1024**2
"""What travels with a job at most; larger files belong on the storage."""

LISTS = ("py-files", "jars", "files", "archives")
_ARCHIVES = (".zip", ".whl", ".egg", ".pyz")


class Cargo:
    """Collects the files that travel with a job."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self._from: dict[str, Path] = {}

    def add(self, name: str, content: bytes, source: Path) -> str:
        """Take a file under a name of its own, and return the name.

        Raises:
            UsageError: the name is taken by another file, or it has become too much.
        """
        if self._from.get(name, source) != source:
            raise UsageError(
                f"two files called {name}: {self._from[name]} and {source}", hint="rename one"
            )
        self.files[name], self._from[name] = content, source
        size = sum(len(part) for part in self.files.values())
        if size > MOST_BYTES:
            raise UsageError(
                f"what travels with the job is larger than {MOST_BYTES >> 20} MiB (with {source})",
                hint="put large files on the cluster's storage and give their URI",
            )
        return name

    def words(self, option: str, text: str | None) -> list[str]:
        """Take the files of a comma-separated option; URIs stay as they are."""
        return [self._word(option, word.strip()) for word in (text or "").split(",") if word]

    def _word(self, option: str, word: str) -> str:
        if is_uri(word):
            return word
        name, mark, alias = word.partition("#")
        path = found(Path(name).expanduser(), f"--{option}")
        if path.is_dir():
            if option not in ("py-files", "archives"):
                raise UsageError(f"--{option} {name} is a folder", hint="give files")
            return self.add(f"{path.name}.zip", zipped(tree(path)), path) + mark + alias
        # Spark looks for modules in .py, .zip and .egg alone; a wheel is a zip.
        wheel = option == "py-files" and path.suffix == ".whl"
        return (
            self.add(f"{path.name}.zip" if wheel else path.name, _read(path), path) + mark + alias
        )


def pack(
    script: Path, given: Mapping[str, str | None], main_class: str | None
) -> tuple[str, dict[str, list[str]], Shipment]:
    """Pack a program with what its options name.

    A folder or an archive runs by its ``__main__.py``; a folder with an ``__init__.py`` is a
    package, so that what is relative in it stays so. Executors can import from it.

    Returns:
        The name of the main file, the lists of options, the files.

    Raises:
        UsageError: something is not there, or cannot be run.
    """
    path, cargo = found(script.expanduser(), "the program"), Cargo()
    lists = {name: cargo.words(name, given.get(name)) for name in LISTS}
    if (path.suffix == ".py" and path.is_file()) or (path.suffix == ".jar" and path.is_file()):
        main = cargo.add(path.name, _read(path), path)
    elif path.is_dir() or path.suffix in _ARCHIVES:
        archive, start = _runnable(path)
        name = cargo.add(f"{path.stem if path.is_file() else path.name}.zip", archive, path)
        lists["py-files"].insert(0, name)
        main = cargo.add(f"run_{re.sub(r'[^A-Za-z0-9_]', '_', path.name)}.py", start(name), path)
    else:
        raise UsageError(
            f"{script} is no program for Spark",
            hint="give a .py file, a folder or .zip with a __main__.py, or a .jar with --class",
        )
    if bool(main_class) != (path.suffix == ".jar"):
        raise UsageError(
            "--class names the main class of a .jar, and a .jar needs it",
            hint="give both, or a Python program without --class",
        )
    return main, lists, Shipment(cargo.files)


def _runnable(path: Path) -> tuple[bytes, Callable[[str], bytes]]:
    """Return a zip and what makes, from its name, the script that starts it."""
    if path.is_file():
        content = _read(path)
        try:
            names = zipfile.ZipFile(io.BytesIO(content)).namelist()
        except zipfile.BadZipFile as exc:
            raise UsageError(f"{path} is no zip archive: {exc}") from exc
    else:
        files = tree(path)
        content, names = zipped(files), list(files)
    package = f"{path.name}/__main__.py" if path.is_dir() else ""
    if package in names:
        call = f"run_module({path.name!r}, run_name='__main__', alter_sys=True)"
        return content, lambda _: f"import runpy\n\nrunpy.{call}\n".encode()
    if "__main__.py" not in names:
        raise UsageError(
            f"{path} has no __main__.py", hint="give the script itself, or add a __main__.py"
        )
    lines = (
        "import os\nimport runpy\n\n"
        "here = os.path.dirname(os.path.abspath(__file__))\n"
        "runpy.run_path(os.path.join(here, {!r}), run_name='__main__')\n"
    )
    return content, lambda name: lines.format(name).encode()


def tree(folder: Path) -> dict[str, bytes]:
    """Return a folder's files as they lie in a zip: under its name if it is a package."""
    prefix = f"{folder.name}/" if (folder / "__init__.py").is_file() else ""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > MOST_BYTES:
        raise UsageError(
            f"the folder {folder} holds more than {MOST_BYTES >> 20} MiB",
            hint="give a folder of programs alone; put data on the cluster's storage",
        )
    return read_tree(folder, prefix)


def found(path: Path, what: str) -> Path:
    """Return a path that is there, whole.

    Raises:
        UsageError: it is not there; names one that is nearly called so.
    """
    if path.exists():
        return path.resolve()
    folder = path.parent
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    raise UsageError(
        f"{what}: there is no {path}",
        hint=f"did you mean {folder / near[0]}?" if near else "check the path",
    )


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(
                f"{path} is larger than {MOST_BYTES >> 20} MiB",
                hint="put it on the cluster's storage and give its URI",
            )
        return path.read_bytes()
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc


def is_uri(word: str) -> bool:
    """Tell whether a word names something on the storage rather than a file here."""
    return len(urlsplit(word).scheme) > 1
