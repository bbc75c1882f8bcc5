# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A running guest's two interfaces, one of which it may be given while it runs, and all that this leaves on a host."""

from __future__ import annotations

from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.model.interface import Guest
from tests.support.host_fixture import World, ask, links

FIRST, SECOND = ask(1, 1), ask(1, 2)


def attach(world: World, *more: Guest) -> None:
    for one in more:
        guests.attach(one, world.host, world.directory)


def state(world: World) -> tuple[dict[str, dict[str, object]], set[str]]:
    """Return all devices and the names of all state files."""
    return links(), set(world.files())
