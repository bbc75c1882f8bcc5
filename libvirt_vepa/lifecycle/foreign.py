# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the devices of a guest, whosever it is, would take of a guest that runs: judged when it starts.

libvirt opens a macvtap, or a tap with several queues, for a second guest too, puts a `direct` interface beside it, and
takes a VF from under it. The document is what libvirt has written. It is read as bytes, for what a guest's metadata
holds may be no XML: libvirt writes <devices> once and behind the metadata, and escapes every text in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from libvirt_vepa.errors import error_context
from libvirt_vepa.kernel import pci
from libvirt_vepa.store.store import VF, Store, taken

# What a device of the host is named by in an interface.
NAMING = (b"target ", b"source ")
# How libvirt writes each part of a PCI address: domain, bus, slot and function.
NUMBER, PARTS = b"='0x", 4


@dataclass(frozen=True)
class Claim:
    """What a device of a guest names: leases, each by kind and key, the one that tells most first; `where` it does."""

    where: str
    leases: tuple[tuple[str, str], ...]


def reject_taken(document: bytes, store: Store) -> None:
    """Raise InUseError where a guest names what another one holds; a lease that cannot be read stops nobody."""
    uuid = _text(document.partition(b"<uuid>")[2][:36])
    for claim in _claims(document.rpartition(b"<devices>")[2]):
        holders = [store.readable_holder(*lease) for lease in claim.leases]
        others = [holder for holder in holders if holder and holder.uuid != uuid]
        # A MAC alone may be had on another network.
        if any(other.kind != "mac" for other in others):
            with error_context(claim.where):
                raise taken(others[0])


def _claims(devices: bytes) -> Iterator[Claim]:
    for piece in devices.split(b"<interface ")[1:]:
        interface = piece.partition(b"</interface>")[0]
        mac = _between(interface, b"<mac address='", b"'")
        tags = (tag for tag in interface.split(b"<") if tag.startswith(NAMING))
        for name in filter(None, (_between(tag, b" dev='", b"'") for tag in tags)):
            vf = pci.function_of(name) if "/" not in name else None
            more = ((VF, str(vf)),) if vf else ()
            yield Claim(f"interface {mac}", (("mac", mac), ("device", name), *more))
    for piece in devices.split(b"<source")[1:]:
        tag, _, content = piece.partition(b">")
        numbers = [_text(each.partition(b"'")[0]) for each in content.partition(b"</source>")[0].split(NUMBER)[1:]]
        if len(numbers) == PARTS and not tag.endswith(b"/"):
            domain, bus, slot, function = numbers
            yield Claim("hostdev", ((VF, f"{domain}:{bus}:{slot}.{function}"),))


def _between(text: bytes, before: bytes, behind: bytes) -> str:
    return _text(text.partition(before)[2].partition(behind)[0])


def _text(text: bytes) -> str:
    return text.decode(errors="replace")
