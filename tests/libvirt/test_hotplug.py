"""Attach, detach and update of a physical interface, live and in the configuration, with real guests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.daemon import virsh
from tests.lab.guest import Guest
from tests.lab.shell import link, run
from tests.libvirt.conftest import gone, nothing_left
from tests.libvirt.test_connection import squeezed, through

Make = Callable[[int], Guest]
MAC, DEVICE = "52:54:00:00:99:01", "vp525400009901"
REQUEST = f"<name>lan</name><type>macvtap</type><target mode='bridge'/><mac address='{MAC}'/>"
INTERFACE = f"<interface type='physical'>{REQUEST}<model type='virtio'/></interface>"


def file(text: str = INTERFACE) -> str:
    path = Path("/run/hotplug.xml")
    path.write_text(text, encoding="utf-8")
    return str(path)


def change(command: str, guest: Guest, *options: str, text: str = INTERFACE, check: bool = True) -> str:
    """Run attach-device, detach-device or update-device through the connection; return all it says."""
    done = through(command, guest.name, file(text), *options, check=check)
    assert check or done.returncode == 1
    return done.stdout + done.stderr


def shown(guest: Guest, *options: str) -> str:
    return squeezed(through("dumpxml", guest.name, *options).stdout)


def stored(guest: Guest, *options: str) -> str:
    return virsh("dumpxml", guest.name, *options).stdout


@pytest.fixture
def guest(guest_of: Make) -> Guest:
    """A guest that is defined, with one interface of ours."""
    found = guest_of(1)
    found.ask("vepa")
    through("define", "/dev/stdin", stdin=found.xml)
    return found


@pytest.fixture
def running(guest: Guest) -> Guest:
    """The same, and it runs and drives its own buses."""
    guest.start()
    guest.wait()
    return guest


def test_live(running: Guest) -> None:
    change("attach-device", running, "--live")
    made = link(DEVICE)
    assert made and made["linkinfo"]["info_data"]["mode"] == "bridge"
    assert REQUEST in shown(running) and REQUEST not in shown(running, "--inactive")
    assert DEVICE in run("libvirt-vepa", "status").stdout
    with gone(DEVICE):
        change("detach-device", running, "--live")
    assert REQUEST not in shown(running) and "009901" not in stored(running)
    assert link(running.device)
    running.destroy()
    assert nothing_left(running)
