# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Attach, detach and update through the connection, and what is seen of it on either side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.lab.daemon import virsh
from tests.lab.guest import Guest
from tests.lab.hook import state_files
from tests.lab.shell import ip_json
from tests.support.via_proxy import squeezed, through

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


def links() -> set[str]:
    return {found["ifname"] for found in ip_json("link")}


def shown(guest: Guest, *options: str) -> str:
    return squeezed(through("dumpxml", guest.name, *options).stdout)


def stored(guest: Guest, *options: str) -> str:
    return virsh("dumpxml", guest.name, *options).stdout


def unchanged(guest: Guest, command: str, *options: str, **more: Any) -> str:
    """Return what is said to a change that fails; nothing of the guest or the host may be another then."""
    before = stored(guest), stored(guest, "--inactive"), state_files(), links()
    said = change(command, guest, *options, check=False, **more)
    assert (stored(guest), stored(guest, "--inactive"), state_files(), links()) == before
    return said
