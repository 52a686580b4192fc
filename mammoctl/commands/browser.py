"""What commands share that show something in the browser of this machine."""

from __future__ import annotations

import os
import sys


def has_browser() -> bool:
    """Tell whether a browser with a window can be opened; one in the terminal would take it."""
    windows = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return sys.platform == "darwin" or any(os.environ.get(name) for name in windows)


def wait() -> None:
    """Wait for Ctrl-C, which raises `KeyboardInterrupt`."""
    import threading

    threading.Event().wait()
