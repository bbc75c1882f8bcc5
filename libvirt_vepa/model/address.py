# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Addresses as values: of a station on the Ethernet, of a function on the PCI bus; and what names a NIC."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from libvirt_vepa.errors import XmlError

MAC_PATTERN = re.compile(r"[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2}){5}")
# libvirt's own range, QEMU_VIR_MAC_PREFIX in libvirt's virmacaddr.c.
GENERATED_PREFIX = (0x52, 0x54, 0x00)
PCI_PATTERN = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([01][0-9a-f])\.([0-7])")


@dataclass(frozen=True, order=True)
class MacAddress:
    """An Ethernet address: six octets, written as six lower-case pairs."""

    octets: tuple[int, int, int, int, int, int]

    @classmethod
    def parse(cls, text: str) -> MacAddress:
        """Read an address as libvirt's virMacAddrParse does: one or two digits between colons."""
        if not MAC_PATTERN.fullmatch(text):
            raise XmlError(f"'{text}' is not a MAC address", "write six hexadecimal pairs, as in 52:54:00:aa:bb:cc")
        one, two, three, four, five, six = (int(pair, 16) for pair in text.split(":"))
        return cls((one, two, three, four, five, six))

    @classmethod
    def of_station(cls, text: str) -> MacAddress:
        """Read an address that a guest may have."""
        mac = cls.parse(text)
        if mac.is_multicast or mac.is_zero:
            raise XmlError(f"{mac} is not the MAC of a single station", "give a unicast MAC, as in 52:54:00:aa:bb:cc")
        return mac

    @classmethod
    def generate(cls) -> MacAddress:
        """Return a random address in the range that libvirt uses for guests."""
        four, five, six = secrets.token_bytes(3)
        return cls((*GENERATED_PREFIX, four, five, six))

    @property
    def is_multicast(self) -> bool:
        """Whether the group bit is set (IEEE 802, first bit on the wire)."""
        return bool(self.octets[0] & 1)

    @property
    def is_zero(self) -> bool:
        """Whether all octets are zero, which no station may have."""
        return not any(self.octets)

    @property
    def digits(self) -> str:
        """The twelve hexadecimal digits without colons."""
        return "".join(f"{octet:02x}" for octet in self.octets)

    @property
    def for_tap(self) -> MacAddress:
        """The address of the host's side of a tap: first octet fe, as libvirt's virNetDevTapCreateInBridgePort does.

        The bridge would deliver the guest's frames to the host if the tap had the
        guest's own address, and would take over a tap's address that is lower than its own.
        """
        return MacAddress((0xFE, *self.octets[1:]))

    def __str__(self) -> str:
        return ":".join(f"{octet:02x}" for octet in self.octets)


@dataclass(frozen=True, order=True)
class PciAddress:
    """Where a function of a PCI card is, written as the kernel does: 0000:01:10.3."""

    domain: int
    bus: int
    slot: int
    function: int

    @classmethod
    def parse(cls, text: str) -> PciAddress:
        """Read an address as /sys/bus/pci/devices and lspci -D write it."""
        found = PCI_PATTERN.fullmatch(text.lower())
        if not found:
            raise XmlError(f"'{text}' is not a PCI address", "write it as 'lspci -D' does, as in 0000:01:00.0")
        domain, bus, slot, function = (int(part, 16) for part in found.groups())
        return cls(domain, bus, slot, function)

    def __str__(self) -> str:
        return f"{self.domain:04x}:{self.bus:02x}:{self.slot:02x}.{self.function}"


class NicKey(str):
    """What names a NIC or a VF whatever it is called by now: its PCI address, or its name where it is no PCI function.

    It is a text, as the journal, the names of the locks and those of the filters hold it. "" names nothing.
    """

    __slots__ = ()

    @property
    def address(self) -> PciAddress | None:
        """The PCI address, None for a name: the kernel lets no name have a colon (dev_valid_name in net/core/dev.c)."""
        return PciAddress.parse(self) if ":" in self else None
