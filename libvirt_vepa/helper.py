# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The service `libvirt-vepad`: makes and removes the devices of guests that run, for users who are not root.

It does that for a guest and an interface that libvirt itself confirms: the request must stand in the
running guest's metadata, where only those may write whom libvirt lets change the guest. Nothing else
can be asked of it. One session is one process; `proxy.helper_client` is the other side.
"""

from __future__ import annotations

import json
import socket
import stat
import sys
import syslog
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

from libvirt_vepa.command_line import socket_path
from libvirt_vepa.errors import HostError, InUseError, VepaError, printable
from libvirt_vepa.host.context import Host
from libvirt_vepa.ipc.peer_credentials import Peer
from libvirt_vepa.ipc.server import listen
from libvirt_vepa.libvirtd import client as libvirt_client
from libvirt_vepa.libvirtd.sockets import WHO, system_socket
from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.store.store import Store
from libvirt_vepa.xml import document as documents
from libvirt_vepa.xml import domain, metadata

# A document, and each of its characters as an escape of JSON's.
LINE_MAX = 6 * documents.LIMIT
# How long a connection may have nothing to say in the middle of a session.
IDLE_SECONDS = 300.0
# How long a guest may take to give a device back; one that takes longer gives it back when it ends.
REMOVAL_SECONDS = 600.0
DONE, FAILED = 0, 1
ABOUT = "Make and remove the devices of running guests for users of libvirt who are not root."

HelperResponse = dict[str, str]


def run() -> int:
    """Serve those who connect to the end; return the exit status. What goes wrong is one line on stderr."""
    try:
        return listen(socket_path("libvirt-vepad", ABOUT, sys.argv[1:], required=True), _serve_peer, "libvirt-vepad")
    except HostError as error:
        sys.stderr.write(f"libvirt-vepad: {error}\n")
        return FAILED


def serve_here() -> int:
    """Serve the one connection that is standard input, whose other end is root's; return the exit status."""
    with socket.socket(fileno=sys.stdin.fileno()) as channel:
        return _serve(channel)


def _serve_peer(channel: socket.socket, peer: Peer) -> int:
    if _may(peer):
        return _serve(channel)
    _log(f"user {peer.uid} may not use libvirt, and so nothing is done for them")
    _answered(channel, {"error": "libvirt-vepad does nothing for this user", "remedy": WHO})
    # They have been told; the service has not failed.
    return DONE


def _may(peer: Peer) -> bool:
    """Tell whether somebody may connect to libvirt's own socket; what they may do there is for libvirt to say."""
    try:
        rule = system_socket().stat()
    except OSError:
        return peer.uid == 0
    mine = (rule.st_uid == peer.uid, stat.S_IWUSR), (rule.st_gid in (peer.gid, *peer.groups), stat.S_IWGRP)
    return peer.uid == 0 or any(is_mine and rule.st_mode & bit for is_mine, bit in (*mine, (True, stat.S_IWOTH)))


def _serve(channel: socket.socket) -> int:
    """Serve one connection to its end and put right what it leaves; return the exit status."""
    channel.settimeout(IDLE_SECONDS)
    try:
        with ExitStack() as stack:
            session = HelperSession(stack)
            for line in _lines(channel):
                if not _answered(channel, _response(session, line)):
                    break
            channel.close()
            session.end()
    except VepaError as error:
        _log(str(error))
        return FAILED
    return DONE


def _lines(channel: socket.socket) -> Iterator[bytes]:
    """Yield what is said, until the other side ends, falls silent or says too much."""
    with channel.makefile("rb") as file:
        try:
            while (line := file.readline(LINE_MAX)).endswith(b"\n"):
                yield line
        except OSError:
            return


def _answered(channel: socket.socket, response: HelperResponse) -> bool:
    """Answer; tell whether anybody was there to hear it."""
    try:
        channel.sendall(json.dumps(response).encode() + b"\n")
    except OSError as error:
        _log(f"the connection has ended before it was answered: {error}")
        return False
    return True


def _response(session: HelperSession, line: bytes) -> HelperResponse:
    try:
        said = json.loads(line)
        word, values = str(said.pop("do")), {str(key): str(value) for key, value in said.items()}
        return session.do(word, values)
    except VepaError as error:
        _log(str(error))
        return {"error": ": ".join((*error.where, error.what)), "remedy": error.remedy}
    except (ValueError, KeyError, AttributeError, TypeError):
        return {
            "error": "the request is not understood",
            "remedy": "install the same libvirt-vepa everywhere, and connect again",
        }
    except Exception as error:  # the last line of defence: the connection would wait for an answer
        _log(f"unexpected {error!r}")
        return {"error": f"unexpected {error!r}", "remedy": "please report this"}


def _log(text: str) -> None:
    syslog.syslog(syslog.LOG_WARNING, f"libvirt-vepad: {printable(text)}")


class HelperSession:
    """What one connection has asked for, for one guest; `stack` ends with it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._lock = stack.enter_context(ExitStack())
        self._uuid = ""
        # Whether what was opened is neither committed nor rolled back; what was detached, and is still there.
        self._open = False
        self._awaited: str | None = None

    def do(self, word: str, values: Mapping[str, str]) -> HelperResponse:
        """Do what a request asks for. Raises VepaError where it fails, KeyError where a value is missing."""
        words: Mapping[str, Callable[[Mapping[str, str]], None]] = {
            "open": self._open_guest,
            "attach": self._attach,
            "commit": self._commit,
            "rollback": self._rollback,
            "await_removal": self._await_removal,
        }
        if (word == "open") == bool(self._uuid):
            raise HostError("a session is about one guest, which is named first", "open it with one")
        words[word](values)
        return {}

    def _open_guest(self, values: Mapping[str, str]) -> None:
        """Take the guest: one connection at a time changes its interfaces, its metadata among them."""
        self._host: Host = self._stack.enter_context(guests.open_host(Store()))
        self._take(values["guest"])
        self._guest = self._stack.enter_context(libvirt_client.running_guest(values["guest"]))
        self._uuid = values["guest"]
        self._open = True

    def _take(self, uuid: str) -> None:
        self._lock.enter_context(self._host.store.lock_hotplug(uuid, "another attach or detach of this guest"))

    def _attach(self, values: Mapping[str, str]) -> None:
        xml = self._guest.xml()
        if xml is None:
            raise HostError("the guest does not run", "start it, or attach with --config alone")
        interface = values["interface"].encode()
        more = domain.read_guest(metadata.with_interface(xml, interface))
        if len(more.requests) != 1:
            raise HostError("libvirt does not know of the request", "see that nothing else writes the guest's metadata")
        (request,) = more.requests
        if request.alias in metadata.aliases_of(xml):
            raise InUseError(f"the guest has an interface with alias '{request.alias}'", "choose another alias or MAC")
        for remark in guests.attach(more, self._host):
            _log(f"{more.where}: {remark}")

    def _commit(self, _values: Mapping[str, str]) -> None:
        self._open = False

    def _rollback(self, _values: Mapping[str, str]) -> None:
        self._tidy(self._guest.xml())
        self._open = False

    def _await_removal(self, values: Mapping[str, str]) -> None:
        xml = self._guest.xml()
        if xml is None:
            return
        self._tidy(xml)
        self._open = False
        # An interface that is not ours may have the same MAC.
        journal = self._host.store.load(self._uuid)
        ours = {use.alias for use in journal.uses} if journal else set()
        self._awaited = next((alias for alias in metadata.aliases_of(xml, values["name"]) if alias in ours), None)

    def end(self) -> None:
        """Put right what is left when the connection has ended. Raises VepaError."""
        if self._open:
            # Whatever the daemon still does for the connection comes to its end before this is written.
            xml = self._guest.xml()
            if xml is not None:
                self._guest.write_requests(metadata.write(metadata.kept(xml)[0]))
            self._tidy(self._guest.xml())
        elif self._awaited is not None:
            awaited, uuid = self._awaited, self._uuid
            # Others may go on meanwhile.
            self._lock.close()
            xml = self._guest.await_removal(lambda text: awaited in metadata.aliases_of(text), REMOVAL_SECONDS)
            if xml is not None:
                self._take(uuid)
                self._tidy(self._guest.xml())

    def _tidy(self, xml: bytes | None) -> None:
        """Put back what was done for interfaces that the guest has no more. Its end puts back all."""
        journal = self._host.store.load(self._uuid)
        if xml is None or journal is None:
            return
        there, needed = metadata.kept(xml)
        if there != needed:
            self._guest.write_requests(metadata.write(needed))
        aliases = metadata.aliases_of(xml)
        for use in journal.uses:
            if use.alias not in aliases:
                for failure in guests.detach(self._uuid, use.alias, self._host):
                    raise failure
