# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the start of a guest costs, of one and of many at once, against libvirt's own type='direct'."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from tests.lab.bench import services
from tests.lab.bench.table import Action, Goal, Table
from tests.lab.daemon import virsh
from tests.lab.guest import Guest
from tests.lab.hook import stored
from tests.lab.shell import BOUND_SECONDS

DIRECT = (
    "<interface type='direct'><source dev='eth1' mode='vepa'/><mac address='{mac}'/><model type='virtio'/></interface>"
)
MANY = 50
# Numbers of guests of libvirt's own type begin here.
OTHERS = 100
TOGETHER_RUNS = 5


def start(table: Table) -> None:
    """One guest, with the helper."""
    with services.helper():
        _whole_life(table, "virsh start + destroy : type='direct'", Goal(1.15))


def start_alone(table: Table) -> None:
    """One guest without the helper. The goal is what it was before there was one (tests/README.md)."""
    _whole_life(table, "virsh start + destroy, no helper : type='direct'", Goal(2.0))


def _whole_life(table: Table, name: str, goal: Goal) -> None:
    ours, others = _defined(1)
    table.compare(name, _start_and_destroy(*ours), _start_and_destroy(*others), goal)
    _undefine(*ours, *others)


def together(table: Table) -> None:
    """Many guests at once, all of which must be up."""
    ours, others = _defined(MANY)
    rows = {f"virsh start of {MANY} at once : type='direct'": (Goal(1.2),), "virsh destroy of them : type='direct'": ()}
    with services.helper():
        table.compare_steps(rows, _together(ours), _together(others), TOGETHER_RUNS)
    _undefine(*ours, *others)


def _defined(count: int) -> tuple[list[str], list[str]]:
    """Define so many guests of ours and of libvirt's own; return their names."""
    ours, others = [Guest(number + 1) for number in range(count)], [Guest(OTHERS + number) for number in range(count)]
    for each in ours:
        each.ask("vepa")
    for each in others:
        each.interfaces = DIRECT.format(mac=each.mac)
    for each in (*ours, *others):
        virsh("define", "/dev/stdin", stdin=stored(each).decode())
    return [each.name for each in ours], [each.name for each in others]


def _undefine(*names: str) -> None:
    for name in names:
        virsh("undefine", name)


def _start_and_destroy(name: str) -> Action:
    def action() -> None:
        virsh("start", name)
        virsh("destroy", name)

    return action


def _together(names: Sequence[str]) -> list[Action]:
    def begin() -> None:
        _at_once("start", names)

    def end() -> None:
        up = set(virsh("list", "--name").stdout.split())
        assert up == set(names), f"not up: {' '.join(sorted(set(names) - up))}"
        _at_once("destroy", names)

    return [begin, end]


def _at_once(word: str, names: Sequence[str]) -> None:
    """Run as many clients at once, and see that none fails."""
    clients = [
        subprocess.Popen(("virsh", "-q", word, name), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for name in names
    ]
    said = [client.communicate(timeout=BOUND_SECONDS)[1] for client in clients]
    assert not any(client.returncode for client in clients), "".join(said)
