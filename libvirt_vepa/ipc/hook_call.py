# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How `hooks/qemu` has its work done by `libvirt-vepad`: one call over a Unix socket, by root alone.

    hook 1 LENGTH LENGTH         the protocol's version, and how many bytes the next two have
    WORK NAME OPERATION …        what is to be done, and what libvirt says to a hook, with NUL between
    <- ready                     libvirt-vepad is alive, and is the one that is installed
    the document
    <- STATUS LENGTH LENGTH      the hook's exit status, and how many bytes the next two have
    <- what the hook prints, and what it says on standard error

A hook that has given up before `ready` has sent no document, and nothing is done. What is under way when the hook ends,
or gives up, ends with it: libvirt goes on at once, and so does the hook itself. So no work is done twice.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

GREETING = b"hook "
HEADER = re.compile(rb"hook 1 ([0-9]{1,5}) ([0-9]{1,9})\n")
HEADER_MAX = 32
READY = b"ready\n"
# libvirt's own bound of a document is lower.
DOCUMENT_MAX = 64 << 20
CHUNK = 1 << 16


@dataclass(frozen=True)
class HookCall:
    """A call of the hook: what is to be done, and what libvirt has said to the hook."""

    work: tuple[str, ...]
    arguments: tuple[str, ...]
    size: int


def is_one(channel: socket.socket) -> bool:
    """Tell whether it is the hook that has connected. Raises OSError where nobody says anything."""
    return channel.recv(len(GREETING), socket.MSG_PEEK) == GREETING


def receive(channel: socket.socket, last: float) -> HookCall | None:
    """Return what the hook asks for; None for what is not understood.

    Raises OSError where it falls silent, or has not said all by the time `last` of time.monotonic().
    """
    header = HEADER.match(channel.recv(HEADER_MAX, socket.MSG_PEEK))
    if header is None or int(header[2]) > DOCUMENT_MAX:
        return None
    _exactly(channel, header.end(), last)
    work, *arguments = _exactly(channel, int(header[1]), last).decode(errors="surrogateescape").split("\0")
    return HookCall(tuple(work.split(",")), tuple(arguments), int(header[2])) if len(arguments) == 4 else None


def receive_document(channel: socket.socket, call: HookCall, last: float) -> bytes | None:
    """Say that it will be done, and return the document; None where the hook has gone. Raises OSError, as `receive`."""
    channel.sendall(READY)
    document = _exactly(channel, call.size, last)
    return document if len(document) == call.size else None


@contextmanager
def bound_to(channel: socket.socket) -> Iterator[None]:
    """Have the kernel end this process, with SIGKILL, when the hook ends meanwhile; OSError where it has ended already.

    A hook that is killed leaves its own work in the middle in the same way. Source: F_SETSIG of fcntl(2); a Unix
    socket whose other end is closed tells its owner (net/unix/af_unix.c).
    """
    flags = fcntl.fcntl(channel, fcntl.F_GETFL)
    fcntl.fcntl(channel, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(channel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(channel, fcntl.F_SETFL, flags | os.O_ASYNC)
    ended = select.poll()
    ended.register(channel, 0)
    if ended.poll(0):
        raise ConnectionAbortedError("the hook has ended")
    yield
    # A hook that reads its answer tells the owner, too.
    fcntl.fcntl(channel, fcntl.F_SETFL, flags)


def answer(channel: socket.socket, status: int, output: bytes, said: bytes) -> None:
    """Tell the hook what it comes to. Raises OSError where it has gone."""
    channel.sendall(b"%d %d %d\n" % (status, len(output), len(said)) + output + said)


def _exactly(channel: socket.socket, size: int, last: float) -> bytes:
    """Return as many bytes, or less where the other side ends. Raises OSError where they have not come in time."""
    data = bytearray()
    while len(data) < size:
        left = last - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        channel.settimeout(left)
        more = channel.recv(min(CHUNK, size - len(data)))
        if not more:
            break
        data += more
    return bytes(data)
