# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What becomes of a single message: its document is translated, or it is answered with an error.

What holds nothing of ours stays as it came, and so does what libvirt has stored and nobody can read.
"""

from __future__ import annotations

import syslog
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from libvirt_vepa.errors import ProtocolError, VepaError, XmlError, not_installed
from libvirt_vepa.rpc import procedures, xdr
from libvirt_vepa.rpc.message import Header, Message, Status, Type

# In our metadata's namespace and in interfaces of type 'physical'.
MARK = b"physical"
ORIGIN = "the document"
# VIR_ERR_XML_ERROR, VIR_ERR_OPERATION_FAILED and VIR_FROM_DOMAIN of libvirt/virterror.h, with libvirt's words.
XML_ERROR, FAILED = (27, "XML error: %s"), (9, "operation failed: %s")
FROM_DOMAIN = 20
# Characters of a line in the log; an error may quote a document at any length.
LOGGED = 1000


def has_document(call: Header) -> bool:
    """Tell whether a call may hold a document."""
    return call.procedure in procedures.CALLS and is_call(call)


def is_call(header: Header) -> bool:
    """Tell whether this is a call of libvirt's main program, with descriptors or without."""
    return header.type in (Type.CALL, Type.CALL_WITH_DESCRIPTORS) and _is_mains(header)


def gives_document(reply: Header) -> bool:
    """Tell whether a reply is a document. It names its procedure, and clients insist on that."""
    return reply.procedure in procedures.REPLIES and is_reply(reply) and reply.status == Status.OK


def is_reply(header: Header) -> bool:
    """Tell whether this is a reply of libvirt's main program."""
    return header.type == Type.REPLY and _is_mains(header)


def _is_mains(header: Header) -> bool:
    return (header.program, header.version) == (procedures.PROGRAM, procedures.VERSION)


def stored(call: Message) -> Message:
    """Return the call with its document as libvirt stores it, or the reply that says why that cannot be."""
    parts = procedures.CALLS.get(call.header.procedure)
    return call if parts is None else _translated(call, parts, _to_stored)


def proposed(reply: Message) -> Message:
    """Return the reply with its document as people write it, or as it is stored where a request cannot be read."""
    return _translated(reply, (), _proposed_or_stored)


def _translated(message: Message, parts: tuple[procedures.Part, ...], into: Callable[[bytes, str], bytes]) -> Message:
    payload, begin = message.payload, xdr.WORD.size if message.header.with_descriptors else 0
    try:
        documents = [(at, xdr.string_at(payload, at)) for at in procedures.documents_at(parts, payload, begin)]
    except ProtocolError:
        # Whoever gets it may understand it, or say what is wrong.
        return message
    try:
        # From the end, so that those before stay where they are.
        for at, document in reversed(documents):
            if MARK in document:
                payload = xdr.with_string(payload, at, into(document, ORIGIN))
        return replace(message, payload=payload)
    except VepaError as error:
        return refusal(message, error)


def _to_stored(document: bytes, origin: str) -> bytes:
    with loading():
        from libvirt_vepa.xml import translate
    return translate.to_stored(document, origin)


def _proposed_or_stored(document: bytes, origin: str) -> bytes:
    with loading():
        from libvirt_vepa.xml import identity, translate
    try:
        found = translate.to_proposed(document, origin)
        if len(found) > xdr.STRING_MAX:
            raise XmlError("it is too long in the proposed form", "make the guest's metadata smaller", origin)
    except XmlError as error:
        # Whoever looks at a guest, or edits it to put it right, must see what there is.
        guest = f"guest '{identity.name_of(document)}'" if document.startswith(b"<domain ") else "a reply"
        text = f"libvirt-vepa-connect: shown as libvirt stores it: {error.within(guest)}"
        syslog.syslog(syslog.LOG_WARNING, text[:LOGGED])
        return document
    return found


@contextmanager
def loading() -> Iterator[None]:
    """Import in this block what needs lxml, for the first document that needs it.

    Raises HostError where that is not installed.
    """
    try:
        yield
    except (ImportError, SyntaxError) as error:
        raise not_installed(error) from error


def refusal(message: Message, error: VepaError) -> Message:
    """Return the reply that libvirt would give for an error."""
    return error_reply(message, error, *(XML_ERROR if isinstance(error, XmlError | ProtocolError) else FAILED))


def error_reply(message: Message, error: VepaError, code: int, words: str) -> Message:
    """Return an error as the reply to a call, or instead of a reply; code and words are libvirt's."""
    return message.reply(procedures.error(code, FROM_DOMAIN, words, str(error)), Status.ERROR)
