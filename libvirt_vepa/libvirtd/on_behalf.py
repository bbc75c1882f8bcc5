# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Calls to libvirt with the rights of whoever has connected to us: a child becomes that user, for good, and calls."""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Callable

from libvirt_vepa.errors import HostError, VepaError
from libvirt_vepa.ipc.peer_credentials import Peer

# What a pipe takes at once (pipe(7)), and how many characters of an error fit, each as an escape of JSON's.
MOST, CHARACTERS = 65536, 4096
# The child's end of the pipe, behind the standard streams.
PIPE = 3
LATE = "see that libvirtd answers, and try again"


def call(peer: Peer, errand: Callable[[], None], seconds: float) -> None:
    """Run `errand` in a child that is that user, with all their groups. Raises HostError with what it has raised.

    It holds nothing of this process's but its memory, which the kernel shows to nobody after a change of user
    (PR_SET_DUMPABLE in prctl(2)). One that takes longer than `seconds` is ended.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _in_child(peer, errand, writer)
    os.close(writer)
    try:
        said = _said(reader, seconds)
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if said is None:
        raise HostError(f"libvirt has not answered user {peer.uid} within {seconds:g} seconds", LATE)
    what, remedy = json.loads(said or '["the process that asked libvirt has died", "please report this"]')
    if what:
        raise HostError(what, remedy)


def _said(reader: int, seconds: float) -> bytes | None:
    """Return what the child says, nothing where it has died, None where it takes too long."""
    return os.read(reader, MOST) if select.select([reader], [], [], seconds)[0] else None


def _in_child(peer: Peer, errand: Callable[[], None], writer: int) -> None:
    what, remedy = "", ""
    try:
        os.dup2(writer, PIPE)
        # A connection of root's, a netlink socket: none of it is for the user.
        os.closerange(PIPE + 1, os.sysconf("SC_OPEN_MAX"))
        os.chdir("/")
        peer.assume_identity()
        errand()
    except VepaError as error:
        what, remedy = ": ".join((*error.where, error.what)), error.remedy
    except BaseException as error:  # the child must never go on in its parent's place
        what, remedy = f"unexpected {error!r:.300}", "please report this"
    finally:
        os.write(PIPE, json.dumps([what[:CHARACTERS], remedy[:CHARACTERS]]).encode())
        os._exit(0)
