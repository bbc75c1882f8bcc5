# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Locks between hooks and commands: whole files, bounded waits, an error that names the holder.

A lock goes with the process that holds it, however that ends (flock(2)).
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from libvirt_vepa.errors import InUseError
from libvirt_vepa.store import atomic_file, lock_holder


@contextmanager
def held(folder: Path, names: tuple[str, ...], holder: str, seconds: float) -> Iterator[None]:
    """Hold the locks of these names, taken in the order given; all callers use the same order.

    `holder` is what others are told when they have waited in vain, because it has held a lock for `seconds`:
    InUseError. Where many hold it in turns a wait may be longer.
    Only the main thread can wait, because the bound is an alarm signal.
    Raises StateError where the lock file cannot be made.
    """
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(_one(folder / name, holder, seconds))
        yield


def sweep(folder: Path) -> None:
    """Remove the lock files that nobody holds: a killed process leaves its own behind."""
    for path in folder.glob("*"):
        handle = _open(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_current(handle, path):
                path.unlink()
        except BlockingIOError:
            pass
        finally:
            os.close(handle)


@contextmanager
def _one(path: Path, holder: str, seconds: float) -> Iterator[None]:
    handle = _acquire(path, seconds)
    try:
        lock_holder.sign(handle, holder)
        yield
    finally:
        # While it is still held: who waits for it sees that the file has gone and makes a new one.
        path.unlink(missing_ok=True)
        os.close(handle)


def _acquire(path: Path, seconds: float) -> int:
    with _alarm(seconds, path):
        while True:
            handle = _open(path)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
            except BaseException:
                os.close(handle)
                raise
            if _is_current(handle, path):
                return handle
            os.close(handle)


def _open(path: Path) -> int:
    with atomic_file.state_errors(f"write {path}"):
        atomic_file.make_folder(path.parent)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, atomic_file.FILE_MODE)


def _is_current(handle: int, path: Path) -> bool:
    """Tell whether the locked file still has its name: the last holder may have taken it away."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _alarm(seconds: float, path: Path) -> Iterator[None]:
    """Bound a wait for one holder: flock(2) itself knows no time limit, but a signal ends it."""
    turn = _turn(path)

    def ring(_signal: int, _frame: FrameType | None) -> None:
        nonlocal turn
        now = _turn(path)
        if now is None or now != turn:
            turn = now
            return
        raise InUseError(
            f"{path.name} has been locked for {seconds:g} seconds by {lock_holder.name(path)}",
            "try again when that has ended",
        )

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _turn(path: Path) -> tuple[int, int] | None:
    """Return what differs between any two holders: each makes the file, or signs one that a killed process left.

    None where nobody seems to hold it just then.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
