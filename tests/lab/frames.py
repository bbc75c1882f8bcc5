# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Single Ethernet frames, sent and heard on a device: what a NIC and a switch do with them, without any protocol."""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from libvirt_vepa.kernel import tuntap
from tests.lab.shell import BOUND_SECONDS

# "Local Experimental EtherType 1", IEEE 802; nobody else uses it here.
ETHERTYPE = 0x88B5
ETH_P_ALL = 3  # linux/if_ether.h
CLONE_NEWNET = 0x40000000  # linux/sched.h


def address(device: str) -> str:
    """Return a device's MAC."""
    return Path(f"/sys/class/net/{device}/address").read_text(encoding="ascii").strip()


class Station:
    """Whoever sends and hears frames on a device; a frame carries a word."""

    def __init__(self, device: str) -> None:
        # What is a bridge's port, or has a passthru macvtap, hands its frames on before a listener for one type.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.bind((device, ETH_P_ALL))
        self._handle = self._socket.fileno()

    def __enter__(self) -> Station:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, source: str, destination: str, word: str) -> None:
        """Send a word from a MAC to a MAC."""
        macs = bytes.fromhex((destination + source).replace(":", ""))
        os.write(self._handle, macs + ETHERTYPE.to_bytes(2, "big") + word.encode().ljust(46, b"\0"))

    def hear_until(self, word: str) -> list[str]:
        """Return the words that came before this one; AssertionError where it does not come."""
        heard: list[str] = []
        deadline = time.monotonic() + BOUND_SECONDS
        while word not in heard:
            left = max(0.0, deadline - time.monotonic())
            assert select.select([self._handle], [], [], left)[0], f"{word} not in {BOUND_SECONDS:g} seconds: {heard}"
            frame = self._take()
            if int.from_bytes(frame[12:14], "big") == ETHERTYPE:
                heard.append(frame[14:].rstrip(b"\0").decode())
        return heard[:-1]

    def _take(self) -> bytes:
        """Return the next frame, empty where the device has sent it."""
        frame, (_, _, kind, *_) = self._socket.recvfrom(2048)
        return b"" if kind == socket.PACKET_OUTGOING else frame


class GuestSide(Station):
    """A guest's side of a macvtap: its character device, used as QEMU does."""

    def __init__(self, device: str) -> None:
        index = Path(f"/sys/class/net/{device}/ifindex").read_text(encoding="ascii").strip()
        self._handle = os.open(f"/dev/tap{index}", os.O_RDWR)
        fcntl.ioctl(self._handle, tuntap.TUNSETIFF, tuntap.IFREQ.pack(b"", tuntap.IFF_TAP | tuntap.IFF_NO_PI))

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def _take(self) -> bytes:
        return os.read(self._handle, 2048)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Be in another network namespace; a socket made there stays there."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net", "rb") as here, open(f"/run/netns/{namespace}", "rb") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        try:
            yield
        finally:
            libc.setns(here.fileno(), CLONE_NEWNET)


def station_in(namespace: str, device: str) -> Station:
    """Return a station on a device in another namespace."""
    with inside(namespace):
        return Station(device)
