from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator

import pytest

from mammoctl.data.sending import Abandoned, Sending
from mammoctl.errors import RemoteError


def summed(pieces: Iterator[bytes]) -> str:
    return hashlib.sha256(b"".join(pieces)).hexdigest()


@pytest.mark.parametrize(
    "sizes", [[], [1], [262_144, 1], [100, 262_144, 600_000, 0, 7], [2**20], [90_000_000]]
)
def test_every_byte_travels_in_order(sizes: list[int]) -> None:
    content, at = os.urandom(sum(sizes)), 0
    sending = Sending(summed)
    for size in sizes:
        assert sending.write(content[at : at + size]) == size
        at += size
    sending.end()
    assert sending.wait() == hashlib.sha256(content).hexdigest()


def test_a_sender_that_fails_is_not_waited_for() -> None:
    def fail(pieces: Iterator[bytes]) -> str:
        next(pieces)
        raise RemoteError("disk on fire")

    sending = Sending(fail)
    with pytest.raises(RemoteError, match="on fire"):
        for _ in range(1000):
            sending.write(bytes(1 << 20))
    with pytest.raises(RemoteError, match="on fire"):
        sending.wait()


@pytest.mark.parametrize("full", [False, True])
def test_what_is_abandoned_has_no_ordinary_end(full: bool) -> None:
    go_on, ended = threading.Event(), []

    def send(pieces: Iterator[bytes]) -> str:
        go_on.wait(10)
        ended.append(summed(pieces))
        return "all of it"

    sending = Sending(send)
    sending.write(bytes(32 << 20 if full else 1000))
    threading.Timer(0.2, go_on.set).start()
    sending.abandon()
    with pytest.raises(Abandoned):
        sending.wait()
    assert ended == []
