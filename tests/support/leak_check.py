# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""That nothing has changed: the kernel's devices, what libvirt-vepa keeps, and what it is told in /etc/libvirt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.lab.shell import ip_json

FOLDERS = ("/run/libvirt/vepa", "/etc/libvirt")


def devices() -> dict[str, Any]:
    """Return every network device with all that the kernel tells of it, but for clocks that run by themselves."""
    return {link["ifname"]: _still(link) for link in ip_json("link")}


def _still(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _still(each) for key, each in value.items() if not key.endswith("timer")}
    return value


def files() -> dict[str, tuple[object, ...]]:
    """Return every file below our folders, with mode, owner and content; a folder that comes to be does not count."""
    return {str(path): _file(path) for folder in FOLDERS for path in Path(folder).rglob("*") if not path.is_dir()}


def _file(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    content = path.readlink() if path.is_symlink() else path.read_bytes()
    return status.st_mode, status.st_uid, status.st_gid, content


class Untouched:
    """Sees, at the end of its `with`, that everything is as it was before; `what` begins the message otherwise."""

    def __init__(self, what: str = "") -> None:
        self._what = what

    def __enter__(self) -> Untouched:
        self._before = {**devices(), **files()}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            changed = list(differences(self._before, {**devices(), **files()}))
            assert not changed, f"{self._what}\n  " + "\n  ".join(changed)


def differences(before: Any, after: Any, place: str = "") -> Iterator[str]:
    """Yield what is not as before, down to the values that differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from differences(before.get(key), after.get(key), f"{place} {key}".strip())
    elif before != after:
        yield f"{place}: was {before!r}, is {after!r}"
