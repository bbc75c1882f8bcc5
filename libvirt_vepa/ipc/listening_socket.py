# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The socket that a service listens on: bound here, or passed on by systemd."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from libvirt_vepa.errors import HostError, remedy_for

# SD_LISTEN_FDS_START of sd-daemon.h.
FIRST = 3
UNIT_REMEDY = "fix the systemd unit"


def inherited() -> socket.socket:
    """Return the socket that systemd has passed on (sd_listen_fds(3)). Raises HostError where there is none to use."""
    whose, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    if (whose, count) != (str(os.getpid()), "1"):
        raise HostError("no socket was passed on", "name the path to listen on, or start the systemd unit")
    os.set_inheritable(FIRST, False)
    try:
        found = socket.socket(fileno=FIRST)
    except OSError as error:
        raise HostError(f"what was passed on is no socket: {error.strerror}", UNIT_REMEDY) from error
    if (found.family, found.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
        raise HostError("what was passed on is no Unix stream socket", UNIT_REMEDY)
    if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise HostError("what was passed on is a connection, and no socket that listens", "set Accept=no in the unit")
    return found


@contextmanager
def bound(path: Path) -> Iterator[socket.socket]:
    """Listen there; the path is gone in the end. Raises HostError where that cannot be."""
    with socket.socket(socket.AF_UNIX) as found:
        try:
            _make_room(path)
            # Who may do what is for the daemon to say, but nobody else than root can act as somebody else.
            before = os.umask(0o111 if os.geteuid() == 0 else 0o177)
            try:
                found.bind(os.fspath(path))
            finally:
                os.umask(before)
            found.listen(socket.SOMAXCONN)
            ours = path.lstat()
        except OSError as error:
            what = f"cannot listen on {path}: {error.strerror or error}"
            raise HostError(what, remedy_for(error, "name another path")) from error
        try:
            yield found
        finally:
            _remove(path, ours)


def _make_room(path: Path) -> None:
    """Remove a socket that nobody listens on any more."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise HostError(f"cannot listen on {path}: it is there, and no socket", "name another path")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise HostError(f"cannot listen on {path}: somebody else does", "stop that one, or name another path")


def _remove(path: Path, ours: os.stat_result) -> None:
    try:
        if os.path.samestat(path.lstat(), ours):
            path.unlink()
    except FileNotFoundError:
        pass
