# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The hook, and the process that does its work, killed: nothing stays that is not put back, and the hook goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.lab.guest import Guest
from tests.lab.hook import call, opened, state_files, stored
from tests.lab.shell import link
from tests.support.resident import SECONDS, Resident, listening, locked, patient


@pytest.fixture
def service() -> Iterator[Resident]:
    with listening() as found:
        yield found


def test_a_hook_that_is_killed_does_nothing_more(service: Resident, guest: Guest) -> None:
    """Its work ends with it, wherever that is done: libvirt goes on to the guest's end at once."""
    hook = opened("prepare")
    assert hook.stdin
    with locked(f"guest-{guest.uuid}"):
        hook.stdin.write(stored(guest))
        hook.stdin.close()
        service.waiting()
        hook.kill()
        hook.wait(SECONDS)
    service.alone()
    assert link(guest.device) is None and state_files() == []
    assert call("prepare", stored(guest)).returncode == 0


def test_a_child_that_is_stopped_leaves_it_to_the_hook(service: Resident, guest: Guest) -> None:
    """What it holds is free when the hook gives up."""
    with patient(30, 1):
        hook = opened("prepare")
        assert hook.stdin
        # It has the guest's by then.
        with locked("nic-eth1"):
            hook.stdin.write(stored(guest))
            hook.stdin.close()
            (child,) = service.waiting()
            os.kill(child, signal.SIGSTOP)
        assert hook.wait(SECONDS) == 0 and link(guest.device)
        service.alone()
