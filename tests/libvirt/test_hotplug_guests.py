# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hotplug with guests that do not run, that start with what they were given, and that end."""

from __future__ import annotations

import pytest

from tests.lab.daemon import Daemon, virsh
from tests.lab.guest import Guest
from tests.lab.shell import link, run
from tests.libvirt.conftest import Make, gone, nothing_left
from tests.support.helper_talk import until
from tests.support.hotplug_steps import DEVICE, INTERFACE, MAC, REQUEST, change, shown, unchanged
from tests.support.via_proxy import through


@pytest.fixture
def guest(asked: Guest) -> Guest:
    return asked


def test_a_guest_that_does_not_run(guest: Guest) -> None:
    assert "domain is not running" in change("attach-device", guest, "--live", check=False)
    change("attach-device", guest, "--current")
    assert REQUEST in shown(guest)
    virsh("start", guest.name)
    assert link(DEVICE)


def test_a_guest_that_had_none(guest_of: Make) -> None:
    guest = guest_of(2)
    through("define", "/dev/stdin", stdin=guest.xml)
    virsh("start", guest.name)
    change("attach-device", guest)
    assert link(DEVICE)
    virsh("destroy", guest.name)
    ended(guest)
    assert link(DEVICE) is None


def test_an_update_changes_the_request_too(guest: Guest) -> None:
    mine = INTERFACE.replace(MAC, guest.mac)
    change("update-device", guest, "--config", text=mine.replace("bridge", "pepa"))
    assert "<target mode='pepa'/>" in shown(guest)
    virsh("start", guest.name)
    found = link(guest.device)
    assert found and found["linkinfo"]["info_data"]["mode"] == "private"
    said = unchanged(guest, "update-device", "--live", text=mine)
    assert "name, type, mode, vlan and vf of an interface cannot change while the guest runs; detach it" in said
    down = mine.replace("bridge", "pepa").replace("<model", "<link state='down'/><model")
    change("update-device", guest, "--live", "--config", text=down)
    assert "<link state='down'/>" in shown(guest) and "<link state='down'/>" in shown(guest, "--inactive")


def ended(guest: Guest) -> None:
    """Return once nothing is left: what made or takes its device gives a lock back after virsh has its answer."""
    until(f"{guest.name} has left nothing", lambda: nothing_left(guest))


def test_a_guest_that_takes_its_time(booting: Guest) -> None:
    """libvirt reports success after five seconds; the device must stay until the guest has let it go."""
    booting.start()
    booting.wait()
    change("attach-device", booting)
    virsh("suspend", booting.name)
    change("detach-device", booting)
    assert link(DEVICE) and REQUEST in shown(booting)
    with gone(DEVICE):
        virsh("resume", booting.name)
    booting.destroy()
    ended(booting)


def test_a_guest_that_ends_instead(guest: Guest) -> None:
    virsh("start", guest.name)
    change("attach-device", guest)
    # It has no kernel that could give it back.
    change("detach-device", guest)
    with gone(DEVICE):
        virsh("destroy", guest.name)
    ended(guest)


def test_an_attached_nic_survives_daemon_and_managed_save(guest: Guest, libvirtd: Daemon) -> None:
    virsh("start", guest.name)
    change("attach-device", guest)
    libvirtd.restart()
    assert run("libvirt-vepa", "status").stdout.count(" ok\n") == 2
    through("managedsave", guest.name)
    assert link(DEVICE) is None
    virsh("start", guest.name)
    assert link(DEVICE) and link(guest.device) and REQUEST in shown(guest)
    virsh("destroy", guest.name)
    ended(guest)
    assert link(DEVICE) is None


@pytest.mark.usefixtures("wire")
def test_a_tap(guest_of: Make) -> None:
    guest = guest_of(2)
    through("define", "/dev/stdin", stdin=guest.xml)
    virsh("start", guest.name)
    run("ip", "link", "add", "br-lan", "type", "bridge")
    run("ip", "link", "set", "eth1", "master", "br-lan")
    try:
        change("attach-device", guest, text=INTERFACE.replace("macvtap", "tap"))
        made = link(DEVICE)
        assert made and made["linkinfo"]["info_kind"] == "tun" and made["master"] == "br-lan"
        virsh("destroy", guest.name)
        ended(guest)
        assert link(DEVICE) is None
    finally:
        run("ip", "link", "delete", "br-lan")
