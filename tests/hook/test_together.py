# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hooks that run at the same time: for one guest, for many guests on one NIC, and beside a lock that is held."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.guest import Guest
from tests.lab.hook import ENVIRONMENT, PACKAGES, PYTHON, STATE, STATIONS, call, one_line, opened, state_files, stored
from tests.lab.network import Nic
from tests.lab.shell import ip_json, link
from tests.support.leak_check import Untouched

SECONDS = 90
# The hook, but for how long it waits for a lock.
IMPATIENT = """\
import sys
sys.path.insert(0, sys.argv.pop(1))
from libvirt_vepa import hook
from libvirt_vepa.store import store
store.LOCK_SECONDS = 0.5
sys.argv.insert(1, "guest")
sys.exit(hook.run())
"""


def begin(guest: Guest, operation: str) -> subprocess.Popen[bytes]:
    """Start a hook and return while it runs."""
    hook = opened(operation, name=guest.name)
    assert hook.stdin is not None
    hook.stdin.write(stored(guest))
    hook.stdin.close()
    hook.stdin = None
    return hook


def end(hook: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    _, err = hook.communicate(timeout=SECONDS)
    return hook.returncode, err


def macvtaps() -> list[str]:
    return sorted(found["ifname"] for found in ip_json("link", "show", "type", "macvtap"))


def test_two_hooks_for_one_guest_make_one_set_of_devices(guest: Guest) -> None:
    with Untouched():
        for _ in range(5):
            both = [begin(guest, "prepare") for _ in range(2)]
            assert [end(hook) for hook in both] == [(0, b"")] * 2
            assert macvtaps() == [guest.device]
            assert call("start", stored(guest)).returncode == 0
        call("release", stored(guest))


def test_the_end_and_the_next_start_of_a_guest_do_not_mix(guest: Guest) -> None:
    with Untouched():
        for _ in range(5):
            call("prepare", stored(guest))
            both = [begin(guest, operation) for operation in ("release", "prepare")]
            assert [end(hook) for hook in both] == [(0, b"")] * 2
            # Either came first; what is there is whole.
            made = bool(macvtaps())
            assert call("start", stored(guest)).returncode == (0 if made else 1)
        call("release", stored(guest))


@pytest.fixture
def twenty(wire: Nic) -> Iterator[list[Guest]]:
    found = [Guest(number) for number in range(1, 21)]
    for guest in found:
        guest.ask(None)
    yield found
    for guest in found:
        call("release", stored(guest))


def test_twenty_guests_start_and_end_at_once_on_one_nic(twenty: list[Guest]) -> None:
    with Untouched():
        assert [end(hook) for hook in [begin(guest, "prepare") for guest in twenty]] == [(0, b"")] * 20
        assert macvtaps() == sorted(guest.device for guest in twenty)
        assert len(state_files()) == 60
        assert all(call("start", stored(guest)).returncode == 0 for guest in twenty[::5])
        assert [end(hook) for hook in [begin(guest, "release") for guest in twenty]] == [(0, b"")] * 20


def test_of_twenty_guests_with_one_mac_one_starts(twenty: list[Guest]) -> None:
    for guest in twenty:
        guest.interfaces = guest.interfaces.replace(guest.mac, twenty[0].mac)
    with Untouched():
        ends = [end(hook) for hook in [begin(guest, "prepare") for guest in twenty]]
        assert sorted(status for status, _ in ends) == [0] + [1] * 19
        winner = twenty[[status for status, _ in ends].index(0)]
        for status, err in ends:
            assert status == 0 or f" is in use by guest '{winner.name}' ({winner.uuid}); ".encode() in err
        assert macvtaps() == [twenty[0].device]
        for guest in twenty:
            assert call("release", stored(guest)).returncode == 0
            assert bool(macvtaps()) == (twenty.index(guest) < twenty.index(winner))


@contextmanager
def locked(name: str, holder: str) -> Iterator[None]:
    """Hold a lock as another hook would, by name."""
    path = STATE / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"{os.getpid()} {holder}")
        file.flush()
        yield
        path.unlink()


@pytest.mark.parametrize("operation", ["prepare", "release", "reconnect"])
def test_a_wait_for_a_lock_ends_and_names_its_holder(guest: Guest, operation: str) -> None:
    if operation != "prepare":
        assert call("prepare", stored(guest)).returncode == 0
    name = f"guest-{guest.uuid}"
    with Untouched(), locked(name, "the start of guest 'db'\n"):
        done = subprocess.run(
            (PYTHON, "-I", "-c", IMPATIENT, str(PACKAGES), guest.name, operation, STATIONS[operation][0], "-"),
            input=stored(guest),
            capture_output=True,
            env=ENVIRONMENT,
            timeout=SECONDS,
            check=False,
        )
    assert done.returncode == (0 if operation == "reconnect" else 1)
    assert one_line(done) == (
        f"guest 'lab1': {name} has been locked for 0.5 seconds by the start of guest 'db'\\n (process {os.getpid()}); "
        "try again when that has ended"
    )


def test_a_hook_goes_on_when_the_holder_of_its_lock_is_killed(guest: Guest) -> None:
    hold = (
        f"import fcntl, sys, time; file = open({str(STATE / 'locks' / 'nic-eth1')!r}, 'w');"
        "fcntl.flock(file, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    )
    (STATE / "locks").mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        (sys.executable, "-I", "-c", hold), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        hook = begin(guest, "prepare")
        with pytest.raises(subprocess.TimeoutExpired):
            hook.wait(timeout=1)
        assert link(guest.device) is None
        os.kill(holder.pid, signal.SIGKILL)
        assert end(hook) == (0, b"")
    assert link(guest.device) is not None
