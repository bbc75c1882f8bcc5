# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Calls about the host's interfaces: this host's definitions stand beside what the daemon's own driver knows.

To libvirt a definition is one more interface, and of two with the same name it is the one that is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from libvirt_vepa.errors import HostError, InUseError, VepaError, XmlError, printable
from libvirt_vepa.model.address import MacAddress
from libvirt_vepa.proxy import interface_view
from libvirt_vepa.proxy.interface_view import Nic
from libvirt_vepa.proxy.tasks import Task, ask, code_of, failed
from libvirt_vepa.proxy.translation import FAILED, MARK, ORIGIN, XML_ERROR
from libvirt_vepa.rpc import procedures, xdr
from libvirt_vepa.rpc.message import Message, Status
from libvirt_vepa.rpc.procedures import Interface
from libvirt_vepa.rpc.xdr import WORD
from libvirt_vepa.store import definitions
from libvirt_vepa.store.store import Store
from libvirt_vepa.xml import definition

# VIR_FROM_INTERFACE of libvirt/virterror.h; VIR_ERR_NO_SUPPORT, VIR_ERR_SYSTEM_ERROR and VIR_FROM_RPC.
DOMAIN = 26
NO_SUPPORT, SYSTEM_ERROR, FROM_RPC = 3, 38, 7
# virErrorNumber, with libvirt's words for it (virerror.c).
DENIED = (29, "operation forbidden: %s")
INVALID = (55, "Requested operation is not valid: %s")
NO_INTERFACE = (57, "Interface not found: %s")
AMBIGUOUS = (59, "multiple matching interfaces found: %s")
UNSUPPORTED = (84, "Operation not supported: %s")
# VIR_CONNECT_LIST_INTERFACES_INACTIVE and _ACTIVE, VIR_INTERFACE_DEFINE_VALIDATE of libvirt/libvirt-interface.h.
INACTIVE, ACTIVE = 1, 2
VALIDATE = 1


@dataclass(frozen=True)
class Call:
    """A call and its arguments: the texts and the numbers, in their order."""

    message: Message
    texts: tuple[bytes, ...]
    words: tuple[int, ...]

    @property
    def procedure(self) -> int:
        """What is called."""
        return self.message.header.procedure

    def refused(self, kind: tuple[int, str], text: str) -> Message:
        """Return the reply that libvirt's own driver would give for such an error."""
        code, words = kind
        return self.message.reply(procedures.error(code, DOMAIN, words, text), Status.ERROR)


def begin(message: Message) -> Task:
    """Return the job of a call in `PROCEDURES`. Raises ProtocolError where it cannot be read."""
    handle, shape = PROCEDURES[Interface(message.header.procedure)]
    return _answered(_call(message, shape), handle)


def _call(message: Message, shape: str) -> Call:
    """Read the arguments: `s` in the shape is a string, `w` a word."""
    texts, words, at = [], [], 0
    for kind in shape:
        if kind == "s":
            texts.append(xdr.string_at(message.payload, at))
            at = xdr.skip_string(message.payload, at)
        else:
            words.append(xdr.word_at(message.payload, at))
            at += WORD.size
    return Call(message, tuple(texts), tuple(words))


def _answered(call: Call, handle: Callable[[Call], Task]) -> Task:
    try:
        return (yield from handle(call))
    except VepaError as error:
        return call.refused(_kind(error), str(error))


def _kind(error: VepaError) -> tuple[int, str]:
    if isinstance(error.__cause__, PermissionError):
        return DENIED
    if isinstance(error, XmlError):
        return XML_ERROR
    return INVALID if isinstance(error, InUseError) else FAILED


# -- what the daemon knows


def _pass(call: Call) -> Task:
    """Let the daemon answer."""
    return ask(call.procedure, call.message.payload)


def _has_no_driver(reply: Message) -> bool:
    """Tell whether the daemon knows no interfaces at all.

    A daemon of its own for them (virtinterfaced) is asked by virtqemud, and may not run.
    """
    code, domain = code_of(reply), xdr.word_at(reply.payload, WORD.size)
    return code == NO_SUPPORT or (code, domain) == (SYSTEM_ERROR, FROM_RPC)


def _is_error(reply: Message) -> bool:
    """Tell whether the daemon has an answer that the client must get."""
    return failed(reply) and not _has_no_driver(reply)


# -- lists


def _names(call: Call) -> Task:
    """List the names of those that are active, or of the others, or only count them."""
    active = call.procedure in (Interface.COUNT, Interface.LIST)
    listing = Interface.LIST if active else Interface.LIST_INACTIVE
    reply = yield from ask(listing, WORD.pack(procedures.INTERFACES_MAX))
    if _is_error(reply):
        return reply
    theirs = () if failed(reply) else xdr.strings_at(reply.payload, WORD.size, xdr.word_at(reply.payload, 0))
    own = interface_view.defined()
    taken = {each.name for each in own}
    names = [*(each.name for each in own if each.active == active), *(name for name in theirs if name not in taken)]
    if not call.words:
        return call.message.reply(WORD.pack(len(names)))
    most = min(call.words[0], procedures.INTERFACES_MAX)
    return call.message.reply(xdr.array([xdr.string(name) for name in names[:most]]))


def _all(call: Call) -> Task:
    """List those that the flags ask for, or only count them."""
    needed, flags = call.words
    # Which names there are twice cannot be told from a number.
    reply = yield from ask(Interface.LIST_ALL, WORD.pack(1) + WORD.pack(flags))
    if _is_error(reply):
        return reply
    theirs = () if failed(reply) else procedures.interfaces_at(reply.payload)
    own = interface_view.defined()
    taken = {each.name for each in own}
    both = [each.encoded for each in own if _is_asked_for(each, flags)]
    both += [procedures.interface(name, mac) for name, mac in theirs if name not in taken]
    if len(both) > procedures.INTERFACES_MAX:
        raise HostError(
            f"there are more than the {procedures.INTERFACES_MAX} interfaces that libvirt lists", "list fewer"
        )
    return call.message.reply(xdr.array(both if needed else ()) + WORD.pack(len(both)))


def _is_asked_for(own: Nic, flags: int) -> bool:
    return not flags & (ACTIVE | INACTIVE) or bool(flags & (ACTIVE if own.active else INACTIVE))


# -- one of them


def _by_name(call: Call) -> Task:
    own = interface_view.find(call.texts[0])
    if own:
        return call.message.reply(own.encoded)
    reply = yield from _pass(call)
    return _not_found(call, "is called") if failed(reply) and _has_no_driver(reply) else reply


def _by_mac(call: Call) -> Task:
    """Find an interface by its MAC, which belongs to the NIC first, and then to the definitions of that NIC."""
    reply = yield from _pass(call)
    if not failed(reply) or not (_has_no_driver(reply) or code_of(reply) == NO_INTERFACE[0]):
        return reply
    wanted = _normal(call.texts[0])
    found = [own for own in interface_view.defined() if own.mac and _normal(own.mac) == wanted]
    if len(found) > 1:
        names = " and ".join(f"'{own.definition}'" for own in found)
        return call.refused(AMBIGUOUS, f"{names} have the MAC {wanted}; give a name")
    return call.message.reply(found[0].encoded) if found else _not_found(call, "has the MAC")


def _normal(mac: bytes) -> str:
    text = mac.decode(errors="replace")
    try:
        return str(MacAddress.parse(text))
    except XmlError:
        return text


def _not_found(call: Call, what: str) -> Message:
    text = call.texts[0].decode(errors="replace")
    return call.refused(NO_INTERFACE, printable(f"no interface {what} '{text}'; see 'virsh iface-list --all'"))


def _named(call: Call) -> Task:
    """Answer what is asked of an interface, where it is ours."""
    own = interface_view.find(call.texts[0])
    return OWN[Interface(call.procedure)](call, own) if own else (yield from _pass(call))


def _describe(call: Call, own: Nic) -> Message:
    return call.message.reply(xdr.string(definitions.dump(own.definition)))


def _is_active(call: Call, own: Nic) -> Message:
    return call.message.reply(WORD.pack(own.active))


def _undefine(call: Call, own: Nic) -> Message:
    from libvirt_vepa.lifecycle import undefine

    undefine.undefine(own.definition, Store())
    return call.message.reply(b"")


def _refuse_state(call: Call, own: Nic) -> Message:
    """Say that a NIC is not put up or down by another name: the hook does what a guest needs."""
    remedy = "a guest's start puts its NIC up; otherwise use 'ip link set' on the NIC itself"
    return call.refused(UNSUPPORTED, f"'{own.definition}' is the name of a NIC for guests; {remedy}")


def _define(call: Call) -> Task:
    document, flags = call.texts[0], call.words[0]
    if MARK not in document or not definition.is_physical(document, ORIGIN):
        return (yield from _pass(call))
    if flags & ~VALIDATE:
        return call.refused(UNSUPPORTED, f"flags {flags:#x} mean nothing for a physical interface; leave them out")
    from libvirt_vepa.lifecycle import define

    return call.message.reply(interface_view.shown(define.define(document, ORIGIN, Store())).encoded)


OWN: Mapping[Interface, Callable[[Call, Nic], Message]] = {
    Interface.DESCRIBE: _describe,
    Interface.UNDEFINE: _undefine,
    Interface.START: _refuse_state,
    Interface.STOP: _refuse_state,
    Interface.IS_ACTIVE: _is_active,
}
# What answers a call, and what its arguments are.
PROCEDURES: Mapping[Interface, tuple[Callable[[Call], Task], str]] = {
    Interface.COUNT: (_names, ""),
    Interface.LIST: (_names, "w"),
    Interface.COUNT_INACTIVE: (_names, ""),
    Interface.LIST_INACTIVE: (_names, "w"),
    Interface.LIST_ALL: (_all, "ww"),
    Interface.BY_NAME: (_by_name, "s"),
    Interface.BY_MAC: (_by_mac, "s"),
    Interface.DESCRIBE: (_named, "ssw"),
    Interface.DEFINE: (_define, "sw"),
    Interface.UNDEFINE: (_named, "ss"),
    Interface.START: (_named, "ssw"),
    Interface.STOP: (_named, "ssw"),
    Interface.IS_ACTIVE: (_named, "ss"),
}
