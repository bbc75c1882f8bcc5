# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which of libvirt's messages matter: those that hold a guest's XML, and those about interfaces (remote_protocol.x)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum, auto

from libvirt_vepa.rpc import xdr

# REMOTE_PROGRAM and its only version.
PROGRAM, VERSION = 0x20008086, 1
OPEN, FEATURE, AUTH_LIST, AUTH_POLKIT = 1, 60, 66, 70
# What jobs call: DOMAIN_GET_XML_DESC, DOMAIN_IS_ACTIVE, DOMAIN_SET_METADATA, DOMAIN_GET_METADATA.
GET_XML, IS_ACTIVE, SET_METADATA, GET_METADATA = 14, 150, 264, 265
# REMOTE_AUTH_NONE and REMOTE_AUTH_POLKIT.
AUTHENTICATION_NONE, AUTHENTICATION_POLKIT = 0, 2
# VIR_CONNECT_RO.
READ_ONLY = 1
# VIR_ERR_ERROR, and -1 for the two numbers that an error may have.
LEVEL_ERROR, NO_NUMBERS = 2, b"\xff" * 8
# What quotes a document may be as long as one, and longer than libvirt takes.
TEXT_MAX = 4096


class Part(Enum):
    """What stands before, or instead of, a document."""

    # A string, or bytes, which look the same.
    STRING = auto()
    # A string that may be missing.
    OPTION = auto()
    DOMAIN = auto()
    # A number of eight bytes.
    HYPER = auto()
    # The document itself may be missing.
    MAYBE = auto()
    # The documents are values among typed parameters.
    PARAMETERS = auto()


STRING, OPTION, DOMAIN, HYPER, MAYBE, PARAMETERS = Part
# What one host's libvirt tells the other's about a migration; it stays between them.
COOKIE = STRING
# VIR_MIGRATE_PARAM_DEST_XML, VIR_MIGRATE_PARAM_PERSIST_XML and VIR_DOMAIN_SAVE_PARAM_DXML of libvirt-domain.h.
FIELDS = frozenset({b"destination_xml", b"persistent_xml", b"dxml"})
# Calls with a guest and a device, or its alias: DOMAIN_ATTACH_DEVICE, DOMAIN_DETACH_DEVICE, the same two with
# _FLAGS, DOMAIN_UPDATE_DEVICE_FLAGS, DOMAIN_DETACH_DEVICE_ALIAS.
ATTACH, DETACH, ATTACH_FLAGS, DETACH_FLAGS, UPDATE, DETACH_ALIAS = 8, 13, 160, 161, 174, 392
# By procedure: what stands before the document in any other call that has one.
CALLS: Mapping[int, tuple[Part, ...]] = {
    10: (),  # DOMAIN_CREATE_XML
    11: (),  # DOMAIN_DEFINE_XML
    108: (OPTION, HYPER, OPTION, HYPER),  # DOMAIN_MIGRATE_PREPARE2
    136: (STRING,),  # CONNECT_DOMAIN_XML_TO_NATIVE
    148: (HYPER, OPTION, HYPER),  # DOMAIN_MIGRATE_PREPARE_TUNNEL
    185: (DOMAIN,),  # DOMAIN_SNAPSHOT_CREATE_XML
    213: (DOMAIN, MAYBE),  # DOMAIN_MIGRATE_BEGIN3
    214: (COOKIE, OPTION, HYPER, OPTION, HYPER),  # DOMAIN_MIGRATE_PREPARE3
    215: (COOKIE, HYPER, OPTION, HYPER),  # DOMAIN_MIGRATE_PREPARE_TUNNEL3
    216: (DOMAIN, MAYBE),  # DOMAIN_MIGRATE_PERFORM3
    232: (DOMAIN, STRING, MAYBE),  # DOMAIN_SAVE_FLAGS
    233: (STRING, MAYBE),  # DOMAIN_RESTORE_FLAGS
    236: (STRING,),  # DOMAIN_SAVE_IMAGE_DEFINE_XML
    302: (DOMAIN, PARAMETERS),  # DOMAIN_MIGRATE_BEGIN3_PARAMS
    303: (PARAMETERS,),  # DOMAIN_MIGRATE_PREPARE3_PARAMS
    304: (PARAMETERS,),  # DOMAIN_MIGRATE_PREPARE_TUNNEL3_PARAMS
    305: (DOMAIN, OPTION, PARAMETERS),  # DOMAIN_MIGRATE_PERFORM3_PARAMS
    309: (),  # DOMAIN_CREATE_XML_WITH_FILES
    350: (),  # DOMAIN_DEFINE_XML_FLAGS
    389: (DOMAIN, MAYBE),  # DOMAIN_MANAGED_SAVE_DEFINE_XML
    411: (DOMAIN,),  # DOMAIN_CHECKPOINT_CREATE_XML
    440: (DOMAIN, PARAMETERS),  # DOMAIN_SAVE_PARAMS
    441: (PARAMETERS,),  # DOMAIN_RESTORE_PARAMS
}
# Procedures whose reply is a document: DOMAIN_GET_XML_DESC, CONNECT_DOMAIN_XML_FROM_NATIVE,
# DOMAIN_SNAPSHOT_GET_XML_DESC, DOMAIN_SAVE_IMAGE_GET_XML_DESC, DOMAIN_MANAGED_SAVE_GET_XML_DESC,
# DOMAIN_CHECKPOINT_GET_XML_DESC. Not those of migration: what they say is for the other host's libvirt.
REPLIES = frozenset({14, 135, 186, 235, 388, 412})


class Interface(IntEnum):
    """The calls about the host's own interfaces; a transaction of such changes holds nothing of ours."""

    COUNT = 126  # CONNECT_NUM_OF_INTERFACES
    LIST = 127  # CONNECT_LIST_INTERFACES
    BY_NAME = 128  # INTERFACE_LOOKUP_BY_NAME
    BY_MAC = 129  # INTERFACE_LOOKUP_BY_MAC_STRING
    DESCRIBE = 130  # INTERFACE_GET_XML_DESC
    DEFINE = 131  # INTERFACE_DEFINE_XML
    UNDEFINE = 132
    START = 133  # INTERFACE_CREATE
    STOP = 134  # INTERFACE_DESTROY
    COUNT_INACTIVE = 137  # CONNECT_NUM_OF_DEFINED_INTERFACES
    LIST_INACTIVE = 138  # CONNECT_LIST_DEFINED_INTERFACES
    IS_ACTIVE = 156
    LIST_ALL = 284  # CONNECT_LIST_ALL_INTERFACES


# What a read-only connection may not do: the daemon says so by itself.
WRITES = frozenset(
    {Interface.DEFINE, Interface.UNDEFINE, Interface.START, Interface.STOP}
    | {ATTACH, DETACH, ATTACH_FLAGS, DETACH_FLAGS, UPDATE, DETACH_ALIAS}
)
# REMOTE_INTERFACE_LIST_MAX.
INTERFACES_MAX = 16384


def documents_at(parts: tuple[Part, ...], payload: bytes, at: int = 0) -> tuple[int, ...]:
    """Return where in a call its documents begin, in their order; `at` is where the arguments do.

    Raises ProtocolError.
    """
    for part in parts:
        if part is Part.PARAMETERS:
            return tuple(place for field, place in xdr.string_parameters(payload, at) if field in FIELDS)
        if part is Part.MAYBE and not xdr.word_at(payload, at):
            return ()
        at = _behind(part, payload, at)
    return (at,)


def _behind(part: Part, payload: bytes, at: int) -> int:
    """Return where what follows a part begins; what follows the word that a document is there is that document."""
    match part:
        case Part.HYPER:
            return at + xdr.HYPER_BYTES
        case Part.MAYBE:
            return at + xdr.WORD.size
        case Part.OPTION:
            there = xdr.word_at(payload, at)
            return xdr.skip_string(payload, at + xdr.WORD.size) if there else at + xdr.WORD.size
        case _:
            # A domain is its name, its UUID and its number.
            return xdr.skip_string(payload, at) + (xdr.UUID_BYTES + xdr.WORD.size if part is Part.DOMAIN else 0)


def interface(name: bytes, mac: bytes) -> bytes:
    """Return a remote_nonnull_interface."""
    return xdr.string(name) + xdr.string(mac)


def interfaces_at(payload: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return name and MAC of each interface in the array that a payload begins with. Raises ProtocolError."""
    texts = xdr.strings_at(payload, xdr.WORD.size, 2 * xdr.word_at(payload, 0))
    return tuple(zip(texts[::2], texts[1::2], strict=True))


def error(code: int, domain: int, words: str, text: str) -> bytes:
    """Return an error as the daemon sends it (struct virNetMessageError).

    `code`, `domain` and `words`, which hold a `%s` for the text, are libvirt's own (libvirt/virterror.h, virerror.c).
    """
    text = text[:TEXT_MAX]
    return b"".join(
        (
            xdr.WORD.pack(code),
            xdr.WORD.pack(domain),
            xdr.optional((words % text).encode()),
            xdr.WORD.pack(LEVEL_ERROR),
            xdr.optional(None),
            xdr.optional(words.encode()),
            xdr.optional(text.encode()),
            xdr.optional(None),
            NO_NUMBERS,
            xdr.optional(None),
        )
    )
