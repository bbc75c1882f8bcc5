# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who holds a lock: the kernel says which process, the lock's file what that process is doing.

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
    try:
        process = _process(path.stat())
    except OSError:
        process = None
    if process is None or _is_gone(process):
        return f"a process that {LOCKS} does not name"
    signed, _, words = _words(path).partition(" ")
    return f"{words} (process {process})" if signed == str(process) and words else _described(process)


def is_strangers(handle: int) -> bool:
    """Tell whether another user's process holds the lock, or one that has it from a process that is gone.

    None of ours leaves one to another. What cannot be told is no stranger's.
    """
    status = os.fstat(handle)
    process = _process(status)
    if process is None or not (_is_gone(process) or _user(process) not in (None, os.getuid())):
        return False
    # One that has just ended has given the lock back.
    return _process(status) == process


def _process(status: os.stat_result) -> int | None:
    """Return the process that has locked a file, None where that cannot be told.

    One that has ended is named as long as what it had started holds the lock, but not in a PID namespace.
    """
    try:
        lines = LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    locks = [line.split() for line in lines if WAITS not in line.split()]
    holders = (int(lock[PROCESS]) for lock in locks if lock[KIND] == "FLOCK" and lock[FILE] == file)
    return next(holders, None)


def _is_gone(process: int) -> bool:
    """Tell whether there is no such process; /proc may hide one that is there (ProtectProc= of systemd.exec)."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


def _user(process: int) -> int | None:
    """Return who runs a process, None where that is not to be seen.

    The folder /proc/PID is root's also where a process has said that nobody may look at it (prctl(2), PR_SET_DUMPABLE).
    """
    lines = _read(process, "status").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("Uid:")), None)


def _words(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(LIMIT).decode("utf-8", "replace")
    except OSError:
        return ""


def _described(process: int) -> str:
    command = _read(process, "comm").strip()
    return f"process {process}, {command}" if command else f"process {process}"


def _read(process: int, file: str) -> str:
    try:
        return Path(f"/proc/{process}/{file}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
