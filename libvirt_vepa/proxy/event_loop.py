# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Carries the bytes of one connection both ways, through the relay."""

from __future__ import annotations

import select
from collections.abc import Callable, Mapping

from libvirt_vepa.proxy.endpoint import MOST, Endpoint
from libvirt_vepa.proxy.relay import ProtocolViolation, Relay

# How long the daemon, or the helper, may take for what a client that has ended has begun.
JOB_SECONDS = 60.0
# How long a side that has stopped reading is waited for once the other has ended.
DELIVER_SECONDS = 10.0
ENDED = select.POLLHUP | select.POLLERR


class EventLoop:
    """The two sides of a connection, and the relay between them."""

    def __init__(self, client: Endpoint, daemon: Endpoint, relay: Relay) -> None:
        self._relay = relay
        self._client, self._daemon = client, daemon
        self._ended: set[Endpoint] = set()
        self._poll = select.poll()
        self._asked: dict[int, int] = {}
        # What is waited for nearly always; as long as that is so there is nothing to think about.
        self._rest = {client.source: select.POLLIN, daemon.source: select.POLLIN}
        self._resting = False
        self._readers: Mapping[int, Callable[[], None]] = {
            client.source: self._from_client,
            daemon.source: self._from_daemon,
        }
        self._writers = {client.sink: client.flush, daemon.sink: daemon.flush}

    def run(self) -> None:
        """Carry everything until either side ends; what was read is still delivered. Raises ProtocolError.

        What a client has begun that takes more than one message is brought to its end.
        """
        try:
            self._ask()
            while not self._ended:
                self._step(None)
            while self._relay.busy and self._daemon not in self._ended and self._step(JOB_SECONDS):
                pass
        finally:
            for side in (self._daemon, self._client):
                _deliver(side)
                side.close()

    def _step(self, seconds: float | None) -> bool:
        """Wait for what can be done and do it; tell whether there was anything in time."""
        ready = self._poll.poll(None if seconds is None else seconds * 1000)
        for descriptor, events in ready:
            if events == select.POLLIN and descriptor in self._readers:
                self._readers[descriptor]()
            elif descriptor in self._relay.helpers:
                self._send(*self._relay.from_helper(descriptor))
            else:
                self._serve(descriptor, events)
        if not self._resting:
            self._ask()
        return bool(ready)

    def _serve(self, descriptor: int, events: int) -> None:
        """Do what can be done; an error of the descriptor's shows itself when that is tried."""
        asked = self._asked[descriptor]
        # The last words of a side that has ended are few: they are read however much is kept.
        if events & select.POLLIN or (events & ENDED and descriptor in self._readers):
            self._readers[descriptor]()
        if asked & select.POLLOUT and events & ~select.POLLIN:
            self._writers[descriptor]()

    def _from_client(self) -> None:
        data = self._client.read()
        if data and self._resting and self._relay.passes_ahead(data):
            self._resting = self._daemon.send(data)
        else:
            self._pass(self._client, data, self._relay.from_client)

    def _from_daemon(self) -> None:
        data = self._daemon.read()
        if data and self._resting and self._relay.passes_back(data):
            self._resting = self._client.send(data)
        else:
            self._pass(self._daemon, data, self._relay.from_daemon)

    def _pass(self, side: Endpoint, data: bytes | None, relayed: Callable[[bytes], tuple[bytes, bytes]]) -> None:
        if not data:
            # None is no end.
            if data is not None:
                self._ended.add(side)
                self._resting = False
            return
        try:
            self._send(*relayed(data))
        except ProtocolViolation as error:
            self._send(*error.before)
            raise
        if lost := self._relay.take_orphaned_fds():
            self._client.drop(lost)

    def _send(self, to_daemon: bytes, to_client: bytes) -> None:
        taken = not self._relay.waiting and not self._relay.busy
        if to_daemon:
            taken = self._daemon.send(to_daemon) and taken
        if to_client:
            taken = self._client.send(to_client) and taken
        if not taken:
            self._resting = False

    # -- what is waited for

    def _ask(self) -> None:
        """Wait from now on for what can be done."""
        asked = self._wanted()
        for descriptor in self._asked.keys() - asked.keys():
            self._poll.unregister(descriptor)
        for descriptor, events in asked.items():
            if self._asked.get(descriptor) != events:
                self._poll.register(descriptor, events)
        self._asked = asked
        self._resting = asked == self._rest

    def _wanted(self) -> dict[int, int]:
        client, daemon = self._client, self._daemon
        # What the client sends may come back to it at once, as an error.
        back = client.waiting + self._relay.waiting
        # A side that is gone takes nothing from the other; both are heard to their end.
        from_client = max(daemon.waiting, back) < MOST and not daemon.gone and client not in self._ended
        from_daemon = (client.waiting < MOST and not client.gone) or self._relay.busy
        wanted = {
            client.source: select.POLLIN if from_client else 0,
            daemon.source: select.POLLIN if from_daemon else 0,
        }
        wanted.update(dict.fromkeys(self._relay.helpers, select.POLLIN))
        for side in (client, daemon):
            if side.waiting and not side.gone:
                wanted[side.sink] = wanted.get(side.sink, 0) | select.POLLOUT
        return wanted


def _deliver(side: Endpoint) -> None:
    """Write the rest, now that nothing more comes; a side that takes nothing for long gets no more."""
    while side.waiting and not side.gone and select.select([], [side.sink], [], DELIVER_SECONDS)[1]:
        side.flush()
