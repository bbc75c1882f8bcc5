# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The connectivity table for guests on VFs: real frames, between guests that the product has made on the card.

Each guest is played at its macvtap's character device, as QEMU would. A frame that comes later by the same way and
surely arrives tells that one that was not heard is not still to come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from libvirt_vepa.model.interface import Guest, Mode
from tests.lab.frames import GuestSide, Station, address, station_in
from tests.lab.network import Nic
from tests.lab.shell import link
from tests.sriov.conftest import COLUMNS, TABLE, with_vfs
from tests.support.guest_cycle import Place, device_of, guest, place

OUTSIDE, ALL = "02:00:00:00:00:99", "ff:ff:ff:ff:ff:ff"
# How often each frame arrives, in the order of COLUMNS. In mode bridge nothing is filtered: what a reflecting switch
# sends back may be heard once more, by its sender too, so 1 is any number there. That the sender hears it even without
# comes of QEMU's card, which gives a frame for all to all (igb_receive_assign of hw/net/igb_core.c does not know who
# has sent it).
EXPECTED = {
    ("vepa", False): (0, 0, 0, 0, 1, 1),
    ("vepa", True): (1, 1, 0, 1, 1, 1),
    ("pepa", False): (0, 0, 0, 0, 1, 1),
    ("pepa", True): (0, 0, 0, 1, 1, 1),
    ("bridge", False): (1, 1, 1, 1, 0, 1),
    ("bridge", True): (1, 1, 1, 1, 0, 1),
}

Row = tuple[int, ...]


@pytest.fixture(scope="module")
def card() -> Iterator[Nic]:
    """The first card, up, with two VFs."""
    with with_vfs("card0", 2) as found:
        yield found


@pytest.fixture(scope="module")
def lan(card: Nic, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(card, tmp_path_factory.mktemp("lan")) as found:
        found.define("")
        yield found


@pytest.mark.parametrize("mode", ["vepa", "pepa", "bridge"])
def test_who_hears_whom(card: Nic, lan: Place, mode: str, record_property: Callable[[str, object], None]) -> None:
    found: dict[tuple[str, bool], Row] = {}
    with ExitStack() as stack:
        first, second = (guest(number, Mode.parse(mode)) for number in (1, 2))
        for each in (first, second):
            lan.begin(each)
            stack.callback(lan.end, each)
        for reflecting in (False, True):
            card.reflect(reflecting)
            row = measure(card, first, second)
            found[mode, reflecting] = tuple(min(count, 1) for count in row) if mode == "bridge" else row
    for (_, reflecting), row in found.items():
        record_property(TABLE, (mode, reflecting, row, EXPECTED[mode, reflecting]))
    assert found == {key: row for key, row in EXPECTED.items() if key[0] == mode}
    assert [link(device_of(each)) for each in (first, second)] == [None, None]


def measure(card: Nic, first: Guest, second: Guest) -> Row:
    """Return how often each frame of the first guest arrives, in the order of COLUMNS."""
    one, two = (each.requests[0] for each in (first, second))
    source, host = str(one.mac), address(card.device)
    with (
        GuestSide(one.device) as sender,
        GuestSide(two.device) as hearer,
        Station(card.device) as beside,
        station_in(card.namespace, "port") as wire,
    ):
        for destination, word in ((str(two.mac), "guest"), (ALL, "all"), (host, "host"), (OUTSIDE, "out")):
            sender.send(source, destination, word)
        out = wire.hear_until("out")
        wire.send(OUTSIDE, ALL, "end")
        among, again, up = (each.hear_until("end") for each in (hearer, sender, beside))
    row = among.count("guest"), among.count("all"), again.count("all"), up.count("host")
    assert len(COLUMNS) == len(row) + 2
    return (*row, out.count("guest"), out.count("all"))
