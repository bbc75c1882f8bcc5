# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""One interface that a running guest is given or loses: from libvirt's word that somebody may change it, to its end.

Who asks is asked about by libvirt itself, as that user; what is made is what libvirt then has in the guest's
metadata, which is written with that user's rights, and by nobody else while the guest runs. Nothing is held for
somebody whom libvirt has not let change the guest yet.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from libvirt_vepa.errors import HostError, InUseError, VepaError, XmlError
from libvirt_vepa.host.context import Host
from libvirt_vepa.ipc.peer_credentials import Peer
from libvirt_vepa.libvirtd import client as libvirt_client
from libvirt_vepa.libvirtd import on_behalf
from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.model.interface import Request
from libvirt_vepa.store.journal import Allocation
from libvirt_vepa.store.store import Store
from libvirt_vepa.xml import domain, metadata

# How long libvirt may take for a call as the user; it waits itself for up to 30 s for what else is done to the guest.
ANSWER_SECONDS = 60.0
# How long a guest may take to give a device back; one that takes longer gives it back when it ends.
REMOVAL_SECONDS = 600.0


class Hotplug:
    """One change of a guest's interfaces, by `peer`; `stack` ends with it. Every method raises VepaError.

    `report` is told what an administrator should know.
    """

    def __init__(self, peer: Peer, stack: ExitStack, report: Callable[[str], None]) -> None:
        self._peer, self._stack, self._report = peer, stack, report
        self._lock = stack.enter_context(ExitStack())
        self._uuid = ""
        # Whether it may still be in the middle of what was begun.
        self._open = False
        self._made: Request | None = None
        # An interface that is detached, and is still there.
        self._awaited: Allocation | None = None

    def attach(self, uuid: str, wrapper: bytes) -> None:
        """Write a request into the guest's metadata and make its device; where that fails, nothing of it is left."""
        alias, request = _only(wrapper)
        self._begin(uuid)
        try:
            self._make(alias, request)
        except VepaError:
            self._take_back()
            raise

    def _make(self, alias: str, request: bytes) -> None:
        xml = self._xml()
        if alias in metadata.aliases_of(xml):
            raise InUseError(f"the guest has an interface with alias '{alias}'", "choose another alias or MAC")
        self._write({**metadata.kept(xml)[0], alias: request})
        more = domain.read_attached(self._xml(), alias)
        for remark in guests.attach(more, self._host):
            self._report(f"{more.where}: {remark}")
        (self._made,) = more.requests

    def commit(self) -> None:
        """See that the guest has the interface whose device was made; where it is another one, take the device back."""
        made, xml = self._must_be_made(), self._guest.xml()
        there = metadata.device_of(xml, made.alias) if xml else None
        if there and there != (str(made.mac), made.device):
            for failure in guests.detach(self._uuid, made.alias, self._host):
                raise failure
            what = f"libvirt has attached an interface that is not {made.mac} on {made.device}"
            raise HostError(what, "detach it, and attach it again")
        if not there:
            self._tidy()
        self._open = False

    def rollback(self) -> None:
        """Take back what was made, unless the guest has it."""
        self._must_be_made()
        self._tidy()
        self._open = False

    def detach(self, uuid: str) -> None:
        """Get ready for an interface to be detached: nobody else changes the guest meanwhile."""
        self._begin(uuid)

    def await_removal(self, name: str) -> None:
        """Put back what is left of an interface that libvirt was asked to detach; it may be some time until it goes.

        `name` is its alias or MAC.
        """
        if not self._open or self._made:
            raise HostError("nothing is being detached", "begin with that")
        xml, journal = self._guest.xml(), self._host.store.load(self._uuid)
        self._tidy()
        self._open = False
        if xml is None:
            return
        # An interface that is not ours may have the same MAC.
        there = metadata.aliases_of(xml, name)
        self._awaited = next((use for use in journal.uses if use.alias in there), None) if journal else None

    def end(self) -> None:
        """Put right what is left when the conversation has ended."""
        if self._open:
            # Whatever the daemon still does for the client comes to its end before this is written.
            self._write_kept(self._guest.xml())
            self._tidy()
        elif self._awaited is not None:
            self._tidy_when_removed(self._awaited)

    def _tidy_when_removed(self, use: Allocation) -> None:
        """Wait, unless somebody does: who asks again and again has one process for each interface, and no more."""
        uuid = self._uuid
        # Others may go on meanwhile.
        self._lock.close()
        with self._host.store.wait_alone(use.device) as alone:
            if alone and self._guest.await_removal(
                lambda text: use.alias in metadata.aliases_of(text), REMOVAL_SECONDS
            ):
                self._acquire(uuid)
                self._tidy()

    def _begin(self, uuid: str) -> None:
        """Have libvirt say that the peer may change the guest, which runs; then be the only one that does."""
        if self._uuid:
            raise HostError("a conversation is about one change of one guest", "begin another one")
        on_behalf.call(self._peer, lambda: libvirt_client.require_write(uuid), ANSWER_SECONDS)
        self._host: Host = self._stack.enter_context(guests.open_host(Store()))
        self._guest = self._stack.enter_context(libvirt_client.running_guest(uuid))
        self._acquire(uuid)
        self._uuid, self._open = uuid, True

    def _acquire(self, uuid: str) -> None:
        self._lock.enter_context(self._host.store.lock_hotplug(uuid, "another attach or detach of this guest"))

    def _take_back(self) -> None:
        """Put back what a failed attach has left. The error of the attach itself is the one to raise."""
        try:
            self._tidy()
        except VepaError as error:
            self._report(str(error))
        else:
            self._open = False

    def _xml(self) -> bytes:
        xml = self._guest.xml()
        if xml is None:
            raise HostError("the guest does not run", "start it, or attach with --config alone")
        return xml

    def _must_be_made(self) -> Request:
        if self._made is None:
            raise HostError("nothing is being attached", "begin with that")
        return self._made

    def _write(self, requests: dict[str, bytes]) -> None:
        wrapper = metadata.write(requests)
        on_behalf.call(self._peer, lambda: libvirt_client.write_requests(self._uuid, wrapper), ANSWER_SECONDS)

    def _write_kept(self, xml: bytes | None) -> None:
        """Leave those requests that have an interface. Others do no harm: nothing is made of them."""
        if xml is not None:
            try:
                self._write(metadata.kept(xml)[1])
            except VepaError as error:
                self._report(str(error))

    def _tidy(self) -> None:
        """Put back what was done for interfaces that the guest has no more. Its end puts back all."""
        xml, journal = self._guest.xml(), self._host.store.load(self._uuid)
        if xml is None or journal is None:
            return
        there, needed = metadata.kept(xml)
        if there != needed:
            self._write_kept(xml)
        aliases = metadata.aliases_of(xml)
        for use in journal.uses:
            if use.alias not in aliases:
                for failure in guests.detach(self._uuid, use.alias, self._host):
                    raise failure


def _only(wrapper: bytes) -> tuple[str, bytes]:
    requests = metadata.read(wrapper)
    if len(requests) != 1 or "" in requests:
        raise XmlError("one request is attached at a time", "install the same libvirt-vepa everywhere")
    return next(iter(requests.items()))
