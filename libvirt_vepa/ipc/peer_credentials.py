# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who is at the other end of a Unix socket, and how to act as them."""

from __future__ import annotations

import os
import pwd
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

from libvirt_vepa.errors import HostError

# struct ucred and SO_PEERGROUPS of linux/socket.h and asm-generic/socket.h.
CREDENTIALS = struct.Struct("iII")
PEER_GROUPS = 59
# To become user -1 means to stay who one is.
NOBODY = 2**32 - 1
# What Python takes at most for an option; a user with more groups is looked up.
OPTION_MAX = 1024
HOMELESS = "/"


@dataclass(frozen=True)
class Peer:
    """The process that has connected, as it was then."""

    pid: int
    uid: int
    gid: int
    groups: tuple[int, ...]

    def assume_identity(self) -> None:
        """Go on with the rights and the folders of that user, for good. Raises HostError where that is not allowed."""
        if os.geteuid() == self.uid:
            return
        try:
            os.setgroups(self.groups)
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)
        except PermissionError as error:
            raise HostError(f"it cannot act as user {self.uid}, who has connected", "run it as root") from error
        runtime = f"/run/user/{self.uid}"
        os.environ.update(HOME=_home(self.uid), XDG_RUNTIME_DIR=runtime)
        # A unit may keep /run/user from itself (ProtectHome= in systemd.exec(5)).
        if not os.access(runtime, os.X_OK):
            del os.environ["XDG_RUNTIME_DIR"]


def uid_of(connection: socket.socket) -> int:
    """Return the user who has connected, NOBODY where the kernel does not know; nobody else is asked for it."""
    return _credentials(connection)[1]


def peer_of(connection: socket.socket) -> Peer:
    """Return who has connected (unix(7)). Raises HostError where the kernel does not know."""
    pid, uid, gid = _credentials(connection)
    if NOBODY in (uid, gid):
        raise HostError("it is not known who has connected", "connect by a Unix socket")
    return Peer(pid, uid, gid, _groups(connection, uid, gid))


def _credentials(connection: socket.socket) -> tuple[int, int, int]:
    pid, uid, gid = CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    return pid, uid, gid


def _groups(connection: socket.socket, uid: int, gid: int) -> tuple[int, ...]:
    try:
        data = connection.getsockopt(socket.SOL_SOCKET, PEER_GROUPS, OPTION_MAX)
        return struct.unpack(f"{len(data) // 4}I", data)
    except OSError:  # the kernel is too old, or there are too many
        with suppress(KeyError):
            return tuple(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
        return (gid,)


def _home(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return HOMELESS
