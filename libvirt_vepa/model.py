"""The words of this project as values: addresses, modes, definitions, requests.

Nothing here touches the host. Text becomes one of these once, at the edge, with an
error that names the text.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from libvirt_vepa.errors import XmlError

# IFNAMSIZ in linux/if.h is 16, the closing NUL included.
DEVICE_NAME_BYTES = 15
MAC_PATTERN = re.compile(r"[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2}){5}")
DEFINITION_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")
# libvirt's own range, QEMU_VIR_MAC_PREFIX in libvirt's virmacaddr.c.
GENERATED_PREFIX = (0x52, 0x54, 0x00)
# What requests are written in; the number is the version of their form.
NAMESPACE = "urn:libvirt-vepa:physical:1"
DEVICE_PREFIX = "vp"
ALIAS_PREFIX = "ua-physical-"


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


W = TypeVar("W", bound=Enum)


def _one_of(words: type[W], what: str, text: str) -> W:
    """Return the word that is written like that; XmlError with all that there are where none is."""
    for word in words:
        if word.value == text:
            return word
    *others, last = (word.value for word in words)
    raise XmlError(f"unknown {what} '{text}'", f"use {', '.join(others)} or {last}")


class Mode(Enum):
    """Where a guest's frames to its neighbours go."""

    VEPA = "vepa"
    PEPA = "pepa"
    BRIDGE = "bridge"

    @classmethod
    def parse(cls, text: str) -> Mode:
        """Read a mode; `veb` means bridge and `private` means pepa."""
        return _one_of(cls, "mode", {"veb": "bridge", "private": "pepa"}.get(text, text))

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
        return _one_of(cls, "type", text)


class GuestType(Enum):
    """What kind of device a guest is given."""

    MACVTAP = "macvtap"
    TAP = "tap"

    @classmethod
    def parse(cls, text: str) -> GuestType:
        """Read the type of a request."""
        return _one_of(cls, "type", text)


PCI_PATTERN = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([01][0-9a-f])\.([0-7])")


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


class LinkState(Enum):
    """What a VF is told of its link, in iproute2's words (IFLA_VF_LINK_STATE_* of linux/if_link.h)."""

    AUTO = "auto"
    ENABLE = "enable"
    DISABLE = "disable"

    @classmethod
    def parse(cls, text: str) -> LinkState:
        """Read a link state."""
        return _one_of(cls, "link state", text)


class VlanProtocol(Enum):
    """How a VF's frames are tagged, in iproute2's words (ETH_P_8021Q and ETH_P_8021AD of linux/if_ether.h)."""

    DOT1Q = "802.1Q"
    DOT1AD = "802.1ad"

    @classmethod
    def parse(cls, text: str) -> VlanProtocol:
        """Read the protocol of a VLAN."""
        return _one_of(cls, "VLAN protocol", text)


@dataclass(frozen=True)
class VfSettings:
    """What a VF is set to beside its MAC, each as `ip link set NIC vf N` calls it; None is what is left as it is.

    `vlan` 0 is none, `qos` its priority. Rates are in Mbit/s, 0 is no limit.
    """

    vlan: int | None = None
    qos: int | None = None
    proto: VlanProtocol | None = None
    spoofchk: bool | None = None
    trust: bool | None = None
    state: LinkState | None = None
    min_tx_rate: int | None = None
    max_tx_rate: int | None = None

    def over(self, other: VfSettings) -> VfSettings:
        """Return these, and from the other what is left out here."""
        both = ((name, mine, getattr(other, name)) for name, mine in vars(self).items())
        return VfSettings(**{name: theirs if mine is None else mine for name, mine, theirs in both})


@dataclass(frozen=True)
class HostInterface:
    """A NIC as the host's administrator named it: one file in /etc/libvirt/vepa.

    `device` is its name, which may be an alternative one; it is empty where the definition gives
    its MAC or its PCI address instead. `modes` is what the definition lists, in its order; empty means
    all. `bridge` is the Linux bridge that a tap joins; None means the one that the NIC is a port of.
    `vf` is what the VFs of an sr-iov NIC are set to unless a guest asks otherwise, `vf_range` the numbers of
    those that guests may have (first and last; None is all), `vf_count` how many are made where there are none.
    """

    name: str
    device: str
    type: HostType
    modes: tuple[Mode, ...] = ()
    bridge: str | None = None
    mac: MacAddress | None = None
    address: PciAddress | None = None
    vf: VfSettings = VfSettings()
    vf_range: tuple[int, int] | None = None
    vf_count: int | None = None

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
    vf: VfSettings = VfSettings()
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
    """Return `text` if the kernel would take it as a network device's name (dev_valid_name in net/core/dev.c).

    Stricter than the kernel in two points: `%` would be a pattern for libvirt and the kernel,
    and only printable ASCII is accepted.
    """
    bad = not text or text in (".", "..") or len(text.encode()) > DEVICE_NAME_BYTES
    if bad or re.search(r"[^!-~]|[/:%]", text):
        raise XmlError(
            f"'{text}' cannot be the name of a network device",
            f"use 1 to {DEVICE_NAME_BYTES} characters without blanks, '/', ':' or '%'",
        )
    return text


def check_definition_name(text: str) -> str:
    """Return `text` if it can name a definition, which is also a file's name."""
    if not DEFINITION_NAME.fullmatch(text):
        raise XmlError(
            f"'{text}' cannot be the name of a physical interface",
            "use up to 64 letters, digits, '_', '.', '+' or '-', not beginning with '.', '+' or '-'",
        )
    return text
