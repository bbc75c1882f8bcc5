# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The connection `libvirt-vepa-connect`: libvirt's client library runs it, or finds it listening on a socket.

It stands between a client and the socket of this host's daemon, as the user who runs the client and
with no other rights. For a URI of the `ext` transport libvirt runs it without arguments, and the client is
on its standard input and output. For `?socket=PATH` it listens there (`--listen`), and gives each client a
process that becomes the client's user first.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from libvirt_vepa.errors import HostError, VepaError
from libvirt_vepa.ipc.peer_credentials import Peer
from libvirt_vepa.proxy.endpoint import Endpoint, FdPassingEndpoint
from libvirt_vepa.proxy.event_loop import EventLoop
from libvirt_vepa.proxy.handshake import open_daemon, refuse
from libvirt_vepa.proxy.translation import loading

DONE, FAILED = 0, 1
# Connections of one user and of all, and the memory of each: a document of 4 MiB, all elements, took 480 MiB of that.
EACH, TOTAL, MEMORY = 128, 512, 640 << 20
# How root has devices made: libvirt-vepad's work in a process of its own, for the one connection on its standard input.
# Isolated like every program of ours; the package's folder comes last, as it holds other packages too.
PROGRAM = "import sys; sys.path.append(sys.argv[1]); from libvirt_vepa.helper import serve_here; sys.exit(serve_here())"
HELPER = (sys.executable, "-I", "-c", PROGRAM, os.fspath(Path(__file__).resolve().parents[1]))
ABOUT = "Serve a client of libvirt on standard input and output, or all clients that connect to a socket."


def run() -> int:
    """Serve one client, or all that come, to the end; return the exit status. What goes wrong is one line on stderr."""
    return _told(_listen if sys.argv[1:] else _serve_standard)


def _told(serve: Callable[[], int]) -> int:
    try:
        return serve()
    except VepaError as error:
        sys.stderr.write(f"libvirt-vepa-connect: {error}\n")
    except (ConnectionError, KeyboardInterrupt):
        pass
    return FAILED


def _serve_standard() -> int:
    with open_daemon(0, 1, HELPER) as (daemon, relay):
        EventLoop(Endpoint(0, 1), Endpoint(daemon.fileno(), daemon.fileno()), relay).run()
    return DONE


def _listen() -> int:
    # They are needed here only, and libvirt starts this program anew for every connection.
    from libvirt_vepa.command_line import socket_path
    from libvirt_vepa.ipc.admission import Bounds
    from libvirt_vepa.ipc.server import listen

    path = socket_path("libvirt-vepa-connect", ABOUT, sys.argv[1:], required=False)
    # A client who needs what is not installed is told so; the others are served.
    with suppress(HostError), loading():
        from libvirt_vepa.proxy import preload

        preload.warm()
    return listen(path, _serve_peer, "libvirt-vepa-connect", Bounds(EACH, TOTAL, MEMORY), _refuse)


def _refuse(client: socket.socket, reason: HostError) -> None:
    with suppress(VepaError):
        refuse(client.fileno(), client.fileno(), reason)


def _serve_peer(client: socket.socket, peer: Peer) -> int:
    # What is started for somebody else is in this service's cgroup, and would end with the connection: their daemon and
    # all of its guests.
    may_start = peer.uid == os.geteuid()
    peer.assume_identity()
    # A client that is refused, or ends early, has been told why, and is no failure of the service.
    _told(lambda: _relay(client, may_start))
    return DONE


def _relay(client: socket.socket, may_start: bool) -> int:
    with open_daemon(client.fileno(), client.fileno(), HELPER, may_start=may_start) as (daemon, relay):
        sides = FdPassingEndpoint(client), FdPassingEndpoint(daemon)
        sides[0].join(sides[1])
        EventLoop(*sides, relay).run()
    return DONE
