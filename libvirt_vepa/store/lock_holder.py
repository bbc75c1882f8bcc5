# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who holds a lock, for people: the kernel says which process, the lock's file what that process is doing.

The file alone would not do: a killed process leaves its words behind, and whoever takes the lock then may not have
signed it, or never does.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

LOCKS = Path("/proc/locks")
# What LOCKS has before a lock that somebody waits for, and its fields otherwise: number, kind, .., .., process, file.
WAITS, KIND, PROCESS, FILE = "->", 1, 4, 5
# No holder describes itself at greater length.
LIMIT = 4096


def sign(handle: int, holder: str) -> None:
    """Write who holds a lock into its file, as far as there is room: nothing but a message depends on it."""
    with suppress(OSError):
        os.ftruncate(handle, 0)
        # It tells one holder from the next also where the file system is full.
        os.utime(handle)
        os.pwrite(handle, f"{os.getpid()} {holder}".encode("utf-8", "replace"), 0)


def name(path: Path) -> str:
    """Return what to call who holds the lock just now."""
    pid = _process(path)
    if pid is None:
        return f"a process that {LOCKS} does not name"
    signed, _, words = _words(path).partition(" ")
    return f"{words} (process {pid})" if signed == str(pid) and words else f"process {pid}{_command(pid)}"


def _process(path: Path) -> int | None:
    """Return the process that has locked a file, None where that cannot be told.

    The kernel names no process that has ended, although what it had started may hold its lock still.
    """
    try:
        status, lines = path.stat(), LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    locks = [line.split() for line in lines if WAITS not in line.split()]
    holders = (int(lock[PROCESS]) for lock in locks if lock[KIND] == "FLOCK" and lock[FILE] == file)
    return next(holders, None)


def _words(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(LIMIT).decode("utf-8", "replace")
    except OSError:
        return ""


def _command(pid: int) -> str:
    try:
        return f", {Path(f'/proc/{pid}/comm').read_text(encoding='utf-8', errors='replace').strip()}"
    except OSError:
        return ""
