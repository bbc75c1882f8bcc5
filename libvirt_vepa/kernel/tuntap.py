# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Taps, by the ioctls of /dev/net/tun: pyroute2 cannot refuse an existing device, nor keep a tap from staying."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from libvirt_vepa.errors import InUseError, KernelError

TUN = Path("/dev/net/tun")
# linux/if_tun.h and asm/ioctl.h, where a few architectures write a request's direction otherwise.
WRITE = 0x80000000 if os.uname().machine.startswith(("ppc", "mips", "sparc", "alpha")) else 0x40000000
TUNSETIFF, TUNSETPERSIST = WRITE | 0x454CA, WRITE | 0x454CB
# struct ifreq is a name, flags and room for what other requests need.
IFF_TAP, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TUN_EXCL = 0x0002, 0x0100, 0x1000, 0x8000
IFREQ = struct.Struct("16sH22x")


@contextmanager
def new_tap(device: str, multi_queue: bool) -> Iterator[None]:
    """Create a tap that stays if the block ends well; after an error, or a kill, the kernel removes it by itself.

    Raises InUseError where a device of that name exists, and KernelError.
    """
    flags = IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL | (IFF_MULTI_QUEUE if multi_queue else 0)
    try:
        handle = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        remedy = "load the kernel's module tun, and run as root"
        raise KernelError(f"cannot create tap {device}: {TUN}: {error.strerror}", remedy) from error
    try:
        _tap_ioctl(device, handle, TUNSETIFF, IFREQ.pack(device.encode(), flags))
        yield
        _tap_ioctl(device, handle, TUNSETPERSIST, 1)
    finally:
        os.close(handle)


def _tap_ioctl(device: str, handle: int, request: int, argument: bytes | int) -> None:
    try:
        fcntl.ioctl(handle, request, argument)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise InUseError(f"device {device} exists", "choose another name in <target dev=…/>") from error
        raise KernelError(f"cannot create tap {device}: {error.strerror}", "run as root with CAP_NET_ADMIN") from error
