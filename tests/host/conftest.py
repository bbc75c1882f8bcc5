# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A booted Debian with AppArmor, polkit and libvirt, on which everything is done as its users would do it.

    machine.run("virsh list")                 as root; it must succeed; what came of it (rc, stdout, stderr)
    machine.run("virsh list", check=False)    it may fail
    machine.says("virsh list")                what it prints, on both its outputs
    machine.until("test -e /run/file")        wait until it succeeds
    machine.user("alice").run(…)              the same as alice, who is in group libvirt; bob is not
    machine.look.service("libvirtd")          testinfra's view of the machine
    machine.states(), machine.devices()       how the interfaces of guests are, and which macvtaps there are
    machine.reboot(), machine.journal()       …
    switch.reflect(True)                      what is behind eth0 sends frames back by the port they came in

The tests are one story, in the order of their files: each begins where the one before has ended. LIBVIRT_VEPA_RELEASE
chooses 12 or 13; both are taken one after the other without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.hosts import Host
from tests.lab.booted import Switch
from tests.lab.booted import machine as booted
from tests.support import packages

RELEASES = os.environ.get("LIBVIRT_VEPA_RELEASE", "12 13").split()


@pytest.fixture(scope="session")
def switch() -> Switch:
    return Switch()


@pytest.fixture(scope="session", params=RELEASES)
def machine(request: pytest.FixtureRequest, switch: Switch) -> Iterator[Host]:
    with booted(request.param, switch) as found:
        host = Host(found)
        for person in (host, host.user("alice")):
            person.write_shown()
        yield host


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packages.deb(tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="session")
def older_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packages.older_deb(tmp_path_factory.mktemp("older"))
