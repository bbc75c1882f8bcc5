# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the kernel announces of its network devices, and waiting for it."""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from libvirt_vepa.errors import KernelError

# linux/rtnetlink.h
RTMGRP_LINK = 1

T = TypeVar("T")


@contextmanager
def link_events() -> Iterator[socket.socket]:
    """Listen to what the kernel tells of its netdevs: a new one is in /sys by the time it is announced."""
    kinds = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    with socket.socket(socket.AF_NETLINK, kinds, socket.NETLINK_ROUTE) as events:
        events.bind((0, RTMGRP_LINK))
        yield events


def await_link(look: Callable[[], T], events: socket.socket, seconds: float) -> T:
    """Look, and again after each announcement, until something is found; return what was found last.

    Raises KernelError.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        left = deadline - time.monotonic()
        if found or left <= 0 or not select.select([events], [], [], left)[0]:
            return found
        _drain(events)


def _drain(events: socket.socket) -> None:
    try:
        while events.recv(65536):
            pass
    except OSError as error:
        # ENOBUFS: there were more than fit, so all the more reason to look.
        if error.errno not in (errno.EAGAIN, errno.ENOBUFS):
            raise KernelError(f"cannot hear of new network devices: {error.strerror}", "try again") from error
