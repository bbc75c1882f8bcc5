# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Begin or end one guest, as a process of its own: ACTION ROOT DIRECTORY NUMBER KIND; what fails is told on stdout.

Or attach or detach its second interface; or tell the status of all guests, or what `reconcile` would find of them if
none ran.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from libvirt_vepa.errors import VepaError
from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.lifecycle import reconcile, status
from libvirt_vepa.operations import device as devices
from libvirt_vepa.store.store import Store
from tests.support.host_fixture import ask, guest

MARKS = "/mark-begin", "/mark-end"


def main(action: str, root: str, directory: str, number: str, kind: str) -> int:
    """Return how many errors there were; `access(2)` of the marks shows a tracer where the work begins and ends."""
    # Nobody makes a node that is missing here, so there is nothing to wait for.
    devices.NODE_SECONDS = 0.3
    one, second = guest(int(number), ask(int(number), kind=kind)), ask(int(number), 2, kind=kind)
    failed: tuple[VepaError, ...] = ()
    told: list[str] = []
    os.access(MARKS[0], os.F_OK)
    try:
        with guests.open_host(Store(Path(root))) as host:
            match action:
                case "begin":
                    guests.start_guest(one, host, Path(directory))
                case "attach":
                    guests.attach(guest(int(number), second), host, Path(directory))
                case "detach":
                    failed = guests.detach(one.uuid, second.alias, host)
                case "status":
                    told = [f"{row.guest} {row.use.device} {row.state}" for row in status.interfaces(host)]
                case "find":
                    told = [left.uuid for left in reconcile.find(host, lambda: (), lambda _: None)]
                case _:
                    failed = guests.release_guest(one.uuid, host, "a test")
    except VepaError as error:
        failed = (error,)
    os.access(MARKS[1], os.F_OK)
    for each in (*told, *failed):
        print(each)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
