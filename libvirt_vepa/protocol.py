"""Which of libvirt's messages carry the XML of a guest, and where in them (remote_protocol.x)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from libvirt_vepa import wire

# REMOTE_PROGRAM and its only version.
PROGRAM, VERSION = 0x20008086, 1
OPEN, FEATURE, AUTH_LIST, AUTH_POLKIT = 1, 60, 66, 70
ATTACH = (8, 160)
# REMOTE_AUTH_NONE and REMOTE_AUTH_POLKIT.
AUTHENTICATION_NONE, AUTHENTICATION_POLKIT = 0, 2
# VIR_CONNECT_RO.
READ_ONLY = 1


class Part(Enum):
    """What stands before, or instead of, a document."""

    STRING = auto()
    DOMAIN = auto()
    # The document itself may be missing.
    MAYBE = auto()


DOMAIN, STRING, MAYBE = Part.DOMAIN, Part.STRING, Part.MAYBE
# By procedure: what stands before the document in a call.
CALLS: Mapping[int, tuple[Part, ...]] = {
    8: (DOMAIN,),  # DOMAIN_ATTACH_DEVICE
    10: (),  # DOMAIN_CREATE_XML
    11: (),  # DOMAIN_DEFINE_XML
    13: (DOMAIN,),  # DOMAIN_DETACH_DEVICE
    136: (STRING,),  # CONNECT_DOMAIN_XML_TO_NATIVE
    160: (DOMAIN,),  # DOMAIN_ATTACH_DEVICE_FLAGS
    161: (DOMAIN,),  # DOMAIN_DETACH_DEVICE_FLAGS
    174: (DOMAIN,),  # DOMAIN_UPDATE_DEVICE_FLAGS
    185: (DOMAIN,),  # DOMAIN_SNAPSHOT_CREATE_XML
    232: (DOMAIN, STRING, MAYBE),  # DOMAIN_SAVE_FLAGS
    233: (STRING, MAYBE),  # DOMAIN_RESTORE_FLAGS
    236: (STRING,),  # DOMAIN_SAVE_IMAGE_DEFINE_XML
    309: (),  # DOMAIN_CREATE_XML_WITH_FILES
    350: (),  # DOMAIN_DEFINE_XML_FLAGS
    389: (DOMAIN, MAYBE),  # DOMAIN_MANAGED_SAVE_DEFINE_XML
    411: (DOMAIN,),  # DOMAIN_CHECKPOINT_CREATE_XML
}
# Procedures whose reply is a document: DOMAIN_GET_XML_DESC, CONNECT_DOMAIN_XML_FROM_NATIVE,
# DOMAIN_SNAPSHOT_GET_XML_DESC, DOMAIN_SAVE_IMAGE_GET_XML_DESC, DOMAIN_MANAGED_SAVE_GET_XML_DESC,
# DOMAIN_CHECKPOINT_GET_XML_DESC.
REPLIES = frozenset({14, 135, 186, 235, 388, 412})


def document_at(parts: tuple[Part, ...], payload: bytes, at: int = 0) -> int | None:
    """Return where in a call its document begins, None where there is none; `at` is where the arguments do.

    Raises WireError.
    """
    for part in parts:
        if part is Part.MAYBE:
            if not wire.word_at(payload, at):
                return None
            at += wire.WORD.size
        else:
            at = wire.skip_string(payload, at)
            # A domain is its name, its UUID and its number.
            at += wire.UUID_BYTES + wire.WORD.size if part is Part.DOMAIN else 0
    return at
