# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The service `libvirt-vepad`: makes and removes the devices of guests that run, for users who are not root.

A conversation is a line of JSON each way for each request, about one change of one guest. `lifecycle.hotplug` does
what is asked, once libvirt lets the user who asks change that guest; nothing else can be asked. One conversation is
one process; `proxy.helper_client` is the other side.
"""

from __future__ import annotations

import json
import socket
import sys
import syslog
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from itertools import islice

from libvirt_vepa.command_line import socket_path
from libvirt_vepa.errors import HostError, VepaError, printable
from libvirt_vepa.ipc import hook_call
from libvirt_vepa.ipc.admission import Bounds
from libvirt_vepa.ipc.peer_credentials import Peer, peer_of
from libvirt_vepa.ipc.server import is_outdated, listen
from libvirt_vepa.lifecycle import hook_errands
from libvirt_vepa.lifecycle.hotplug import Hotplug

# A request is some hundred bytes long, and each of them may be an escape of JSON's.
LINE_MAX = 65536
# How long the whole of a conversation may take: libvirt itself waits for up to 30 s at each of its steps.
CONVERSATION_SECONDS = 240.0
# What is asked in one of them at most: a change takes two requests, and a flood of them would be one of the log, too.
REQUESTS = 8
DONE, FAILED = 0, 1
# Connections of one user and of all, and the memory of each.
BOUNDS = Bounds(each=64, total=256, memory=512 << 20)
ABOUT = "Make and remove the devices of running guests for users of libvirt who are not root."

HelperResponse = dict[str, str]


def run() -> int:
    """Serve those who connect to the end; return the exit status. What goes wrong is one line on stderr."""
    try:
        path = socket_path("libvirt-vepad", ABOUT, sys.argv[1:], required=True)
        hook_errands.load()
        return listen(path, _serve_peer, "libvirt-vepad", BOUNDS, _refuse)
    except HostError as error:
        sys.stderr.write(f"libvirt-vepad: {error}\n")
        return FAILED


def _refuse(channel: socket.socket, reason: HostError) -> None:
    _answered(channel, {"error": reason.what, "remedy": reason.remedy})


def serve_here() -> int:
    """Serve the one connection that is standard input, whose other end is root's; return the exit status."""
    with socket.socket(fileno=sys.stdin.fileno()) as channel:
        return _serve_peer(channel, peer_of(channel))


def _serve_peer(channel: socket.socket, peer: Peer) -> int:
    """Serve one connection to its end; return the exit status."""
    last = time.monotonic() + CONVERSATION_SECONDS
    channel.settimeout(CONVERSATION_SECONDS)
    try:
        is_hook = hook_call.is_one(channel)
    except OSError as error:
        _log(f"the connection has ended before it was answered: {error}")
        return FAILED
    if not is_hook:
        return _serve_client(channel, peer, last)
    # A hook that has given up does the work itself, and the log has that from there.
    with suppress(OSError):
        _serve_hook(channel, peer, last)
    return DONE


def _serve_hook(channel: socket.socket, peer: Peer, last: float) -> None:
    """Do the work of libvirt's hook. A hook that gets no answer does it by itself. Raises OSError where it has gone."""
    call = None if peer.uid else hook_call.receive(channel, last)
    if call is None or is_outdated():
        return
    document = hook_call.receive_document(channel, call, last)
    if document is None:
        return
    said: list[str] = []
    with hook_call.bound_to(channel):
        outcome = hook_errands.perform(call.work, call.arguments, document, said.append)
    lines = [f"libvirt-vepa: {printable(text)}" for text in said]
    for line in lines:
        syslog.syslog(syslog.LOG_WARNING, line)
    text = "".join(f"{line}\n" for line in lines).encode(errors="replace")
    hook_call.answer(channel, outcome.status, outcome.output, text)


def _serve_client(channel: socket.socket, peer: Peer, last: float) -> int:
    """Serve one conversation to its end and put right what it leaves; return the exit status."""
    try:
        with ExitStack() as stack:
            hotplug = Hotplug(peer, stack, _log)
            for line in islice(_lines(channel, last), REQUESTS):
                if not _answered(channel, _response(hotplug, line)):
                    break
            channel.close()
            hotplug.end()
    except VepaError as error:
        _log(str(error))
        return FAILED
    return DONE


def _lines(channel: socket.socket, last: float) -> Iterator[bytes]:
    """Yield what is said, until the other side ends, says too much, or it is `last` of time.monotonic()."""
    heard = b""
    while len(heard) < LINE_MAX and (left := last - time.monotonic()) > 0:
        channel.settimeout(left)
        try:
            data = channel.recv(LINE_MAX)
        except OSError:
            return
        *lines, heard = (heard + data).split(b"\n")
        yield from lines
        if not data:
            return


def _answered(channel: socket.socket, response: HelperResponse) -> bool:
    """Answer; tell whether anybody was there to hear it."""
    try:
        channel.sendall(json.dumps(response).encode() + b"\n")
    except OSError as error:
        _log(f"the connection has ended before it was answered: {error}")
        return False
    return True


def _response(hotplug: Hotplug, line: bytes) -> HelperResponse:
    try:
        said = json.loads(line)
        word, values = str(said.pop("do")), {str(key): str(value) for key, value in said.items()}
        _words(hotplug)[word](values)
        return {}
    except VepaError as error:
        _log(str(error))
        return {"error": ": ".join((*error.where, error.what)), "remedy": error.remedy}
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return {
            "error": "the request is not understood",
            "remedy": "install the same libvirt-vepa everywhere, and connect again",
        }
    except Exception as error:  # the last line of defence: the connection would wait for an answer
        _log(f"unexpected {error!r}")
        return {"error": f"unexpected {error!r}", "remedy": "please report this"}


def _words(hotplug: Hotplug) -> Mapping[str, Callable[[Mapping[str, str]], None]]:
    """Return what can be asked for; what raises KeyError where a value is missing."""
    return {
        "attach": lambda values: hotplug.attach(values["guest"], values["request"].encode()),
        "commit": lambda _: hotplug.commit(),
        "rollback": lambda _: hotplug.rollback(),
        "detach": lambda values: hotplug.detach(values["guest"]),
        "await_removal": lambda values: hotplug.await_removal(values["name"]),
    }


def _log(text: str) -> None:
    syslog.syslog(syslog.LOG_WARNING, f"libvirt-vepad: {printable(text)}")
