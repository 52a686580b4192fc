"""A file that travels while it is being made."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

_PIECE = 1 << 18
_AHEAD = 128


class Abandoned(Exception):
    """The writer gave up; the far side must not see an ordinary end of file."""


class Sending:
    """Takes bytes and hands them to a thread that sends them; holds 32 MiB at most.

    So much is made while the far side starts its program to take them.
    """

    def __init__(self, send: Callable[[Iterator[bytes]], str]) -> None:
        """Begin to send.

        Args:
            send: runs in the thread, takes the pieces as they come, and returns the sha256 of what
                has arrived.
        """
        self._queue: queue.Queue[bytes | None] = queue.Queue(_AHEAD)
        self._pending = bytearray()
        self._failure: BaseException | None = None
        self._over = threading.Event()
        self._abandoned = threading.Event()
        self._arrived = ""
        self._thread = threading.Thread(target=self._run, args=(send,), daemon=True)
        self._thread.start()

    def write(self, data: bytes) -> int:
        """Take the next bytes."""
        begin = 0
        if self._pending:
            begin = _PIECE - len(self._pending)
            self._pending += data[:begin]
            if len(self._pending) < _PIECE:
                return len(data)
            self._put(bytes(self._pending))
            self._pending.clear()
        rest = len(data) - max(len(data) - begin, 0) % _PIECE
        with memoryview(data) as view:
            for at in range(begin, rest, _PIECE):
                self._put(bytes(view[at : at + _PIECE]))
            self._pending += view[rest:]
        return len(data)

    def end(self) -> None:
        """Hand over what is left, and the end of the file; `wait` tells what came of it."""
        if self._pending:
            self._put(bytes(self._pending))
            self._pending.clear()
        self._put(None)

    def abandon(self) -> None:
        """Break off, so that the far side does not take the file for complete."""
        self._abandoned.set()
        with suppress(queue.Full):  # then the thread has something to read, and sees it there
            self._queue.put_nowait(None)
        self._thread.join(10)

    def wait(self) -> str:
        """Return the sha256 of what the far side has received, once it has received all.

        Raises:
            RemoteError: the far side failed.
        """
        self._thread.join()
        if self._failure:
            raise self._failure
        return self._arrived

    def _run(self, send: Callable[[Iterator[bytes]], str]) -> None:
        try:
            self._arrived = send(self._pieces())
        except BaseException as exc:
            self._failure = exc
        finally:
            self._over.set()

    def _pieces(self) -> Iterator[bytes]:
        while (item := self._queue.get()) is not None and not self._abandoned.is_set():
            yield item
        if self._abandoned.is_set():
            raise Abandoned

    def _put(self, item: bytes | None) -> None:
        # never wait for a sender that has died
        while not self._over.is_set():
            try:
                self._queue.put(item, timeout=0.2)
                return
            except queue.Full:
                continue
        if self._failure:
            raise self._failure
