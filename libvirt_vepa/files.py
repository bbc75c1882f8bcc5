# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files that a person may read and change too: written whole or not at all, and what goes wrong told in one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from libvirt_vepa.errors import HostError, remedy_for


def replace(path: Path, data: bytes, like: os.stat_result | None = None, mode: int | None = None) -> None:
    """Write a file whole or not at all, with mode and owner of `like`, or with `mode`; its beginning is hidden."""
    beginning = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with open(beginning, "wb") as file:
            if like:
                _dress(file.fileno(), like)
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beginning.replace(path)
    except BaseException:
        beginning.unlink(missing_ok=True)
        raise


def _dress(descriptor: int, like: os.stat_result) -> None:
    now = os.fstat(descriptor)
    if (now.st_uid, now.st_gid) != (like.st_uid, like.st_gid):
        os.fchown(descriptor, like.st_uid, like.st_gid)
    os.fchmod(descriptor, like.st_mode & 0o7777)


@contextmanager
def told(doing: str, denied: str = "") -> Iterator[None]:
    """Say in a HostError what could not be done to a file; `denied` is the remedy where rights are missing."""
    try:
        yield
    except OSError as error:
        otherwise = "see that the path is right and the file system is in order"
        remedy = denied if denied and isinstance(error, PermissionError) else remedy_for(error, otherwise)
        raise HostError(f"cannot {doing}: {error.strerror}", remedy) from error


def told_owner(doing: str) -> AbstractContextManager[None]:
    """Say the same of a file that is to be this user's own; root's rights would not help, root has another one."""
    return told(doing, "make it and its folder your own" if os.geteuid() else "")
