# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The list of VFs as the kernel writes it, one byte after the other, and what it means."""

from __future__ import annotations

from libvirt_vepa.kernel.netlink_socket import pack, unpack
from libvirt_vepa.kernel.vf import Vf, parse
from libvirt_vepa.model.address import MacAddress
from libvirt_vepa.model.vf_settings import LinkState, VfSettings, VlanProtocol
from tests.support.vf_list import MAC, NOT_REPORTED, listed


def test_everything_that_a_driver_reports_is_read() -> None:
    assert parse(listed(3)) == (
        Vf(
            3,
            MacAddress.parse(MAC),
            VfSettings(
                vlan=42,
                qos=3,
                proto=VlanProtocol.DOT1Q,
                spoofchk=True,
                trust=False,
                state=LinkState.AUTO,
                min_tx_rate=100,
                max_tx_rate=2500,
            ),
        ),
    )


def test_what_it_does_not_report_is_left_open() -> None:
    (vf,) = parse(listed(0, spoofchk=(NOT_REPORTED,), trust=(NOT_REPORTED,)))
    assert vf.settings.spoofchk is None and vf.settings.trust is None


def test_each_link_state_and_protocol_is_told_apart() -> None:
    states = [parse(listed(0, link_state=(state,)))[0].settings.state for state in range(4)]
    assert states == [LinkState.AUTO, LinkState.ENABLE, LinkState.DISABLE, None]
    protocols = [parse(listed(0, code))[0].settings.proto for code in (b"\x81\x00", b"\x88\xa8", b"\x12\x34")]
    assert protocols == [VlanProtocol.DOT1Q, VlanProtocol.DOT1AD, None]


def test_they_are_in_order_of_number() -> None:
    assert [vf.number for vf in parse(listed(10) + listed(2) + listed(0))] == [0, 2, 10]
    assert parse(b"") == ()


def test_attributes_are_read_without_padding_and_flags() -> None:
    written = pack(1, b"abc") + pack(0x8002, b"") + pack(3, b"ab", b"cd")
    assert len(written) == 8 + 4 + 8
    assert list(unpack(written)) == [(1, b"abc"), (2, b""), (3, b"abcd")]


def test_damaged_attributes_end_the_reading() -> None:
    assert list(unpack(b"\0\0\1\0")) == [(1, b"")]
    assert list(unpack(b"\xff\0\1\0ab")) == [(1, b"ab")]
    assert list(unpack(b"\4\0")) == []
