# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files that are written whole or not at all, and what goes wrong told in one line.

Those that a person may read and change too (HostError), and those below /run that hold what is known while
guests run (StateError).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from libvirt_vepa.errors import HostError, StateError, VepaError, remedy_for

TEMPORARY = ".new"
# Below /run: who can open a lock's file, if only to read it, can hold the lock (flock(2)).
FOLDER_MODE, FILE_MODE = 0o700, 0o600


# -- a person's files


def replace(path: Path, data: bytes, like: os.stat_result | None = None, mode: int | None = None) -> None:
    """Write a file in the place of an earlier one, with mode and owner of `like`, or with `mode`. Raises OSError."""
    beginning = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    _write(beginning, data, like, mode)
    try:
        beginning.replace(path)
    except BaseException:
        beginning.unlink(missing_ok=True)
        raise


def _write(path: Path, data: bytes, like: os.stat_result | None = None, mode: int | None = None) -> None:
    """Write a file that is on disk before this returns; nothing stays of one that does not fit."""
    try:
        with open(path, "wb") as file:
            if like:
                _dress(file.fileno(), like)
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _dress(descriptor: int, like: os.stat_result) -> None:
    now = os.fstat(descriptor)
    if (now.st_uid, now.st_gid) != (like.st_uid, like.st_gid):
        os.fchown(descriptor, like.st_uid, like.st_gid)
    os.fchmod(descriptor, like.st_mode & 0o7777)


# -- files below /run; each of these raises StateError


def make_folder(folder: Path) -> None:
    """Have a folder of the state, and the one that it is in, be this user's alone. Raises OSError.

    An earlier version made them for everybody to read.
    """
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    for each in (folder.parent, folder):
        each.mkdir(FOLDER_MODE, exist_ok=True)
        if stat.S_IMODE(each.stat().st_mode) != FOLDER_MODE:
            _close(each)


def _close(folder: Path) -> None:
    """Take from others what they were given of a folder. Raises OSError."""
    folder.chmod(FOLDER_MODE)
    for path in folder.iterdir():
        # One that goes meanwhile has a process that works with it.
        with suppress(FileNotFoundError):
            if stat.S_ISREG(path.lstat().st_mode):
                path.chmod(FILE_MODE)


def create(path: Path, text: str) -> None:
    """Write a file, and the folder that it is in; nobody but the owner may look at either."""
    with state_errors(f"write {path}"):
        make_folder(path.parent)
        _write(path, text.encode(), mode=FILE_MODE)


def save(path: Path, text: str) -> None:
    """Write a file in the place of an earlier one; the caller's lock makes it the only writer."""
    beginning = path.with_name(path.name + TEMPORARY)
    create(beginning, text)
    with state_errors(f"write {path}"):
        beginning.replace(path)


def remove(path: Path) -> None:
    """Remove a file, and what an interrupted `save` left of one."""
    with state_errors(f"remove {path}"):
        path.with_name(path.name + TEMPORARY).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def entries(folder: Path) -> list[Path]:
    """Return what is in a folder, nothing where there is none."""
    with state_errors(f"read {folder}"):
        try:
            return list(folder.iterdir())
        except FileNotFoundError:
            return []


# -- errors


@contextmanager
def os_errors(action: str, kind: type[VepaError], otherwise: str, denied: str = "") -> Iterator[None]:
    """Raise an error of that kind for an OSError of this block.

    `denied` is the remedy where rights are missing, `otherwise` where nothing better is known.
    """
    try:
        yield
    except OSError as error:
        remedy = denied if denied and isinstance(error, PermissionError) else remedy_for(error, otherwise)
        raise kind(f"cannot {action}: {error.strerror}", remedy) from error


def host_errors(action: str, denied: str = "") -> AbstractContextManager[None]:
    """Raise HostError for a person's file."""
    return os_errors(action, HostError, "see that the path is right and the file system is in order", denied)


def owner_errors(action: str) -> AbstractContextManager[None]:
    """Raise HostError for a file that is to be this user's own; root's rights would not help, root has another one."""
    return host_errors(action, "make it and its folder your own" if os.geteuid() else "")


def state_errors(action: str) -> AbstractContextManager[None]:
    """Raise StateError for a file below /run."""
    return os_errors(action, StateError, "see that /run is writable and not full")
