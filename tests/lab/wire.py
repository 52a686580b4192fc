"""What goes over a lab's bridge, read as a stranger at the switch would read it."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_ALL = 0x0003  # ETH_P_ALL
_UDP, _TCP = 17, 6
_BUFFER = 64 * 2**20


@dataclass
class Wire:
    """What was read.

    Attributes:
        wanted: the byte strings that are looked for.
        found: those that were in a frame.
        frames: how many frames there were.
        udp: bytes of UDP packets between nodes, by destination port.
        tcp: bytes of what TCP connections carried between nodes, SSH left out.
        lost: frames that came faster than they were read.
    """

    wanted: Sequence[bytes]
    nodes: frozenset[str]
    found: set[bytes] = field(default_factory=set)
    frames: int = 0
    udp: dict[int, int] = field(default_factory=dict)
    tcp: int = 0
    lost: int = 0

    def take(self, frame: bytes) -> None:
        """Look at one Ethernet frame."""
        self.frames += 1
        self.found.update(text for text in self.wanted if text in frame)
        if frame[12:14] != b"\x08\x00" or len(frame) < 34:
            return
        start = 14 + 4 * (frame[14] & 15)
        source, target = (socket.inet_ntoa(frame[at : at + 4]) for at in (26, 30))
        if not {source, target} <= self.nodes or len(frame) < start + 14:
            return
        ports = struct.unpack("!HH", frame[start : start + 4])
        if frame[23] == _UDP:
            self.udp[ports[1]] = self.udp.get(ports[1], 0) + len(frame) - start - 8
        elif frame[23] == _TCP and 22 not in ports:
            (length,) = struct.unpack("!H", frame[16:18])
            self.tcp += length - (start - 14) - 4 * (frame[start + 12] >> 4)


@contextmanager
def reading(bridge: str, nodes: Sequence[str], wanted: Sequence[bytes]) -> Iterator[Wire]:
    """Read every frame that enters or leaves a port of the bridge until the block ends.

    Args:
        bridge: its name on this machine.
        nodes: the addresses that the nodes have on it.
        wanted: byte strings, each short enough to be in one packet often.
    """
    wire = Wire(wanted, frozenset(nodes))
    ports = sorted(path.name for path in Path("/sys/class/net", bridge, "brif").iterdir())
    over = threading.Event()
    sockets = []
    for name in ports:
        one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        one.bind((name, _ALL))
        one.setblocking(False)
        sockets.append(one)

    def read() -> None:
        while not over.is_set():
            ready, _, _ = select.select(sockets, [], [], 0.2)
            for one in ready:
                for _ in range(256):
                    try:
                        wire.take(one.recv(70000))
                    except BlockingIOError:
                        break

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield wire
        time.sleep(1)  # what is still in the sockets
    finally:
        over.set()
        reader.join(timeout=30)
        for one in sockets:
            # struct tpacket_stats: packets, drops (SOL_PACKET, PACKET_STATISTICS).
            wire.lost += struct.unpack("II", one.getsockopt(263, 6, 8))[1]
            one.close()
