# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Locks between hooks and commands: whole files, bounded waits, an error that names the holder.

A lock goes with the process that holds it, however that ends (flock(2)). The files are root's alone, for whoever may
open one may hold it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType

from libvirt_vepa.errors import InUseError
from libvirt_vepa.store import atomic_file, lock_holder

# What the system says where no file can be made: the file system is full, or read-only.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@contextmanager
def held(folder: Path, names: tuple[str, ...], holder: str, seconds: float) -> Iterator[None]:
    """Hold the locks of these names, taken in the order given; all callers use the same order.

    `holder` is what others are told when they have waited in vain, because it has held a lock for `seconds`:
    InUseError. Where many hold it in turns a wait may be longer.
    Only the main thread can wait, because the bound is an alarm signal.
    Raises StateError where the lock file cannot be made. Where there is no room for one, on a file system that is full
    or read-only, nothing is held: nothing begins there, because a journal has no room either, and guests must end.
    """
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(_one(folder / name, holder, seconds))
        yield


def sweep(folder: Path) -> None:
    """Remove the lock files that nobody holds: a killed process leaves its own behind."""
    for path in folder.glob("*"):
        handle = _open(path)
        if handle is None:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_current(handle, path):
                path.unlink()
        except OSError:
            # Somebody holds it, or nothing can be removed here.
            pass
        finally:
            os.close(handle)


@contextmanager
def _one(path: Path, holder: str, seconds: float) -> Iterator[None]:
    handle = _acquire(path, seconds)
    try:
        if handle is not None:
            lock_holder.sign(handle, holder)
        yield
    finally:
        if handle is not None:
            # While it is still held: who waits for it sees that the file has gone and makes a new one.
            with suppress(OSError):
                path.unlink()
            os.close(handle)


def _acquire(path: Path, seconds: float) -> int | None:
    """Return the descriptor that holds a lock, None where there is no room for its file."""
    with _alarm(seconds, path):
        while (handle := _open(path)) is not None:
            try:
                _wait(handle, path)
            except BaseException:
                os.close(handle)
                raise
            if _is_current(handle, path):
                return handle
            os.close(handle)
        return None


def _wait(handle: int, path: Path) -> None:
    """Wait for a lock; it may have lost its name when this returns.

    A stranger can hold one only who opened it while the folder was open to others. Such a lock loses its name here.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not lock_holder.is_strangers(handle):
            fcntl.flock(handle, fcntl.LOCK_EX)
        elif _is_current(handle, path):
            with atomic_file.state_errors(f"remove {path}"):
                path.unlink(missing_ok=True)


def _open(path: Path) -> int | None:
    """Open the file of a lock, which is made where it is missing; None where there is no room for it."""
    with atomic_file.state_errors(f"write {path}"):
        try:
            atomic_file.make_folder(path.parent)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, atomic_file.FILE_MODE)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            with suppress(FileNotFoundError):
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            return None


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
