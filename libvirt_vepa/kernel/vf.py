# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The virtual functions of an SR-IOV card as their physical function has them: read, and set through it.

Attributes are those of IFLA_VFINFO_LIST in linux/if_link.h; what is sent is what iproute2 sends.
"""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from libvirt_vepa.errors import KernelError
from libvirt_vepa.kernel.link import (
    IFINFOMSG,
    RTEXT_FILTER_SKIP_STATS,
    RTEXT_FILTER_VF,
    RTM_GETLINK,
    RTM_NEWLINK,
    Link,
    header,
    mask,
    netlink_errors,
)
from libvirt_vepa.kernel.netlink_socket import NETLINK_ROUTE, pack, request, unpack
from libvirt_vepa.model.address import MacAddress
from libvirt_vepa.model.vf_settings import ATTRIBUTES, LinkState, VfSettings, VlanProtocol

# linux/rtnetlink.h and linux/if_link.h
IFLA_VFINFO_LIST = 22
IFLA_VF_INFO = 1
VF_MAC, VF_VLAN_INFO = 1, 1
VF_VLAN, VF_VLAN_LIST, VF_RATE = (ATTRIBUTES[name].netlink for name in ("vlan", "proto", "max_tx_rate"))
FLAGS = ("spoofchk", "trust")
MAC = struct.Struct("=I32s")
NUMBER = struct.Struct("=II")
TWO_NUMBERS = struct.Struct("=III")
# The protocol is in the network's order; the compiler's padding is part of it.
VLAN_HEAD, VLAN_PROTOCOL = TWO_NUMBERS, struct.Struct(">H2x")
NOT_REPORTED = 0xFFFFFFFF
# IFLA_VF_LINK_STATE_*
LINK_STATES = (LinkState.AUTO, LinkState.ENABLE, LinkState.DISABLE)
# linux/if_ether.h
PROTOCOLS = {VlanProtocol.DOT1Q: 0x8100, VlanProtocol.DOT1AD: 0x88A8}
# What a VF that is being reset answers with: i40e EAGAIN ("VF %d still in reset. Try again.", and while another
# setting is under way), ice EBUSY ("VF %d in reset. Try again."). No event tells when it is over, so it is asked again.
NOT_YET = (errno.EAGAIN, errno.EBUSY)
PATIENCE_SECONDS, PAUSE_SECONDS = 5.0, 0.05


@dataclass(frozen=True)
class Vf:
    """A virtual function: its number, and what its physical function keeps for it.

    What the driver does not report is None in the settings. A link state of auto, a VLAN and a rate of 0 can
    also mean that it has no such thing: the kernel does not tell the two apart.
    """

    number: int
    mac: MacAddress
    settings: VfSettings


def read(link: Link) -> tuple[Vf, ...]:
    """Return the VFs of a NIC in order of number; none where it has none, or is none that could. KernelError."""
    # With the counters the list of a card with many VFs would outgrow an attribute.
    bits = mask(RTEXT_FILTER_VF | RTEXT_FILTER_SKIP_STATS)
    with netlink_errors(f"read the VFs of {link.name}"):
        (answer,) = request(NETLINK_ROUTE, RTM_GETLINK, header(link.index), bits)
    return parse(dict(unpack(answer[IFINFOMSG.size :])).get(IFLA_VFINFO_LIST, b""))


def parse(listed: bytes) -> tuple[Vf, ...]:
    """Read the value of an IFLA_VFINFO_LIST as rtnl_fill_vf of the kernel writes it."""
    return tuple(sorted((_vf(dict(unpack(value))) for _, value in unpack(listed)), key=lambda vf: vf.number))


def set_mac(link: Link, number: int, mac: MacAddress) -> None:
    """Give a VF its MAC. Raises KernelError, also where the driver keeps another one."""
    what = f"MAC {mac}"
    _send(link, number, what, pack(VF_MAC, MAC.pack(number, bytes(mac.octets))))
    kept = _find(link, number).mac
    if kept != mac:
        raise _otherwise(link, number, what, f"MAC {kept}")


def set_all(link: Link, number: int, settings: VfSettings) -> None:
    """Set what is not None, one after the other: VLAN, spoof check, trust, link state, rates.

    Raises KernelError, also where the driver keeps something else than it was told.
    """
    if settings == VfSettings():
        return
    asked = _completed(settings, lambda: _find(link, number).settings)
    for what, attribute in _requests(number, asked):
        _send(link, number, what, attribute)
    kept = _find(link, number).settings
    wrong = [name for name, value in vars(asked).items() if _differs(value, getattr(kept, name))]
    if wrong:
        raise _otherwise(link, number, _words(asked, *wrong), _words(kept, *wrong))


def _differs(asked: object, kept: object) -> bool:
    return asked is not None and kept is not None and asked != kept


def _completed(asked: VfSettings, present: Callable[[], VfSettings]) -> VfSettings:
    """Return what is asked with what travels in one attribute with it: a VLAN is three things, a rate two.

    A VLAN that says no more has priority 0 and 802.1Q, as `ip link` has it; whatever else is left out stays.
    """
    plain = VfSettings(qos=0, proto=VlanProtocol.DOT1Q)
    if asked.vlan is not None:
        asked = asked.merged_over(plain)
    elif asked.qos is not None or asked.proto is not None:
        kept = present().merged_over(plain)
        asked = asked.merged_over(VfSettings(vlan=kept.vlan or 0, qos=kept.qos, proto=kept.proto))
    if (asked.min_tx_rate is None) != (asked.max_tx_rate is None):
        kept = present()
        asked = asked.merged_over(VfSettings(min_tx_rate=kept.min_tx_rate or 0, max_tx_rate=kept.max_tx_rate or 0))
    return asked


def _requests(number: int, asked: VfSettings) -> Iterator[tuple[str, bytes]]:
    """Yield for each setting what it is in words and as an attribute of a VF."""
    if asked.vlan is not None and asked.qos is not None and asked.proto is not None:
        yield _words(asked, "vlan", "qos", "proto"), _vlan(number, asked.vlan, asked.qos, asked.proto)
    numbers = {name: getattr(asked, name) for name in FLAGS}
    numbers["state"] = None if asked.state is None else LINK_STATES.index(asked.state)
    for name, value in numbers.items():
        if value is not None:
            yield _words(asked, name), pack(ATTRIBUTES[name].netlink, NUMBER.pack(number, value))
    if asked.min_tx_rate is not None and asked.max_tx_rate is not None:
        rates = pack(VF_RATE, TWO_NUMBERS.pack(number, asked.min_tx_rate, asked.max_tx_rate))
        yield _words(asked, "min_tx_rate", "max_tx_rate"), rates


def _vlan(number: int, vlan: int, qos: int, proto: VlanProtocol) -> bytes:
    """Return a VLAN in the oldest attribute that can say it, which is the one that most drivers know."""
    head = VLAN_HEAD.pack(number, vlan, qos)
    if proto is VlanProtocol.DOT1Q:
        return pack(VF_VLAN, head)
    return pack(VF_VLAN_LIST, pack(VF_VLAN_INFO, head, VLAN_PROTOCOL.pack(PROTOCOLS[proto])))


def _words(settings: VfSettings, *names: str) -> str:
    """Return settings as `ip link set NIC vf N` has them."""
    values = ((name, getattr(settings, name)) for name in names)
    return " ".join(f"{name} {_word(value)}" for name, value in values if value is not None)


def _word(value: bool | int | LinkState | VlanProtocol) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if isinstance(value, int) else value.value


def _send(link: Link, number: int, what: str, attribute: bytes) -> None:
    body = pack(IFLA_VFINFO_LIST, pack(IFLA_VF_INFO, attribute))
    action = f"set {what} of VF {number} of {link.name}"
    patiently(action, lambda: request(NETLINK_ROUTE, RTM_NEWLINK, header(link.index), body))


def patiently(action: str, call: Callable[[], object]) -> None:
    """Make a call again while the driver says that it cannot just now; KernelError after five seconds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with netlink_errors(action):
        while True:
            try:
                call()
                return
            except OSError as error:
                if error.errno not in NOT_YET or time.monotonic() > deadline:
                    raise
            time.sleep(PAUSE_SECONDS)


def _find(link: Link, number: int) -> Vf:
    for vf in read(link):
        if vf.number == number:
            return vf
    remedy = "ask for one that it has, or for more of them ('<vf count=…/>' in its definition)"
    raise KernelError(f"{link.name} has no VF {number}", remedy)


def _otherwise(link: Link, number: int, asked: str, kept: str) -> KernelError:
    what = f"VF {number} of {link.name} was to have {asked}, but the driver keeps {kept}"
    return KernelError(what, "see the kernel's log for what the driver says of it, and ask for what it can do")


def _vf(attributes: dict[int, bytes]) -> Vf:
    number, mac = MAC.unpack_from(attributes[VF_MAC])
    one, two, three, four, five, six = mac[:6]
    return Vf(number, MacAddress((one, two, three, four, five, six)), _settings(attributes))


def _settings(attributes: dict[int, bytes]) -> VfSettings:
    vlan = _numbers(attributes, VF_VLAN, 2)
    rates = _numbers(attributes, VF_RATE, 2)
    (state,) = _numbers(attributes, ATTRIBUTES["state"].netlink, 1)
    flags = {name: _on(*_numbers(attributes, ATTRIBUTES[name].netlink, 1)) for name in FLAGS}
    return VfSettings(
        vlan=vlan[0],
        qos=vlan[1],
        proto=_protocol(attributes.get(VF_VLAN_LIST, b"")),
        **flags,
        state=LINK_STATES[state] if state is not None and state < len(LINK_STATES) else None,
        min_tx_rate=rates[0],
        max_tx_rate=rates[1],
    )


def _numbers(attributes: dict[int, bytes], kind: int, count: int) -> tuple[int | None, ...]:
    """Return what follows the VF's number in an attribute, None for each that the driver does not report."""
    value = attributes.get(kind)
    if value is None:
        return (None,) * count
    _, *numbers = struct.unpack_from(f"={count + 1}I", value)
    return tuple(None if number == NOT_REPORTED else number for number in numbers)


def _on(number: int | None) -> bool | None:
    return None if number is None else bool(number)


def _protocol(listed: bytes) -> VlanProtocol | None:
    for _, value in unpack(listed):
        (number,) = VLAN_PROTOCOL.unpack_from(value, VLAN_HEAD.size)
        return next((word for word, known in PROTOCOLS.items() if known == number), None)
    return None
