# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`libvirt-vepad` killed, hung and upgraded while it starts twenty guests: all start, and what is made is exact."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from libvirt_vepa.hook import UNANSWERED
from tests.hook.test_together import begin, end
from tests.lab.guest import Guest
from tests.lab.hook import STATE, install, state_files
from tests.lab.shell import ip_json
from tests.support.host_log import heard, own_devices
from tests.support.leak_check import Untouched
from tests.support.resident import SECONDS, Resident, listening, locked, patient

NUMBER = 20
DONE = (0, b"")


@pytest.fixture
def service() -> Iterator[Resident]:
    with listening() as found:
        yield found


@pytest.fixture
def twenty(service: Resident, bridge: str, tmp_path: Path) -> Iterator[list[Guest]]:
    """Twenty guests on taps, as the lab's macvtaps have no node where there is a log."""
    found = [Guest(number) for number in range(1, NUMBER + 1)]
    for guest in found:
        guest.ask("bridge", "tap")
    with own_devices(tmp_path), Untouched():
        yield found
        released(found)


def released(guests: list[Guest]) -> None:
    assert [end(hook) for hook in [begin(guest, "release") for guest in guests]] == [DONE] * len(guests)
    assert taps() == state_files() == []


def taps() -> list[str]:
    return sorted(found["ifname"] for found in ip_json("link", "show", "type", "tun"))


def begun(guests: list[Guest]) -> list[subprocess.Popen[bytes]]:
    return [begin(guest, "prepare") for guest in guests]


def all_start(guests: list[Guest], hooks: list[subprocess.Popen[bytes]]) -> None:
    """See that the hooks end well, and that there is what these guests need, and nothing else."""
    assert [end(hook) for hook in hooks] == [DONE] * len(guests)
    assert taps() == sorted(guest.device for guest in guests)
    kinds = [name.partition("/")[0] for name in state_files()]
    assert {kind: kinds.count(kind) for kind in kinds} == {"guests": NUMBER, "leases": 2 * NUMBER}


def all_run(guests: list[Guest]) -> None:
    """See that each guest has all that was made for it, by what libvirt asks before it runs."""
    made = state()
    assert [end(hook) for hook in [begin(guest, "start") for guest in guests]] == [DONE] * len(guests)
    assert state() == made


def state() -> dict[str, bytes]:
    return {name: (STATE / name).read_bytes() for name in state_files()}


@contextmanager
def said(count: int) -> Iterator[None]:
    """The log is told so often that a hook does its work itself, and nothing else."""
    with heard() as lines:
        yield
    found = [line.partition("libvirt-vepa: ")[2].rstrip("\0") for line in lines]
    assert found == [UNANSWERED] * count, lines


def test_killed(service: Resident, twenty: list[Guest]) -> None:
    with said(NUMBER):
        with locked("nic-eth1"):
            hooks = begun(twenty)
            waiting = service.waiting(NUMBER)
            for pid in (service.pid, *waiting):
                os.kill(pid, signal.SIGKILL)
            service.restart()
        all_start(twenty, hooks)
        all_run(twenty)


def test_hung(service: Resident, twenty: list[Guest]) -> None:
    with said(NUMBER), patient(1):
        service.process.send_signal(signal.SIGSTOP)
        all_start(twenty, begun(twenty))
        made = state()
        service.process.send_signal(signal.SIGCONT)
        # What it wakes up to is nobody's any more.
        service.alone()
        assert state() == made
        all_run(twenty)


def test_hung_in_the_middle(service: Resident, twenty: list[Guest]) -> None:
    with said(NUMBER), patient(30, 5):
        with locked("nic-eth1"):
            hooks: list[subprocess.Popen[bytes]] = []
            stopped: set[int] = set()
            for guest in twenty:
                hooks.append(begin(guest, "prepare"))
                (pid,) = service.waiting(but=stopped)
                os.kill(pid, signal.SIGSTOP)
                stopped.add(pid)
        all_start(twenty, hooks)
        all_run(twenty)


def test_upgraded(service: Resident, twenty: list[Guest]) -> None:
    """Those that it has begun with it ends; for the others there is the new one, and no hook has more to do."""
    half = NUMBER // 2
    with said(0):
        with locked("nic-eth1"):
            hooks = begun(twenty[:half])
            service.waiting(half)
            upgrade = Thread(target=install)
            upgrade.start()
            # In its end that calls the hook once, and the service finds that there is another version.
            assert service.process.wait(SECONDS) == 0
            hooks += begun(twenty[half:])
            service.restart()
            upgrade.join()
            service.waiting(half)
        all_start(twenty, hooks)
        all_run(twenty)
