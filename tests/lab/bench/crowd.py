# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What 500 guests that are there cost the next one, and whoever asks for their status.

They are there for the hook and the kernel: no QEMU opens their devices. They are on a host of their own, so that it and
one without guests take turns.
"""

from __future__ import annotations

import os

from tests.lab.bench import services
from tests.lab.bench.hook import SAME, asking, call, script
from tests.lab.bench.table import Action, Goal, Table
from tests.lab.hook import COMMAND, HOOK
from tests.lab.network import Nic
from tests.lab.shell import run
from tests.support.second_host import FOLDER, NIC, Second, second

MANY = 500
FIRST = 200
STATUS_RUNS = 7
# What enters the lab's own host, so that this costs both alike.
HERE = ("nsenter", f"--target={os.getpid()}", "--mount", "--net", "--uts")


def crowd(table: Table, wire: Nic) -> None:
    """The next guest beside 500 against the first on a host, and the status of all."""
    with second() as host, host.nic(wire), services.helper(), services.helper(str(FOLDER), host.through):
        for number in range(FIRST, FIRST + MANY):
            call("prepare", asking(number)[1], through=host.through)()
        _next(table, host)
        command, ip = (_on(host, COMMAND, "status"), _on(host, "ip", "-j", "-d", "link"))
        table.compare(f"status of {MANY} guests : ip -j -d link", command, ip, Goal(1.5, 1000), runs=STATUS_RUNS)


def _next(table: Table, host: Second) -> None:
    """Both NICs are up already; so the first has no more to do than the next."""
    run("ip", "link", "set", "eth1", "up")
    host.run("ip", "link", "set", NIC, "up")
    document = asking(1)[1]
    rows = {f"prepare beside {MANY} guests : the first": (Goal(1.1),), "release of it : the first": ()}
    table.compare_steps(rows, _both(document, host.through), _both(document, HERE))
    # What the kernel alone makes of it.
    shell, other = (_shell(device) for device in (NIC, "eth1"))
    rows = {f"shell hook, prepare beside {MANY} guests : the first": (), "shell hook, release of it : the first": ()}
    table.compare_steps(rows, _both(document, host.through, shell), _both(document, HERE, other))


def _shell(device: str) -> str:
    guest = asking(1)[0]
    text = SAME.format(device=guest.device, mac=guest.mac).replace("eth1", device)
    return script(f"on-{device}", text)


def _both(document: bytes, through: tuple[str, ...], hook: str = HOOK) -> list[Action]:
    return [call(operation, document, hook, through) for operation in ("prepare", "release")]


def _on(host: Second, *command: str) -> Action:
    return lambda: host.run(*command)
