# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The words of this project as values: modes, definitions, requests.

Nothing here touches the host. Text becomes one of these once, at the edge, with an
error that names the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from libvirt_vepa.errors import XmlError
from libvirt_vepa.model.address import MacAddress, PciAddress
from libvirt_vepa.model.vf_settings import UNSET, VfSettings, one_of

# IFNAMSIZ in linux/if.h is 16, the closing NUL included.
DEVICE_NAME_BYTES = 15
# ALTIFNAMSIZ in linux/if.h is 128, the closing NUL included.
ALTERNATIVE_NAME_BYTES = 127
# What neither a shell, udev's rules nor a program's options take for anything else.
GUEST_DEVICE_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")
DEFINITION_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")
# What requests are written in; the number is the version of their form.
NAMESPACE = "urn:libvirt-vepa:physical:1"
# Its prefix, also in the stylesheets.
PREFIX = "physical"
DEVICE_PREFIX = "vp"
ALIAS_PREFIX = "ua-physical-"


class Mode(Enum):
    """Where a guest's frames to its neighbours go."""

    VEPA = "vepa"
    PEPA = "pepa"
    BRIDGE = "bridge"

    @classmethod
    def parse(cls, text: str) -> Mode:
        """Read a mode; `veb` means bridge and `private` means pepa."""
        return one_of(cls, "mode", {"veb": "bridge", "private": "pepa"}.get(text, text))

    @property
    def kernel(self) -> str:
        """The name of the macvlan mode in iproute2 and linux/if_link.h (MACVLAN_MODE_*)."""
        return "private" if self is Mode.PEPA else self.value


class HostType(Enum):
    """What a NIC is on this host."""

    ETHERNET = "ethernet"
    SRIOV = "sr-iov"
    VMDQ = "vmdq"

    @classmethod
    def parse(cls, text: str) -> HostType:
        """Read the type of a definition."""
        return one_of(cls, "type", text)


class GuestType(Enum):
    """What kind of device a guest is given."""

    MACVTAP = "macvtap"
    TAP = "tap"

    @classmethod
    def parse(cls, text: str) -> GuestType:
        """Read the type of a request."""
        return one_of(cls, "type", text)


@dataclass(frozen=True)
class NicDefinition:
    """A NIC as the host's administrator named it: one file in /etc/libvirt/vepa.

    `device` is its name, which may be an alternative one; it is empty where the definition gives
    its MAC or its PCI address instead. `modes` is what the definition lists, in its order; empty means
    all. `bridge` is the Linux bridge that a tap joins; None means the one that the NIC is a port of.
    `vf` is what the VFs of an sr-iov NIC are set to, and no guest may ask for more, `vf_range` the numbers of
    those that guests may have (first and last; None is all), `vf_count` how many are made where there are none.
    """

    name: str
    device: str
    type: HostType
    modes: tuple[Mode, ...] = ()
    bridge: str | None = None
    mac: MacAddress | None = None
    address: PciAddress | None = None
    vf: VfSettings = UNSET
    vf_range: tuple[int, int] | None = None
    vf_count: int | None = None

    @property
    def source(self) -> str:
        """How lists and messages name the NIC: as the definition does."""
        return self.device or str(self.mac or self.address)

    @property
    def allowed(self) -> tuple[Mode, ...]:
        """The modes that a guest may ask for; the first one is the default."""
        return self.modes or tuple(Mode)

    def mode_for(self, guest_type: GuestType, asked: Mode | None) -> Mode:
        """Return the mode that a request gets: what it asked, else bridge for a tap and the default for a macvtap."""
        if asked is not None:
            return asked
        return Mode.BRIDGE if guest_type is GuestType.TAP else self.allowed[0]


@dataclass(frozen=True)
class Request:
    """One guest interface that asks for a NIC by name, as the stored domain XML holds it.

    `mode` is None where the guest left the choice to the host. `mtu` (bytes) is None where
    the guest names none. `queues` counts transmit and receive pairs. `vf` is what it asks of a VF
    (its VLAN too). `outbound` is the average that <bandwidth> allows it, in kilobytes a second, None where it has no
    bound. `line` is where the interface begins in the document, 0 where that is not known.
    """

    alias: str
    name: str
    type: GuestType
    mode: Mode | None
    mac: MacAddress
    device: str
    mtu: int | None = None
    queues: int = 1
    line: int = 0
    vf: VfSettings = UNSET
    outbound: int | None = None

    @property
    def where(self) -> str:
        """How messages name this interface."""
        return f"interface {self.mac} (line {self.line})" if self.line else f"interface {self.mac}"


@dataclass(frozen=True)
class Guest:
    """A domain and what it asks of physical NICs."""

    name: str
    uuid: str
    requests: tuple[Request, ...]

    @property
    def where(self) -> str:
        """How messages name this guest."""
        return f"guest '{self.name}'"


def derived_device(mac: MacAddress) -> str:
    """Return the name of the host's device for a guest's MAC: `vp` and its twelve digits."""
    return DEVICE_PREFIX + mac.digits


def derived_alias(mac: MacAddress) -> str:
    """Return the alias that ties an interface to its request where the user chose none."""
    return ALIAS_PREFIX + mac.digits


def check_device_name(text: str) -> str:
    """Return `text` if a guest's device may be called that; XmlError where it may not.

    A guest names its device itself, and the name is printed in commands to paste.
    """
    if text in (".", "..") or len(text) > DEVICE_NAME_BYTES or not GUEST_DEVICE_NAME.fullmatch(text):
        raise XmlError(
            f"'{text}' cannot be the name of a guest's device",
            f"use up to {DEVICE_NAME_BYTES} letters, digits, '_', '.' or '-', not beginning with '-'",
        )
    return text


def check_host_device_name(text: str, most: int = DEVICE_NAME_BYTES) -> str:
    """Return `text` if the kernel would take it as a network device's name (dev_valid_name in net/core/dev.c).

    It is for devices of the host, which have their names already. Stricter than the kernel in two points: `%` would be
    a pattern for libvirt and the kernel, and only printable ASCII is accepted.
    """
    bad = not text or text in (".", "..") or len(text.encode()) > most
    if bad or re.search(r"[^!-~]|[/:%]", text):
        raise XmlError(
            f"'{text}' cannot be the name of a network device",
            f"use 1 to {most} characters without blanks, '/', ':' or '%'",
        )
    return text


def check_nic_name(text: str) -> str:
    """Return `text` if it can name a NIC that is there already, to which an alternative name may have been given."""
    return check_host_device_name(text, ALTERNATIVE_NAME_BYTES)


def check_definition_name(text: str) -> str:
    """Return `text` if it can name a definition, which is also a file's name."""
    if not DEFINITION_NAME.fullmatch(text):
        raise XmlError(
            f"'{text}' cannot be the name of a physical interface",
            "use up to 64 letters, digits, '_', '.', '+' or '-', not beginning with '.', '+' or '-'",
        )
    return text
