# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a guest with a macvtap gets, read back from the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.network import Nic
from tests.lab.shell import ip_json, run
from tests.support.frame_capture import announcements, wire
from tests.support.host_fixture import World, ask, device, guest, links, mac, node


@pytest.mark.parametrize(("mode", "kernel"), [("vepa", "vepa"), ("bridge", "bridge"), ("pepa", "private")])
def test_each_mode_is_the_kernels(world: World, mode: str, kernel: str) -> None:
    world.begin(guest(1, ask(1, mode=mode)))
    made = links()[device(1)]
    assert made["kind"] == "macvtap" and made["mode"] == kernel
    assert made["link"] == "eth1" and made["up"] and made["address"] == mac(1)


def test_everything_on_it_is_as_the_design_says(world: World) -> None:
    world.begin(guest(1, ask(1, mtu=1400)))
    (made,) = ip_json("address", "show", "dev", device(1))
    assert made["mtu"] == 1400
    assert made["allmulti"] == 1
    assert made["addr_info"] == []
    assert Path(f"/proc/sys/net/ipv6/conf/{device(1)}/disable_ipv6").read_text() == "1\n"
    assert node(device(1)).is_char_device()


def test_without_an_mtu_it_has_the_nics(world: World) -> None:
    run("ip", "link", "set", "eth1", "mtu", "1350")
    world.begin(guest(1, ask(1, mtu=1350)))
    world.begin(guest(2))
    assert links()[device(1)]["mtu"] == links()[device(2)]["mtu"] == 1350


def test_the_defaults_are_the_definitions(world: World) -> None:
    world.define("lan", "eth1", "<mode>pepa</mode><mode>vepa</mode>")
    world.begin(guest(1))
    assert links()[device(1)]["mode"] == "private"


def test_name_and_mac_are_in_the_very_first_announcement(world: World) -> None:
    with announcements() as seen:
        world.begin(guest(1))
    # udev renames and readdresses what it does not know by then.
    first = next(announced for announced in seen if announced[0] not in ("eth1", "lo"))
    assert first == (device(1), mac(1))


def test_the_host_itself_sends_nothing_from_it(world: World) -> None:
    control = "52:54:00:ff:00:01"
    with wire("eth1") as capture:
        world.begin(guest(1))
        # Made after ours and left as it is: by the time it has sent its frames ours would have sent some too.
        run(*f"ip link add link eth1 name control address {control} type macvtap mode bridge".split())
        run("ip", "link", "set", "control", "up")
        capture.wait_for(control, 4)
    assert mac(1) not in capture.sources


def test_a_nic_that_is_down_is_put_up_and_left_up(world: World) -> None:
    assert not links()["eth1"]["up"]
    world.begin(guest(1))
    assert links()["eth1"]["up"]
    world.end(guest(1))
    assert links()["eth1"]["up"] and device(1) not in links()


def test_a_name_that_the_user_chose_is_kept(world: World) -> None:
    world.begin(guest(1, ask(1, device="web-lan")))
    assert links()["web-lan"]["address"] == mac(1)
    assert device(1) not in links()
    world.end(guest(1))
    assert "web-lan" not in links() and not world.files()


def test_several_interfaces_on_several_nics(world: World, dmz: Nic) -> None:
    world.define("dmz", "eth2")
    one = guest(1, ask(1, 1), ask(1, 2, name="dmz", mode="bridge"), ask(1, 3, mode="pepa"))
    world.begin(one)
    made = [links()[device(1, number)] for number in (1, 2, 3)]
    assert [(each["link"], each["mode"]) for each in made] == [
        ("eth1", "vepa"),
        ("eth2", "bridge"),
        ("eth1", "private"),
    ]
    assert world.journal(one).nics == ("eth1", "eth2")
    assert world.end(one) == ()
    assert not {device(1, number) for number in (1, 2, 3)} & links().keys()
    assert not world.files()


def test_guests_come_and_go_independently(world: World) -> None:
    for number in (1, 2):
        world.begin(guest(number))
    world.end(guest(1))
    assert device(1) not in links() and links()[device(2)]["up"]
    world.begin(guest(1))
    assert links()[device(1)]["up"]


def test_an_end_without_a_beginning_is_fine(world: World) -> None:
    before = links()
    assert world.end(guest(1)) == ()
    assert links() == before and not world.files()
