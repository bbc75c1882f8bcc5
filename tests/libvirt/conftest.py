# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A libvirtd with the hook installed, one NIC called `lan`, and guests that are gone after each test."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.lab.daemon import Daemon, daemon, virsh
from tests.lab.guest import Guest, define
from tests.lab.hook import define_nic, state_files
from tests.lab.network import HOST_ADDRESS, Nic, nic
from tests.lab.shell import link, run
from tests.support.hotplug_steps import file
from tests.support.user import USER
from tests.support.via_proxy import through

EVENT_SECONDS = 60
# What a guest that asks for mode vepa is shown to have.
REQUEST = "<name>lan</name><type>macvtap</type><target mode='vepa'/>"
# Makes a guest by its number.
Make = Callable[[int], Guest]
GROUP = "vepatest"
# Who may use the daemon is a matter of the socket's group, as where there is no polkit.
LIBVIRTD_CONF = f"""\
unix_sock_group = "{GROUP}"
unix_sock_ro_perms = "0770"
unix_sock_rw_perms = "0770"
auth_unix_ro = "none"
auth_unix_rw = "none"
"""


def nothing_left(guest: Guest) -> bool:
    """Tell whether a guest has left neither a device nor a file."""
    return link(guest.device) is None and not state_files()


@pytest.fixture(scope="session")
def libvirtd() -> Iterator[Daemon]:
    run("make", "install")
    with daemon() as running:
        yield running


@pytest.fixture
def wire(libvirtd: Daemon) -> Iterator[Nic]:
    with nic("eth1") as found:
        found.give(f"{HOST_ADDRESS}/24")
        define_nic("lan", "eth1")
        yield found


@pytest.fixture
def guest_of(wire: Nic) -> Iterator[Make]:
    """Make guests by number; whatever state they are in, they are gone after the test."""
    made: list[Guest] = []

    def make(number: int) -> Guest:
        guest = Guest(number)
        made.append(guest)
        return guest

    yield make
    for guest in made:
        guest.hang_up()
        virsh("destroy", guest.name, check=False)
        virsh("undefine", guest.name, "--managed-save", check=False)


@pytest.fixture
def guest(guest_of: Make) -> Guest:
    """A guest that is defined and asks for `lan` in the host's default mode."""
    return _defined(guest_of(1))


@pytest.fixture
def booting(guest_of: Make) -> Guest:
    """A guest as `guest` is, with a kernel; it can be waited for."""
    found = guest_of(1)
    found.kernel = True
    return _defined(found)


def _defined(guest: Guest) -> Guest:
    guest.ask(None)
    define(guest)
    return guest


@pytest.fixture
def asked(guest_of: Make) -> Guest:
    """A guest that is defined as its user would, and asks for `lan` in mode vepa."""
    found = guest_of(1)
    found.ask("vepa")
    through("define", "/dev/stdin", stdin=found.xml)
    return found


class Eventually:
    """Waits, at its end, until something is true of the host's devices; use it in a `with` around what causes it."""

    def __init__(self, what: str, condition: Callable[[], bool]) -> None:
        self._what = what
        self._condition = condition

    def __enter__(self) -> Eventually:
        # Subscribed to RTMGRP_LINK (linux/rtnetlink.h) before anything happens, so that no event is missed.
        self._events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._events.bind((0, 1))
        return self

    def __exit__(self, *_: object) -> None:
        with self._events:
            deadline = time.monotonic() + EVENT_SECONDS
            while not self._condition():
                ready = select.select([self._events], [], [], max(0.0, deadline - time.monotonic()))[0]
                assert ready, f"not in {EVENT_SECONDS} seconds: {self._what}"
                self._events.recv(65536)


def gone(device: str) -> Eventually:
    return Eventually(f"{device} has gone", lambda: link(device) is None)


@pytest.fixture(scope="module")
def grouped(libvirtd: Daemon) -> Iterator[int]:
    """A daemon that serves root and a group only; the group's number."""
    run("groupadd", "-f", GROUP)
    with libvirtd.configured(LIBVIRTD_CONF):
        yield int(run("getent", "group", GROUP).stdout.split(":")[2])


def as_user(*groups: int) -> tuple[str, ...]:
    rights = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
    return ("setpriv", f"--reuid={USER}", f"--regid={USER}", rights, "env", "HOME=/run")


@pytest.fixture(scope="module")
def plant(libvirtd: Daemon) -> Iterator[tuple[Guest, list[str]]]:
    """A guest for all tests of a module, and how libvirt describes it where no test has changed it."""
    with nic("eth1") as found:
        found.give(f"{HOST_ADDRESS}/24")
        define_nic("lan", "eth1")
        guest = Guest(1, kernel=True)
        guest.ask("vepa")
        yield guest, []
        guest.hang_up()
        virsh("destroy", guest.name, check=False)
        virsh("undefine", guest.name, check=False)


@pytest.fixture
def running(plant: tuple[Guest, list[str]]) -> Iterator[Guest]:
    """A guest with one interface of ours that drives its own buses; it starts anew where a test has changed it."""
    guest, described = plant
    if not described or described != _description(guest):
        guest.hang_up()
        virsh("destroy", guest.name, check=False)
        define(guest)
        guest.start()
        guest.wait()
        described[:] = _description(guest)
    yield guest
    # What a test has attached need not cost the next one a start.
    for scope in ("--live", "--config"):
        through("detach-device", guest.name, file(), scope, check=False)


def _description(guest: Guest) -> list[str]:
    """Return what libvirt says of a guest, how it is and how it will be."""
    return [virsh("dumpxml", guest.name, *more, check=False).stdout for more in ((), ("--inactive",))]
