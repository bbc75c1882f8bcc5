# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An attach and a detach killed with SIGKILL at every system call that changes something, while the guest runs on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.lifecycle import reconcile
from tests.lab.killer import kill, points
from tests.support.attached import FIRST, SECOND, attach, state
from tests.support.host_fixture import World, device, guest, links
from tests.support.running_guests import these

CHECKOUT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(CHECKOUT)}


@pytest.mark.parametrize("action", ["attach", "detach"])
def test_what_stays_is_put_back_while_the_guest_runs(world: World, action: str, tmp_path: Path) -> None:
    program = (
        sys.executable,
        "-m",
        "tests.support.run_action",
        action,
        str(world.root),
        str(world.directory),
        "1",
        "macvtap",
    )
    log = tmp_path / "strace"
    world.begin(guest(1, FIRST))
    # Once before, so that folders exist and a run is like the next.
    attach(world, guest(1, SECOND))
    assert put_back(world) == 1
    before = kept(world)
    prepare(world, action)
    found = points(program, b"", ENVIRONMENT, log)
    assert (device(1, 2) in links()) == (action == "attach")
    assert {"openat", "fsync", "rename", "flock", "unlink", "sendto"} <= {point.name for point in found}
    put_back(world)
    for point in found:
        prepare(world, action)
        kill(program, b"", ENVIRONMENT, log, point)
        put_back(world)
        assert kept(world) == before, point
        guests.check(guest(1, FIRST), world.host)
    assert world.end(guest(1, FIRST)) == () and not world.files()


def kept(world: World) -> tuple[dict[str, dict[str, object]], set[str]]:
    """Return what there is, but for the beginning of a journal, which the next one and the guest's end take away."""
    devices, files = state(world)
    return devices, {name for name in files if not name.endswith(".json.new")}


def prepare(world: World, action: str) -> None:
    if action == "detach":
        attach(world, guest(1, SECOND))


def put_back(world: World) -> int:
    """Put back what the guest has no more, which is all but its first interface; return how much that was."""

    running = these(guest(1, FIRST))
    leftovers = reconcile.find(world.host, lambda: running, running.get)
    for leftover in leftovers:
        assert reconcile.put_back(leftover, world.host, running.get) == ()
    world.host.store.sweep_locks()
    return len(leftovers)
