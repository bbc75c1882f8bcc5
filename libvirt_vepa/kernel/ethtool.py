# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a device can do by itself, each by the name that `ethtool -k` has for it (linux/ethtool_netlink.h)."""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from shlex import quote

from libvirt_vepa.errors import KernelError
from libvirt_vepa.kernel.link import Link, netlink_errors
from libvirt_vepa.kernel.netlink_socket import RefusedError, generic, pack, text, unpack

FAMILY = "ethtool"
FEATURES_GET, FEATURES_SET = 11, 12
A_HEADER, A_HW, A_WANTED, A_ACTIVE, A_NOCHANGE = 1, 2, 3, 4, 5
NLA_F_NESTED = 0x8000
HEADER_DEV_INDEX = 1
BITSET_NOMASK, BITSET_BITS, BITS_BIT, BIT_NAME, BIT_VALUE = 1, 3, 1, 2, 3


@dataclass(frozen=True)
class Feature:
    """A feature of a device: whether it is on, and whether it must stay as it is."""

    on: bool
    fixed: bool


def read(link: Link, name: str) -> Feature | None:
    """Return a feature, None where the kernel knows none of that name. Raises KernelError."""
    with netlink_errors(f"read the features of {link.name}"):
        try:
            (answer,) = generic(FAMILY, FEATURES_GET, _device(link))
        except RefusedError as error:
            if error.errno == errno.EOPNOTSUPP:
                return None
            raise
    found = {kind: _bits(value) for kind, value in unpack(answer) if kind != A_HEADER}
    if name not in found[A_HW]:
        return None
    fixed = not found[A_HW][name] or found[A_NOCHANGE].get(name, False)
    return Feature(found[A_ACTIVE].get(name, False), fixed)


def write(link: Link, name: str, on: bool) -> None:
    """Switch a feature. Raises KernelError, also where the device keeps it as it was."""
    bit = pack(BIT_NAME, name.encode() + b"\0") + (pack(BIT_VALUE) if on else b"")
    bits = pack(BITSET_BITS | NLA_F_NESTED, pack(BITS_BIT | NLA_F_NESTED, bit))
    action = f"switch {name} {_word(on)} at {link.name}"
    with netlink_errors(action):
        generic(FAMILY, FEATURES_SET, _device(link), pack(A_WANTED | NLA_F_NESTED, bits))
    kept = read(link, name)
    if kept != Feature(on, kept.fixed if kept else False):
        why = "it is fixed there" if kept and kept.fixed else "the driver keeps it as it was"
        raise KernelError(f"cannot {action}: {why}", f"see 'ethtool -k {quote(link.name)}' and the kernel's log")


def _device(link: Link) -> bytes:
    return pack(A_HEADER | NLA_F_NESTED, pack(HEADER_DEV_INDEX, struct.pack("=I", link.index)))


def _bits(bitset: bytes) -> dict[str, bool]:
    """Return what a set says of each bit; one without a mask lists just those that are set."""
    parts = dict(unpack(bitset))
    bits = (dict(unpack(bit)) for _, bit in unpack(parts.get(BITSET_BITS, b"")))
    return {text(bit[BIT_NAME]): BITSET_NOMASK in parts or BIT_VALUE in bit for bit in bits}


def _word(on: bool) -> str:
    return "on" if on else "off"
