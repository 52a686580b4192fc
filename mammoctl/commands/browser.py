"""What commands share that show something in the browser of this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def has_browser() -> bool:
    """Tell whether a browser with a window can be opened; one in the terminal would take it."""
    windows = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return sys.platform == "darwin" or any(os.environ.get(name) for name in windows)


@contextmanager
def opened(url: str) -> Iterator[None]:
    """Open an address that holds a secret: every user of this machine sees a browser's arguments.

    They name a file, for us alone and for the time of the block, that leads there.
    """
    import html
    import tempfile
    import webbrowser

    with tempfile.NamedTemporaryFile("w", prefix="mammoctl-", suffix=".html") as page:  # 0600
        leads = f'<meta http-equiv="refresh" content="0; url={html.escape(url)}">'
        page.write(f'<!DOCTYPE html><meta charset="utf-8">{leads}\n')
        page.flush()
        webbrowser.open(f"file://{page.name}")
        yield


def wait() -> None:
    """Wait for Ctrl-C, which raises `KeyboardInterrupt`."""
    import threading

    threading.Event().wait()
