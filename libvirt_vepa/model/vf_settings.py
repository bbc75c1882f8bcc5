# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a VF is set to, in iproute2's words, as values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
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


VLAN, RATE = "vlan", "rate"


@dataclass(frozen=True)
class VfAttribute:
    """How one setting of a VF is read from a document, and its attribute in netlink (IFLA_VF_* of linux/if_link.h).

    `group` names what is set in one with others, "" what is set by itself.
    """

    read: Callable[[str], Any]
    netlink: int
    group: str = ""


def _row(read: Callable[[str], Any], netlink: int, group: str = "") -> dict[str, VfAttribute]:
    return {"attribute": VfAttribute(read, netlink, group)}


@dataclass(frozen=True)
class VfSettings:
    """What a VF is set to beside its MAC, each as `ip link set NIC vf N` calls it; None is what is left as it is.

    They are in the order in which they are set: Intel's cards need the spoof check right after the MAC.

    `vlan` 0 is none, `qos` its priority. Rates are in Mbit/s, 0 is no limit.
    """

    vlan: int | None = field(default=None, metadata=_row(number("VLAN", 1, VLAN_MOST), 2, VLAN))
    qos: int | None = field(default=None, metadata=_row(number("qos", 0, 7), 2, VLAN))
    proto: VlanProtocol | None = field(default=None, metadata=_row(VlanProtocol.parse, 12, VLAN))
    spoofchk: bool | None = field(default=None, metadata=_row(_switch("spoofchk"), 4))
    trust: bool | None = field(default=None, metadata=_row(_switch("trust"), 9))
    state: LinkState | None = field(default=None, metadata=_row(LinkState.parse, 5))
    min_tx_rate: int | None = field(default=None, metadata=_row(number("min_tx_rate", 0, RATE_MOST), 6, RATE))
    max_tx_rate: int | None = field(default=None, metadata=_row(number("max_tx_rate", 0, RATE_MOST), 6, RATE))

    @classmethod
    def parse(cls, words: Mapping[str, str], vlan: str | None = None) -> VfSettings:
        """Read the settings that a document gives by their names, and its VLAN. Raises XmlError."""
        unknown = [name for name in words if name not in READERS]
        if unknown:
            raise XmlError(f"a VF has no setting '{unknown[0]}'", f"use {', '.join(READERS)}")
        values = {name: READERS[name](text) for name, text in words.items()}
        return cls(vlan=None if vlan is None else ATTRIBUTES[VLAN].read(vlan), **values).validated()

    def validated(self) -> VfSettings:
        """Return these where they go together; XmlError where they do not."""
        if self.min_tx_rate and self.max_tx_rate and self.min_tx_rate > self.max_tx_rate:
            what = f"min_tx_rate {self.min_tx_rate} is above max_tx_rate {self.max_tx_rate}"
            raise XmlError(what, "lower the one or raise the other")
        return self

    @property
    def to_attributes(self) -> dict[str, str]:
        """The settings as documents write them, without the VLAN: what `parse` reads."""
        given = ((name, getattr(self, name)) for name in READERS)
        return {name: _word(value) for name, value in given if value is not None}

    def merged_over(self, other: VfSettings) -> VfSettings:
        """Return these, and from the other what is left out here."""
        both = ((name, mine, getattr(other, name)) for name, mine in vars(self).items())
        return VfSettings(**{name: theirs if mine is None else mine for name, mine, theirs in both})

    @property
    def binding(self) -> VfSettings:
        """These as they bind a guest: a VLAN is one of its protocol, where the same number is another network."""
        return self if self.vlan is None else self.merged_over(VfSettings(proto=VlanProtocol.DOT1Q))

    @property
    def restrictions(self) -> VfSettings:
        """Of these what keeps a guest from something that nothing else keeps it from."""
        return VfSettings(
            vlan=self.vlan,
            spoofchk=self.spoofchk or None,
            trust=self.trust and None,
            max_tx_rate=self.max_tx_rate or None,
        )

    def excess(self, bound: VfSettings) -> str | None:
        """Return the first setting here that is not as `bound` has it, or is a higher rate; None where all fit."""
        both = ((name, mine, getattr(bound, name)) for name, mine in vars(self).items())
        asked = ((name, mine, most) for name, mine, most in both if None not in (mine, most) and mine != most)
        return next((name for name, mine, most in asked if not _is_lower_rate(name, mine, most)), None)

    def words_of(self, name: str) -> str:
        """Return a setting as messages say it."""
        return f"{'VLAN' if name == VLAN else name} {_word(getattr(self, name))}"


def _is_lower_rate(name: str, rate: Any, most: Any) -> bool:
    """Tell whether a rate is one that is below `most`; as the highest rate 0 is no limit."""
    if ATTRIBUTES[name].group != RATE:
        return False
    unlimited = RATE_MOST + 1 if name == "max_tx_rate" else 0
    return bool((rate or unlimited) < (most or unlimited))


def _word(value: Enum | bool | int) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value.value if isinstance(value, Enum) else value)


# What sets nothing.
UNSET = VfSettings()
ATTRIBUTES: Mapping[str, VfAttribute] = {each.name: each.metadata["attribute"] for each in fields(VfSettings)}
# What documents write as attributes, in their order; a VLAN itself is an element of its own.
READERS: Mapping[str, Callable[[str], Any]] = {
    name: each.read for name, each in sorted(ATTRIBUTES.items(), key=lambda item: item[1].group == VLAN) if name != VLAN
}
