# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a VF is set to, in iproute2's words, as values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from libvirt_vepa.errors import XmlError

# IFLA_VF_RATE of linux/if_link.h has 32 bits for each rate. VLANs 0 and 4095 are reserved (IEEE 802.1Q).
RATE_MOST = 2**32 - 1
VLAN_MOST = 4094
NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")

W = TypeVar("W", bound=Enum)


def one_of(words: type[W], what: str, text: str) -> W:
    """Return the word that is written like that; XmlError with all that there are where none is."""
    for word in words:
        if word.value == text:
            return word
    *others, last = (word.value for word in words)
    raise XmlError(f"unknown {what} '{text}'", f"use {', '.join(others)} or {last}")


def number(what: str, least: int, most: int) -> Callable[[str], int]:
    """Return what reads such a number; it raises XmlError for anything else."""

    def read(text: str) -> int:
        if not NUMBER.fullmatch(text) or not least <= int(text) <= most:
            raise XmlError(f"{what} '{text}' is no number from {least} to {most}", "write one in decimal digits")
        return int(text)

    return read


def _switch(what: str) -> Callable[[str], bool]:
    def read(text: str) -> bool:
        if text not in ("on", "off"):
            raise XmlError(f"{what} '{text}' is neither on nor off", "write one of them")
        return text == "on"

    return read


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


# How documents write a VF's settings, in the order in which they are written; a VLAN is an element of its own.
read_vlan = number("VLAN", 1, VLAN_MOST)
READERS: Mapping[str, Callable[[str], Any]] = {
    "spoofchk": _switch("spoofchk"),
    "trust": _switch("trust"),
    "state": LinkState.parse,
    "min_tx_rate": number("min_tx_rate", 0, RATE_MOST),
    "max_tx_rate": number("max_tx_rate", 0, RATE_MOST),
    "qos": number("qos", 0, 7),
    "proto": VlanProtocol.parse,
}


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

    @classmethod
    def parse(cls, words: Mapping[str, str], vlan: str | None = None) -> VfSettings:
        """Read the settings that a document gives by their names, and its VLAN. Raises XmlError."""
        unknown = [name for name in words if name not in READERS]
        if unknown:
            raise XmlError(f"a VF has no setting '{unknown[0]}'", f"use {', '.join(READERS)}")
        values = {name: READERS[name](text) for name, text in words.items()}
        return cls(vlan=None if vlan is None else read_vlan(vlan), **values).checked()

    def checked(self) -> VfSettings:
        """Return these where they go together; XmlError where they do not."""
        if self.min_tx_rate and self.max_tx_rate and self.min_tx_rate > self.max_tx_rate:
            what = f"min_tx_rate {self.min_tx_rate} is above max_tx_rate {self.max_tx_rate}"
            raise XmlError(what, "lower the one or raise the other")
        return self

    @property
    def words(self) -> dict[str, str]:
        """The settings as documents write them, without the VLAN: what `parse` reads."""
        given = ((name, getattr(self, name)) for name in READERS)
        return {name: _word(value) for name, value in given if value is not None}

    def over(self, other: VfSettings) -> VfSettings:
        """Return these, and from the other what is left out here."""
        both = ((name, mine, getattr(other, name)) for name, mine in vars(self).items())
        return VfSettings(**{name: theirs if mine is None else mine for name, mine, theirs in both})


def _word(value: Enum | bool | int) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value.value if isinstance(value, Enum) else value)


# What sets nothing.
UNSET = VfSettings()
