# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What libvirt's daemon says of its guests: the one place that knows libvirt-python.

Never used inside the hook: libvirt holds the guest while the hook runs, and a call would wait for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import libvirt

from libvirt_vepa.errors import HostError
from libvirt_vepa.libvirtd.sockets import WHO
from libvirt_vepa.model.interface import NAMESPACE, PREFIX

URI, SESSION = "qemu:///system", "qemu:///session"
RUNNING = "see that libvirtd runs, and try again as root"
# Of an element that no guest has.
PROOF = "urn:libvirt-vepa:proof"


def running_guests(uri: str = URI) -> frozenset[str]:
    """Return the UUIDs of the guests that the daemon keeps running, those just starting included.

    Nothing that a guest's owner writes can keep this from being told. Raises HostError where nobody answers.
    """
    with _asking("which guests run"), _opened(libvirt.openReadOnly, uri) as connection:
        domains = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        return frozenset(domain.UUIDString() for domain in domains)


def running_xml(uuid: str, uri: str = URI) -> bytes | None:
    """Return a guest's XML, None where it does not run.

    Raises HostError where the daemon cannot be asked, and where the XML is larger than it can send.
    """
    with _asking(f"about guest {uuid}"), _opened(libvirt.openReadOnly, uri) as connection:
        return RunningGuest(connection, uuid).xml()


def start_session() -> None:
    """Have libvirt start the user's own daemon, and return when it answers. Raises HostError with libvirt's words."""
    try:
        with _opened(libvirt.open, SESSION):
            pass
    except libvirt.libvirtError as error:
        remedy = f"see what 'virsh -c {SESSION} uri' says"
        raise HostError(f"cannot start a daemon of your own: {error}", remedy) from error


class RunningGuest:
    """One guest, as the daemon knows it while it runs. Methods raise HostError where the daemon cannot be asked."""

    def __init__(self, connection: libvirt.virConnect, uuid: str) -> None:
        self._connection = connection
        self._uuid = uuid

    def xml(self) -> bytes | None:
        """Return its XML, None where it does not run."""
        with _asking(f"about guest {self._uuid}"):
            try:
                domain = self._connection.lookupByUUIDString(self._uuid)
                return _description(domain) if domain.isActive() else None
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return None
                raise

    def await_removal(self, present: Callable[[bytes], bool], seconds: float) -> bytes | None:
        """Wait until something is not in its XML any more and return that; None where it ends or takes longer.

        It is looked at again at each event that a device has been removed, or that the guest has ended.
        """
        with _asking(f"about guest {self._uuid}"), self._events():
            deadline = time.monotonic() + seconds
            late = libvirt.virEventAddTimeout(max(1, int(seconds * 1000)), lambda *_: None, None)
            try:
                xml = self.xml()
                while xml is not None and present(xml) and time.monotonic() < deadline:
                    libvirt.virEventRunDefaultImpl()
                    xml = self.xml()
            finally:
                libvirt.virEventRemoveTimeout(late)
        return None if xml is None or present(xml) else xml

    @contextmanager
    def _events(self) -> Iterator[None]:
        """Have the event loop return when something happens to the guest."""
        kinds = (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE)
        domain = self._connection.lookupByUUIDString(self._uuid)
        handles = [self._connection.domainEventRegisterAny(domain, kind, lambda *_: None, None) for kind in kinds]
        try:
            yield
        finally:
            for handle in handles:
                self._connection.domainEventDeregisterAny(handle)


def _description(domain: libvirt.virDomain) -> bytes:
    """Return a guest's XML, which may hold any bytes: libvirt checks those of a title as little as it encodes them."""
    try:
        xml: bytes = domain.XMLDesc().encode()
    except UnicodeDecodeError as error:
        return bytes(error.object)
    return xml


def require_write(uuid: str) -> None:
    """Have libvirt say whether this user may change a running guest. Raises HostError where not.

    It takes an element out of the guest's metadata that is never there, which needs the right to change the guest
    (the ACL of virDomainSetMetadata is domain:write).
    """
    _set_metadata(uuid, None, "proof", PROOF, "to change")


def write_requests(uuid: str, wrapper: bytes | None) -> None:
    """Put this into a running guest's metadata in the place of our element, with this user's rights.

    It waits for what else is being done to the guest. Raises HostError.
    """
    text = None if wrapper is None else wrapper.decode()
    _set_metadata(uuid, text, PREFIX, NAMESPACE, "to write the metadata of")


def _set_metadata(uuid: str, text: str | None, prefix: str, namespace: str, what: str) -> None:
    with _asking(f"{what} guest {uuid}", WHO), _opened(libvirt.open, URI) as connection:
        element, live = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_LIVE
        connection.lookupByUUIDString(uuid).setMetadata(element, text, prefix, namespace, live)


@contextmanager
def running_guest(uuid: str, uri: str = URI) -> Iterator[RunningGuest]:
    """Give a guest to ask about. Raises HostError where the daemon cannot be asked."""
    # Before the connection is opened, or it would have no events.
    libvirt.virEventRegisterDefaultImpl()
    with _asking(f"about guest {uuid}"), _opened(libvirt.open, uri) as connection:
        yield RunningGuest(connection, uuid)


@contextmanager
def _opened(how: Callable[[str], libvirt.virConnect], uri: str) -> Iterator[libvirt.virConnect]:
    # By default libvirt-python prints every error to stderr as well.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    connection = how(uri)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def _asking(what: str, remedy: str = RUNNING) -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as error:
        raise HostError(f"cannot ask libvirt {what}: {error}", remedy) from error
