# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest on a VF that is given one more while it runs: what it has stays as it is, and so does what both share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from libvirt_vepa.errors import InUseError, KernelError, VepaError
from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.model.interface import Mode
from libvirt_vepa.model.vf_settings import VfSettings, VlanProtocol
from tests.support.card_tools import hwmode
from tests.support.guest_cycle import Place, guest, mac

FIRST = guest(1)


def attach(lan: Place, mode: Mode = Mode.VEPA, **more: Any) -> tuple[str, ...]:
    """Give the first guest what a second one would have; return what is remarked on it."""
    another = replace(FIRST, requests=guest(2, mode, **more).requests)
    return guests.attach(another, lan.host, lan.root / "definitions")


def test_what_is_detached_is_put_back_and_the_rest_stays(lan: Place) -> None:
    nothing = lan.seen()
    lan.begin(FIRST)
    before = lan.seen(FIRST)
    (remark,) = attach(lan, Mode.PEPA, vf=VfSettings(vlan=42, qos=3, trust=True, spoofchk=False))
    assert "the spoof check of VF 1 of NIC card1 is off" in remark
    assert lan.vf(1)["vlan_list"] == [{"vlan": 42, "qos": 3}]
    assert not guests.detach(FIRST.uuid, guest(2).requests[0].alias, lan.host)
    assert lan.seen(FIRST) == before
    guests.check(FIRST, lan.host)
    assert not lan.end(FIRST)
    assert lan.seen() == nothing


@pytest.mark.parametrize(
    ("asked", "kind", "said"),
    [
        ({"vf": VfSettings(vlan=42, proto=VlanProtocol.DOT1AD)}, KernelError, "802.1ad"),
        ({"mode": Mode.BRIDGE}, InUseError, "the embedded switch of card1 is in vepa for guest 'g1'"),
    ],
    ids=["a step that fails", "the other mode"],
)
def test_what_cannot_be_attached_leaves_what_is_there(
    lan: Place, asked: dict[str, Any], kind: type[VepaError], said: str
) -> None:
    lan.begin(FIRST)
    before, journal = lan.seen(FIRST), lan.host.store.load(FIRST.uuid)
    with pytest.raises(kind, match=f"^guest 'g1': interface {mac(2)}: .*{said}"):
        attach(lan, **asked)
    assert hwmode("card1") == "VEPA"
    assert lan.seen(FIRST) == before
    found = lan.host.store.load(FIRST.uuid)
    assert found and journal and replace(found, written=0) == replace(journal, written=0)
    guests.check(FIRST, lan.host)
    assert not lan.end(FIRST)
