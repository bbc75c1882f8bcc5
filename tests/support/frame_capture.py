# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the kernel announces of its devices, and the frames that a NIC sends."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from libvirt_vepa.kernel import tuntap
from tests.lab.shell import run

# linux/rtnetlink.h, linux/if_link.h and linux/if_ether.h
RTMGRP_LINK, RTM_NEWLINK = 1, 16
IFLA_ADDRESS, IFLA_IFNAME, IFLA_LINKINFO = 1, 3, 18
ETH_P_ALL = 3
WAIT_SECONDS = 60


@contextmanager
def announcements() -> Iterator[list[tuple[str, str]]]:
    """Collect the name and the MAC of every RTM_NEWLINK that is sent during the block."""
    found: list[tuple[str, str]] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as events:
        events.bind((0, RTMGRP_LINK))
        yield found
        while select.select([events], [], [], 0)[0]:
            found.extend(_new_links(events.recv(1 << 20)))


def _new_links(data: bytes) -> Iterator[tuple[str, str]]:
    while data:
        length, kind = struct.unpack_from("=IH", data)
        if kind == RTM_NEWLINK:
            # After the header of the message (16 bytes) and the one of the device (16).
            attributes = dict(_attributes(data[32:length]))
            yield attributes[IFLA_IFNAME].rstrip(b"\0").decode(), attributes[IFLA_ADDRESS].hex(":")
        data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        length, kind = struct.unpack_from("=HH", data)
        yield kind, data[4:length]
        data = data[(length + 3) & ~3 :]


class Capture:
    """The sources of all frames that come out of a file, from now on; use it in a `with`, which closes it."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.sources: list[str] = []

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def wait_for(self, source: str, count: int) -> None:
        """Return once a station has sent that many frames."""
        deadline = time.monotonic() + WAIT_SECONDS
        while self.sources.count(source) < count:
            left = max(0.0, deadline - time.monotonic())
            assert select.select([self._handle], [], [], left)[0], f"no {count} frames of {source}: {self.sources}"
            self.read()

    def read(self) -> None:
        """Read what is there already."""
        while select.select([self._handle], [], [], 0)[0]:
            self.sources.append(os.read(self._handle, 65536)[6:12].hex(":"))


def wire(device: str) -> Capture:
    """Capture what passes a NIC, those on top of it included."""
    run("ip", "link", "set", device, "up")
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    packets.bind((device, ETH_P_ALL))
    return Capture(packets.detach())


def guest_side(tap: str) -> Capture:
    """Capture what comes out of a tap, as QEMU would read it; the tap has a carrier then."""
    handle = os.open(tuntap.TUN, os.O_RDWR)
    fcntl.ioctl(handle, tuntap.TUNSETIFF, tuntap.IFREQ.pack(tap.encode(), tuntap.IFF_TAP | tuntap.IFF_NO_PI))
    return Capture(handle)
