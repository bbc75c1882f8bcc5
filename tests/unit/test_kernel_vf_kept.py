# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Drivers that are slow, or keep something else than they were told: a NIC of one VF, played at the wire."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable

import pytest

from libvirt_vepa.errors import KernelError
from libvirt_vepa.kernel import vf as vfs
from libvirt_vepa.kernel.link import RTM_GETLINK, Link
from libvirt_vepa.kernel.netlink_socket import RefusedError, pack
from libvirt_vepa.model.address import MacAddress
from libvirt_vepa.model.vf_settings import VfSettings
from tests.support.vf_list import MAC, listed

NIC = Link("eth0", 7, "", None, True, True, 1500)
Card = Callable[..., list[bytes]]


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    """Put a card behind the NIC which keeps what it has, after it has refused; return what it is told."""

    def plug(*refusals: int, **settings: tuple[int, ...]) -> list[bytes]:
        waiting, told = list(refusals), []

        def talk(_protocol: int, kind: int, header: bytes, body: bytes) -> list[bytes]:
            if kind == RTM_GETLINK:
                return [header + pack(vfs.IFLA_VFINFO_LIST, listed(0, **settings))]
            if waiting:
                code = waiting.pop(0)
                raise RefusedError(code, os.strerror(code))
            told.append(body)
            return []

        monkeypatch.setattr(vfs, "request", talk)
        return told

    return plug


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EBUSY])
def test_a_vf_in_reset_is_asked_again(card: Card, code: int) -> None:
    told = card(code, code, spoofchk=(0,))
    vfs.set_all(NIC, 0, VfSettings(spoofchk=False))
    assert len(told) == 1


def test_what_will_never_do_is_not_asked_again(card: Card) -> None:
    told = card(errno.EINVAL)
    with pytest.raises(KernelError, match=r"^cannot set trust on of VF 0 of eth0: Invalid argument; the driver does"):
        vfs.set_all(NIC, 0, VfSettings(trust=True))
    assert told == []


def test_the_patience_ends(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vfs, "PATIENCE_SECONDS", 0.1)
    card(*[errno.EAGAIN] * 100)
    with pytest.raises(KernelError, match=r"^cannot set MAC 52:54:00:aa:bb:cc of VF 0 of eth0: Resource temporarily"):
        vfs.set_mac(NIC, 0, MacAddress.parse(MAC))


def test_a_driver_that_keeps_another_setting_is_told_of(card: Card) -> None:
    card(spoofchk=(0,), vlan=(7, 0))
    with pytest.raises(KernelError) as caught:
        vfs.set_all(NIC, 0, VfSettings(vlan=42, spoofchk=True, trust=False))
    assert str(caught.value) == (
        "VF 0 of eth0 was to have vlan 42 spoofchk on, but the driver keeps vlan 7 spoofchk off; "
        "see the kernel's log for what the driver says of it, and ask for what it can do"
    )


def test_a_driver_that_keeps_another_mac_is_told_of(card: Card) -> None:
    card()
    with pytest.raises(KernelError, match=re.escape(f"was to have MAC {MAC[:-1]}d, but the driver keeps MAC {MAC};")):
        vfs.set_mac(NIC, 0, MacAddress.parse(f"{MAC[:-1]}d"))


def test_what_a_driver_does_not_report_cannot_be_judged(card: Card) -> None:
    card(trust=(0xFFFFFFFF,))
    vfs.set_all(NIC, 0, VfSettings(trust=True))


def test_a_rate_keeps_the_other_one_and_a_priority_its_vlan(card: Card) -> None:
    told = card(rate=(100, 2500), vlan=(42, 5))
    vfs.set_all(NIC, 0, VfSettings(qos=5, max_tx_rate=2500))
    vfs.set_all(NIC, 0, VfSettings(min_tx_rate=100))
    with pytest.raises(KernelError):
        vfs.set_all(NIC, 0, VfSettings(min_tx_rate=1))
    sent = [int.from_bytes(body[12 + at : 16 + at], "little") for body in told for at in (0, 4, 8)]
    assert sent == [0, 42, 5, 0, 100, 2500, 0, 100, 2500, 0, 1, 2500]
