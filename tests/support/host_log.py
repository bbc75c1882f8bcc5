# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The host's log: what programs say to syslog(3)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread

from tests.lab.shell import run

LOG = Path("/dev/log")
# No program says that.
END = b"no more"
# What programs have of /dev that are no guests on macvtaps, whose nodes come to be in the machine's own.
NODES = ("null", "zero", "full", "random", "urandom", "tty", "net/tun")


@contextmanager
def heard() -> Iterator[list[str]]:
    """Be the host's log, and give what it is told once that has ended."""
    found: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(LOG))
        # It must be read all the time: the kernel keeps ten messages, and then those who say something wait.
        reader = Thread(target=lambda: found.extend(text.decode() for text in iter(lambda: log.recv(4096), END)))
        reader.start()
        try:
            yield found
        finally:
            log.sendto(END, str(LOG))
            reader.join()
            LOG.unlink()


@contextmanager
def own_devices(folder: Path) -> Iterator[None]:
    """Have a /dev in this lab alone, in which there can be a log."""
    with ExitStack() as stack:
        run("mount", "-t", "tmpfs", "-o", "mode=755", "dev", str(folder))
        stack.callback(run, "umount", "--lazy", str(folder))
        (folder / "net").mkdir()
        for name in NODES:
            (folder / name).touch()
            run("mount", "--bind", f"/dev/{name}", str(folder / name))
        run("mount", "--rbind", str(folder), "/dev")
        stack.callback(run, "umount", "--lazy", "/dev")
        yield
