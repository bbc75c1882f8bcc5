# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""VFs as the kernel lists them, one byte after the other."""

from __future__ import annotations

import struct

from libvirt_vepa.kernel.netlink_socket import pack

MAC = "52:54:00:aa:bb:cc"
NOT_REPORTED = 0xFFFFFFFF
COUNTERS = pack(8, pack(0, b""), pack(1, bytes(8)))


def listed(number: int, protocol: bytes = b"\x81\x00", /, **more: tuple[int, ...]) -> bytes:
    """Return a VF as rtnl_fill_vf writes it: a driver that knows all, but for what is given here."""
    numbers = {"vlan": (42, 3), "rate": (100, 2500), "tx_rate": (2500,), "spoofchk": (1,), "link_state": (0,)}
    numbers |= {"rss": (NOT_REPORTED,), "trust": (0,), **more}
    kinds = {"vlan": 2, "rate": 6, "tx_rate": 3, "spoofchk": 4, "link_state": 5, "rss": 7, "trust": 9}
    known = (pack(kinds[name], struct.pack(f"={len(n) + 1}I", number, *n)) for name, n in numbers.items())
    vlan = struct.pack("=III", number, *numbers["vlan"]) + protocol + b"\0\0"
    mac = struct.pack("=I", number) + bytes.fromhex(MAC.replace(":", "")) + bytes(26)
    # The broadcast address is what newer kernels tell beside, and the counters those that cannot leave them out.
    return pack(1, pack(1, mac), pack(13, bytes(32)), *known, pack(12, pack(1, vlan)), COUNTERS)
