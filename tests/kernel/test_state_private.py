# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The state folder is root's alone: another user can neither look into it nor hold a lock."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from libvirt_vepa.store.store import Store
from tests.support.host_fixture import SECONDS, World, device, guest, links, uuid
from tests.support.user import USER

# It opens a file, and holds it in a child, or by itself, until its input ends.
HOLD = """
import fcntl, os, sys
file = open(sys.argv[1])
fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
reader, writer = os.pipe()
if sys.argv[2] == "a child" and os.fork():
    os.close(writer)
    os.read(reader, 1)
    os._exit(0)
print("held", flush=True)
os.close(writer)
sys.stdin.read()
"""


@pytest.fixture
def shown(world: World, tmp_path: Path) -> World:
    """The state folder where every user could reach it."""
    world.root.mkdir(exist_ok=True)
    for folder in (world.root, *world.root.parents):
        if folder.stat().st_mode & 0o077 == 0:
            folder.chmod(0o755)
    return world


def modes(world: World) -> dict[str, set[int]]:
    """Return the modes of the folders and of the files."""
    paths = [world.root, *world.root.rglob("*")]
    files = {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_file()}
    return {"folders": {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_dir()}, "files": files}


@contextmanager
def held(path: Path, by: str) -> Iterator[None]:
    """A user without rights holds a file's lock, if they can."""
    rights = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
    program = (*rights, sys.executable, "-c", HOLD, str(path), by)
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"held\n"
        yield
        process.communicate(timeout=SECONDS)


def test_all_of_it_is_made_so(world: World) -> None:
    world.begin(guest(1))
    with world.host.store.lock_guest(uuid(1), "a test"):
        assert modes(world) == {"folders": {0o700}, "files": {0o600}}


def test_what_is_found_open_is_closed(shown: World) -> None:
    shown.begin(guest(1))
    for path in (shown.root, *shown.root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    shown.begin(guest(2))
    assert modes(shown) == {"folders": {0o700}, "files": {0o600}}


@pytest.mark.parametrize("by", ["a process", "a child"])
def test_who_had_a_lock_open_before_keeps_nobody_out(shown: World, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    monkeypatch.setattr("libvirt_vepa.store.store.LOCK_SECONDS", 5.0)
    locks = shown.root / "locks"
    locks.mkdir(mode=0o755)
    for name in (f"guest-{uuid(1)}", "nic-eth1"):
        (locks / name).write_text("1 killed")
    with held(locks / f"guest-{uuid(1)}", by), held(locks / "nic-eth1", by):
        shown.begin(guest(1))
        assert device(1) in links()
        assert shown.end(guest(1)) == ()
    assert not shown.files() and Store(shown.root).guests() == ()
