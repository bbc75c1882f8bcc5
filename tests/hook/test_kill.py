# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The hook killed with SIGKILL at every system call that changes something: nothing stays that is not put back."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from libvirt_vepa.libvirtd import client as libvirt_client
from libvirt_vepa.lifecycle import guest as guests
from libvirt_vepa.lifecycle import reconcile
from libvirt_vepa.store.store import Store
from tests.lab.guest import Guest
from tests.lab.hook import COMMAND, ENVIRONMENT, HOOK, STATIONS, call, command, state_files, stored
from tests.lab.killer import Point, kill, points
from tests.lab.shell import link
from tests.support.leak_check import Untouched

LOG = Path("/run/strace")
# The command itself takes a while to start; most times its work is done in this process, which has loaded all.
EVERY = 8
KINDS = pytest.mark.parametrize("kind", ["macvtap", "tap"])


@pytest.fixture
def victim(request: pytest.FixtureRequest, guest: Guest, kind: str) -> Guest:
    if kind == "tap":
        request.getfixturevalue("bridge")
    guest.ask("bridge", kind)
    # A whole life before: folders exist, caches are warm, and a run is like the next.
    call("prepare", stored(guest))
    call("release", stored(guest))
    return guest


def program(guest: Guest, operation: str) -> tuple[str, ...]:
    return (HOOK, guest.name, operation, STATIONS[operation][0], "-")


def is_made(guest: Guest) -> bool:
    return link(guest.device) is not None


def put_back(number: int, running: frozenset[str]) -> None:
    """Do what `libvirt-vepa reconcile` does, by the command itself now and then."""
    if number % EVERY == 0:
        done = command("reconcile")
        assert (done.returncode, done.stderr) == (0, b"")
        return
    with guests.open_host(Store()) as host:
        for leftover in reconcile.find(host, lambda: running, libvirt_client.running_xml):
            assert reconcile.put_back(leftover, host, libvirt_client.running_xml) == ()
        host.store.sweep_locks()


def killed_everywhere(what: tuple[str, ...], document: bytes, found: list[Point], before: Callable[[], object]) -> None:
    """Kill a program at each point and put back what it left: all must be as it was, each time."""
    running = libvirt_client.running_guests()
    for number, point in enumerate(found):
        with Untouched(f"after a kill at {point}"):
            before()
            kill(what, document, ENVIRONMENT, LOG, point)
            put_back(number, running)


@KINDS
def test_prepare(libvirtd: None, victim: Guest, kind: str) -> None:
    document, what = stored(victim), program(victim, "prepare")
    with Untouched():
        found = points(what, document, ENVIRONMENT, LOG)
        assert is_made(victim)
        call("release", document)
    names = {point.name for point in found}
    assert {"openat", "write", "fsync", "rename", "link", "unlink", "flock", "sendto", "exit_group"} <= names
    if kind == "tap":
        told = " ".join(point.text for point in found if point.name == "ioctl")
        assert "TUNSETIFF" in told and "TUNSETPERSIST" in told
    killed_everywhere(what, document, found, lambda: None)


@KINDS
def test_release(libvirtd: None, victim: Guest) -> None:
    def prepared() -> None:
        assert call("prepare", document).returncode == 0 and is_made(victim)

    document, what = stored(victim), program(victim, "release")
    with Untouched():
        prepared()
        found = points(what, document, ENVIRONMENT, LOG)
        assert not is_made(victim)
    assert {"openat", "flock", "sendto", "unlink", "exit_group"} <= {point.name for point in found}
    killed_everywhere(what, document, found, prepared)


@pytest.mark.parametrize("kind", ["macvtap"])
def test_reconcile_itself(libvirtd: None, victim: Guest) -> None:
    def prepared() -> None:
        assert call("prepare", document).returncode == 0 and is_made(victim)

    document, what = stored(victim), (COMMAND, "reconcile")
    with Untouched():
        prepared()
        found = points(what, b"", ENVIRONMENT, LOG)
        assert not is_made(victim)
    # What it says to the daemon before, and to its reader after, changes nothing.
    ours = [point for point in found if "/run/libvirt/vepa" in point.text or "RTM_" in point.text]
    assert len(ours) > 10
    killed_everywhere(what, b"", ours, prepared)


@pytest.mark.parametrize("kind", ["macvtap"])
def test_the_next_start_needs_no_reconcile(victim: Guest) -> None:
    document, what = stored(victim), program(victim, "prepare")
    found = points(what, document, ENVIRONMENT, LOG)
    call("release", document)
    for point in found[::4]:
        with Untouched(f"after a kill at {point}"):
            kill(what, document, ENVIRONMENT, LOG, point)
            for operation in ("prepare", "start", "release"):
                done = call(operation, document)
                assert (done.returncode, done.stderr) == (0, b""), f"{operation} after a kill at {point}"
        assert state_files() == []


def test_a_kill_that_misses_its_call_is_noticed(guest: Guest) -> None:
    document, what = stored(guest), program(guest, "prepare")
    with pytest.raises(AssertionError, match="not killed at unlink 99"):
        kill(what, document, ENVIRONMENT, LOG, Point("unlink", 99, ""))
    with pytest.raises(AssertionError, match="is not unlink 1: something else"):
        kill(what, document, ENVIRONMENT, LOG, Point("unlink", 1, "something else"))
    assert call("release", document).returncode == 0


def test_a_guest_killed_midway_keeps_nobody_waiting(guest: Guest) -> None:
    """A lock goes with its holder, so the next one goes on at once, and `reconcile` removes the file."""
    document, what = stored(guest), program(guest, "prepare")
    found = points(what, document, ENVIRONMENT, LOG)
    call("release", document)
    kill(what, document, ENVIRONMENT, LOG, next(point for point in found if point.name == "rename"))
    assert any(name.startswith("locks/") for name in state_files())
    other = Guest(2)
    other.ask(None)
    done = subprocess.run(program(other, "prepare"), input=stored(other), env=ENVIRONMENT, timeout=25, check=False)
    assert done.returncode == 0 and is_made(other)
    assert call("release", stored(other)).returncode == 0
    assert call("release", document).returncode == 0
    assert command("reconcile").returncode == 0
