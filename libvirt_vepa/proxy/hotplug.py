# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Attaching, detaching and changing a guest's interfaces: libvirt runs no hook for these, so the connection acts.

The helper writes the request into the running guest's metadata and makes the device, then libvirt attaches it; what
fails takes back what was done before it. A device goes once libvirt says that the guest has given it back. What the
guest will start with is written here, by the client's own connection.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from libvirt_vepa.errors import HostError, error_context
from libvirt_vepa.model.interface import NAMESPACE, PREFIX
from libvirt_vepa.proxy import tasks
from libvirt_vepa.proxy.tasks import DaemonCall, HelperRequest, HelperResponse, Task
from libvirt_vepa.proxy.translation import ORIGIN
from libvirt_vepa.rpc import procedures, xdr
from libvirt_vepa.rpc.message import Message
from libvirt_vepa.xml import metadata, translate

# virDomainModificationImpact and virDomainXMLFlags of libvirt/libvirt-domain.h.
LIVE, CONFIG = 1, 2
INACTIVE = 2
# VIR_DOMAIN_METADATA_ELEMENT of the same, and VIR_ERR_NO_DOMAIN_METADATA of libvirt/virterror.h.
ELEMENT, NO_METADATA = 2, 80

T = TypeVar("T")
Steps = Generator[DaemonCall | HelperRequest, Message | HelperResponse, T]


class Refused(Exception):
    """The daemon has refused something; its reply is the client's."""

    def __init__(self, reply: Message) -> None:
        super().__init__()
        self.reply = reply


@dataclass(frozen=True)
class Change:
    """A call that changes a guest's devices: the guest, the document or the alias, and how far it goes."""

    call: Message
    domain: bytes
    text: bytes
    flags: bytes

    @classmethod
    def read(cls, call: Message) -> Change:
        """Take a call apart. Raises ProtocolError."""
        at = xdr.skip_string(call.payload, 0) + xdr.UUID_BYTES + xdr.WORD.size
        end = xdr.skip_string(call.payload, at)
        return cls(call, call.payload[:at], xdr.string_at(call.payload, at), call.payload[end:])

    @property
    def guest(self) -> str:
        """The guest's UUID."""
        end = len(self.domain) - xdr.WORD.size
        return str(UUID(bytes=self.domain[end - xdr.UUID_BYTES : end]))

    def forward(self, text: bytes) -> Task:
        """Pass the call on with this in its document's place. Raises Refused."""
        return _must(self.call.header.procedure, self.domain + xdr.string(text) + self.flags)

    def scopes(self) -> Steps[tuple[int, ...]]:
        """Return what is changed: CONFIG, LIVE or both. Raises Refused."""
        # A call without flags is the older one, which changes the running guest only.
        flags = xdr.word_at(self.flags, 0) if self.flags else LIVE
        if not flags & (LIVE | CONFIG):
            reply = yield from _must(procedures.IS_ACTIVE, self.domain)
            flags = LIVE if xdr.word_at(reply.payload, 0) else CONFIG
        return tuple(scope for scope in (CONFIG, LIVE) if flags & scope)

    def requests(self, scope: int) -> Steps[dict[str, bytes]]:
        """Return the requests in the guest's metadata. Raises Refused."""
        words = xdr.WORD.pack(ELEMENT) + xdr.optional(NAMESPACE.encode()) + xdr.WORD.pack(scope)
        reply = yield from tasks.ask(procedures.GET_METADATA, self.domain + words)
        if not tasks.failed(reply):
            return metadata.read(xdr.string_at(reply.payload, 0))
        if tasks.code_of(reply) == NO_METADATA:
            return {}
        raise Refused(reply)

    def write(self, requests: dict[str, bytes]) -> Task:
        """Put these requests into the metadata of the guest as it will start. Raises Refused.

        Those of the guest that runs are written by the helper alone.
        """
        words = xdr.WORD.pack(ELEMENT) + xdr.optional(metadata.write(requests))
        words += xdr.optional(PREFIX.encode()) + xdr.optional(NAMESPACE.encode()) + xdr.WORD.pack(CONFIG)
        return _must(procedures.SET_METADATA, self.domain + words)

    def put(self, alias: str, request: bytes | None) -> Steps[bytes | None]:
        """Put one request in, or take it out, and return what was there. Raises Refused."""
        requests = yield from self.requests(CONFIG)
        before = requests.pop(alias, None)
        if request is not None:
            requests[alias] = request
        if request != before:
            yield from self.write(requests)
        return before


def attach(call: Message) -> Task | None:
    """Attach a physical interface; None for what is none. Raises XmlError for what cannot be meant.

    The task raises HostError for what cannot be had.
    """
    return _begun(call, _attach)


def update(call: Message) -> Task | None:
    """Change a physical interface; otherwise as `attach`."""
    return _begun(call, _update)


def _begun(call: Message, steps: Callable[[Change, bytes, str, bytes], Task]) -> Task | None:
    """Return what is to be done with the change, the legal interface, its alias and request; None for another's."""
    change = Change.read(call)
    if not translate.is_proposed(change.text, ORIGIN):
        return None
    interface, wrapper = translate.split(change.text, ORIGIN)
    ((alias, request),) = metadata.read(wrapper).items()
    return _or_refusal(steps(change, interface, alias, request))


def _attach(change: Change, interface: bytes, alias: str, request: bytes) -> Task:
    scopes = yield from change.scopes()
    if LIVE not in scopes:
        return (yield from _configured(change, interface, alias, request))
    wrapper = metadata.write({alias: request}) or b""
    yield from _request("attach", guest=change.guest, request=wrapper.decode())
    try:
        reply = yield from (_configured if CONFIG in scopes else _forwarded)(change, interface, alias, request)
    except (Refused, HostError):
        # What does not succeed must not hide why it had to be.
        with suppress(HostError):
            yield from _request("rollback")
        raise
    yield from _request("commit")
    return reply


def _forwarded(change: Change, interface: bytes, _alias: str, _request: bytes) -> Task:
    return change.forward(interface)


def _configured(change: Change, interface: bytes, alias: str, request: bytes) -> Task:
    """Write the request of the guest as it will start, pass the call on, and take the request back where that fails."""
    before = yield from change.put(alias, metadata.without_device(request))
    try:
        return (yield from change.forward(interface))
    except Refused:
        with suppress(Refused):
            yield from change.put(alias, before)
        raise


def _update(change: Change, interface: bytes, alias: str, request: bytes) -> Task:
    scopes = yield from change.scopes()
    if LIVE in scopes:
        there = (yield from change.requests(LIVE)).get(alias, request)
        if metadata.without_device(there) != metadata.without_device(request):
            what = "name, type, mode, vlan and vf of an interface cannot change while the guest runs"
            raise HostError(what, "detach it and attach it anew, or change only --config")
    return (yield from (_configured if CONFIG in scopes else _forwarded)(change, interface, alias, request))


def detach(call: Message) -> Task | None:
    """Detach an interface, in whichever form it is given; None for another device. Raises XmlError."""
    change = Change.read(call)
    device = translate.to_stored(change.text, ORIGIN)
    name = metadata.name_of(device)
    return None if name is None else _or_refusal(_detach(change, device, name))


def detach_alias(call: Message) -> Task:
    """Detach the device with an alias."""
    change = Change.read(call)
    return _or_refusal(_detach(change, change.text, change.text.decode(errors="replace")))


def _detach(change: Change, device: bytes, name: str) -> Task:
    scopes = yield from change.scopes()
    ours = LIVE in scopes and (yield from change.requests(LIVE))
    if ours:
        yield from _request("detach", guest=change.guest)
    reply = yield from change.forward(device)
    if CONFIG in scopes:
        # What is not tidied is only not needed any more.
        with suppress(Refused):
            yield from _drop_requests(change)
    if ours:
        with error_context("it is detached, but"):
            yield from _request("await_removal", name=name)
    return reply


def _drop_requests(change: Change) -> Steps[None]:
    """Drop the requests of the persistent guest that have no interface any more. Raises Refused."""
    reply = yield from _must(procedures.GET_XML, change.domain + xdr.WORD.pack(INACTIVE))
    there, needed = metadata.kept(xdr.string_at(reply.payload, 0))
    if there != needed:
        yield from change.write(needed)


def _must(procedure: int, payload: bytes) -> Task:
    """Call the daemon. Raises Refused."""
    reply = yield from tasks.ask(procedure, payload)
    if tasks.failed(reply):
        raise Refused(reply)
    return reply


def _request(word: str, **values: str) -> Steps[None]:
    """Have the helper do something. Raises HostError."""
    response = yield from tasks.run(word, **values)
    if "error" in response:
        raise HostError(str(response["error"]), str(response.get("remedy", "")))


def _or_refusal(action: Task) -> Task:
    try:
        return (yield from action)
    except Refused as refused:
        return refused.reply
