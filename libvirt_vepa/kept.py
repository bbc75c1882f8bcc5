# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files that hold what is known while guests run: whole and on disk, or not there; StateError says what went wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from libvirt_vepa.errors import StateError, remedy_for

TEMPORARY = ".new"


def write(path: Path, text: str) -> None:
    """Write a whole file, on disk before this returns; nothing stays of one that does not fit."""
    with told(f"write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)
            raise


def replace(path: Path, text: str) -> None:
    """Write a file whole and durable in the place of an earlier one."""
    beginning = _beginning(path)
    write(beginning, text)
    with told(f"write {path}"):
        beginning.replace(path)


def remove(path: Path) -> None:
    """Remove a file, and what an interrupted `replace` left of one."""
    with told(f"remove {path}"):
        _beginning(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _beginning(path: Path) -> Path:
    """Where a file is written before it takes its place; a lock makes it one writer's."""
    return path.with_name(path.name + TEMPORARY)


def entries(folder: Path) -> list[Path]:
    """Return what is in a folder, nothing where there is none."""
    with told(f"read {folder}"):
        try:
            return list(folder.iterdir())
        except FileNotFoundError:
            return []


@contextmanager
def told(doing: str) -> Iterator[None]:
    """Say in a StateError what could not be done."""
    try:
        yield
    except OSError as error:
        remedy = remedy_for(error, "see that /run is writable and not full")
        raise StateError(f"cannot {doing}: {error.strerror}", remedy) from error
