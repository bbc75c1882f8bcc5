# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The hook, and the process that does its work, killed: nothing stays that is not put back, and the hook goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.hook.test_kill import program, put_back
from tests.lab.guest import Guest
from tests.lab.hook import ENVIRONMENT, call, one_line, opened, state_files, stored
from tests.lab.killer import Point, children_points, kill, kill_child, points
from tests.lab.shell import link
from tests.support.leak_check import Untouched
from tests.support.resident import SECONDS, Resident, listening, locked, patient, without_program

STRACE = Path("/run/strace")
# test_kill.py kills the same code at every call. What differs here is who goes on, at whichever call it is: so of each
# kind of call it is the first, and of all calls one of so many.
SOME = 5


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
    with patient(30, 5):
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


# -- killed at one call after another


def some(found: list[Point]) -> list[Point]:
    first = {point.name: number for number, point in reversed(list(enumerate(found)))}
    return [found[number] for number in sorted({*first.values(), *range(0, len(found), SOME)})]


def killed_somewhere(
    service: Resident, guest: Guest, operation: str, found: list[Point], before: Callable[[], object]
) -> None:
    """Kill what does the hook's work: the hook does it, or says in a line that it cannot, and nothing stays of it."""
    document = stored(guest)

    def hook() -> None:
        done = call(operation, document)
        # At its end it has answered.
        if able or point.name == "exit_group":
            assert (done.returncode, done.stderr) == (0, b""), point
        else:
            assert done.returncode == 1 and "the hook cannot run: there is no program" in one_line(done), point

    for number, point in enumerate(found):
        able = number % 2 == 0
        with Untouched(f"after a kill at {point}"):
            before()
            with nullcontext() if able else without_program():
                kill_child(service.pid, hook, STRACE, point)
            # Its own call of that name may have been one of those.
            if service.process.poll() is not None:
                service.restart()
            if able and operation == "prepare":
                assert link(guest.device), point
                assert call("start", document).returncode == call("release", document).returncode == 0
            else:
                put_back(1, frozenset())


@pytest.mark.parametrize("operation", ["prepare", "release"])
def test_its_process_is_killed(service: Resident, guest: Guest, operation: str) -> None:
    def prepared() -> None:
        if operation == "release":
            assert call("prepare", document).returncode == 0 and link(guest.device)

    document = stored(guest)
    # A whole life before: folders exist, and a run is like the next.
    for each in ("prepare", "release"):
        assert call(each, document).returncode == 0
    prepared()
    found = children_points(service.pid, lambda: call(operation, document), STRACE)
    assert {"openat", "flock", "sendto", "unlink", "exit_group"} <= {point.name for point in found}
    call("release", document)
    killed_somewhere(service, guest, operation, some(found), prepared)


@pytest.mark.parametrize("operation", ["prepare", "release"])
def test_the_hook_is_killed(service: Resident, guest: Guest, operation: str) -> None:
    """Wherever it is killed, its guest's end and its next start find all in order."""
    document, what = stored(guest), program(guest, operation)
    with Untouched():
        if operation == "release":
            call("prepare", document)
        found = points(what, document, ENVIRONMENT, STRACE)
        call("release", document)
    # The two things it says, and its end.
    assert [point.name for point in found if point.name == "sendto"] == ["sendto"] * 2 and len(found) > 2
    for point in found:
        with Untouched(f"after a kill at {point}"):
            if operation == "release":
                call("prepare", document)
            kill(what, document, ENVIRONMENT, STRACE, point)
            for each in ("release", "prepare", "start", "release"):
                done = call(each, document)
                assert (done.returncode, done.stderr) == (0, b""), f"{each} after a kill at {point}"
            service.alone()
        assert state_files() == []
