# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients that go through the connection `libvirt-vepa-connect`, and its processes."""

from __future__ import annotations

import os
import re
import select
import subprocess
from pathlib import Path

from tests.lab.daemon import virsh

URI = "qemu+ext:///system?command=/usr/bin/libvirt-vepa-connect"
PLAIN = "qemu:///system"
# Past it and through it.
BOTH = (PLAIN, URI)
END_SECONDS = 60


def through(*arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run virsh with the connection as its URI."""
    return virsh("-c", URI, *arguments, stdin=stdin, check=check)


def squeezed(xml: str) -> str:
    """Return XML without the blanks between its elements."""
    return re.sub(r">\s+<", "><", xml)


def relays() -> set[str]:
    """Return the processes of the connection that run."""
    return _processes(rb"/usr/bin/python3\0.*libvirt-vepa-connect")


def hands() -> set[str]:
    """Return the processes that make and remove devices for root's connections."""
    return _processes(rb"/usr/bin/python3\0.*libvirt_vepa\.helper")


def _processes(pattern: bytes) -> set[str]:
    lines = Path("/proc").glob("[0-9]*/cmdline")
    return {path.parent.name for path in lines if re.match(pattern, _text(path), re.DOTALL)}


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended meanwhile
        return b""


def gone(pid: str) -> None:
    """Return when a process has ended."""
    try:
        handle = os.pidfd_open(int(pid))
    except ProcessLookupError:
        return
    with os.fdopen(handle, "rb", buffering=0):
        assert select.select([handle], [], [], END_SECONDS)[0], "the process is still there"
