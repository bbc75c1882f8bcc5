# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""NICs that come late while the host boots: only then the start of a guest waits for them."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from libvirt_vepa.host import nic_names
from libvirt_vepa.kernel import link_events
from libvirt_vepa.kernel.rtnetlink import Netlink
from libvirt_vepa.model.interface import Guest, GuestType
from libvirt_vepa.store import definitions

# How long a start waits while systemd starts the host; afterwards it waits until this time has passed since.
BOOT_SECONDS = 60.0
# It is there where systemd is the init (sd_booted(3)).
SYSTEMD = Path("/run/systemd/system")
# When systemd had started everything, in microseconds of the monotonic clock; 0 as long as it has not.
FINISHED = ("systemctl", "show", "--property=FinishTimestampMonotonic", "--value")
# systemd answers at once, or something is wrong with it.
ANSWER_SECONDS = 10.0


def await_nics(guest: Guest, directory: Path, netlink: Netlink) -> None:
    """Return once every NIC that a guest asks for is there, or the host has had its time to boot.

    The NIC of a tap is waited for until it is a port of a bridge. Raises HostError and XmlError for a definition that
    is missing or damaged.
    """
    if _all_there(guest, directory, netlink):
        return
    seconds = seconds_left()
    if seconds > 0:
        with link_events.link_events() as announced:
            link_events.await_link(lambda: _all_there(guest, directory, netlink), announced, seconds)


def _all_there(guest: Guest, directory: Path, netlink: Netlink) -> bool:
    return all(_is_there(each.name, each.type, directory, netlink) for each in guest.requests)


def _is_there(name: str, kind: GuestType, directory: Path, netlink: Netlink) -> bool:
    found = nic_names.find(definitions.load(name, directory), netlink)
    link = netlink.find(found[0]) if found else None
    return link is not None and (kind is not GuestType.TAP or link.master != 0)


def seconds_left() -> float:
    """Return how long a NIC may still be late; 0 where the host has booted, or its init is not systemd."""
    finished = _finished()
    if finished is None:
        return 0.0
    return max(0.0, finished + BOOT_SECONDS - time.monotonic()) if finished else BOOT_SECONDS


def _finished() -> float | None:
    """Return when systemd had started the host (seconds of the monotonic clock), 0 while it has not; None: unknown."""
    if not SYSTEMD.is_dir():
        return None
    try:
        done = subprocess.run(
            FINISHED, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True, stdin=subprocess.DEVNULL
        )
        return int(done.stdout) / 1e6
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
