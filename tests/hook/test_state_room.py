# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The end of a guest, as the hook does it, on a file system that has no room, is read-only, or was open to others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.lab.guest import Guest
from tests.lab.hook import STATE, call, state_files, stored
from tests.lab.shell import link, run
from tests.support.user import USER

QUIET = (0, b"", b"")
HOLD = "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, 2); print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def mounted(guest: Guest) -> Iterator[Guest]:
    """The state folder on a file system of its own."""
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=100,mode=700", "state", str(STATE))
    yield guest
    run("umount", "--lazy", str(STATE))


def said(operation: str, guest: Guest) -> tuple[int, bytes, bytes]:
    done = call(operation, stored(guest))
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("full", ["pages", "inodes"])
def test_a_full_one_keeps_no_guest(mounted: Guest, full: str) -> None:
    assert said("prepare", mounted) == QUIET
    room = os.statvfs(STATE)
    if full == "pages":
        (STATE / "full").write_bytes(b"x" * room.f_frsize * room.f_bavail)
    for number in range(room.f_favail if full == "inodes" else 0):
        (STATE / f"full{number}").touch()
    assert said("release", mounted) == QUIET
    assert link(mounted.device) is None and all("full" in str(file) for file in state_files())


def test_a_read_only_one_keeps_no_device(mounted: Guest) -> None:
    assert said("prepare", mounted) == QUIET
    run("mount", "-o", "remount,ro", str(STATE))
    status, output, text = said("release", mounted)
    lines = text.decode().splitlines()
    assert (status, output) == (1, b"") and lines
    assert all(line.endswith(": Read-only file system; make the file system writable") for line in lines)
    assert link(mounted.device) is None
    run("mount", "-o", "remount,rw", str(STATE))
    assert said("release", mounted) == QUIET and state_files() == []


def test_who_held_a_lock_before_the_folder_was_closed(guest: Guest) -> None:
    """A hook of an earlier version was killed; a user holds what it left, and goes on over the upgrade."""
    lock = STATE / "locks" / f"guest-{guest.uuid}"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    for path, mode in ((STATE, 0o755), (lock.parent, 0o755), (lock, 0o644)):
        path.chmod(mode)
    program = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", sys.executable, "-c", HOLD, str(lock))
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"held\n"
        for operation in ("prepare", "start", "release"):
            assert said(operation, guest) == QUIET
        process.communicate()
    assert link(guest.device) is None and state_files() == []
