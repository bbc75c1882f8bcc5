"""What a VF is set to, in iproute2's words, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from libvirt_vepa.errors import XmlError

W = TypeVar("W", bound=Enum)


def one_of(words: type[W], what: str, text: str) -> W:
    """Return the word that is written like that; XmlError with all that there are where none is."""
    for word in words:
        if word.value == text:
            return word
    *others, last = (word.value for word in words)
    raise XmlError(f"unknown {what} '{text}'", f"use {', '.join(others)} or {last}")


class LinkState(Enum):
    """What a VF is told of its link, in iproute2's words (IFLA_VF_LINK_STATE_* of linux/if_link.h)."""

    AUTO = "auto"
    ENABLE = "enable"
    DISABLE = "disable"

    @classmethod
    def parse(cls, text: str) -> LinkState:
        """Read a link state."""
        return one_of(cls, "link state", text)


class VlanProtocol(Enum):
    """How a VF's frames are tagged, in iproute2's words (ETH_P_8021Q and ETH_P_8021AD of linux/if_ether.h)."""

    DOT1Q = "802.1Q"
    DOT1AD = "802.1ad"

    @classmethod
    def parse(cls, text: str) -> VlanProtocol:
        """Read the protocol of a VLAN."""
        return one_of(cls, "VLAN protocol", text)


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


# What sets nothing.
UNSET = VfSettings()
