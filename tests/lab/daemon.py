# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab's own libvirtd, in the namespaces and on the overlays that `enter` made."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.lab.shell import BOUND_SECONDS, run

# No sandboxes of QEMU's own: the lab is one.
QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
namespaces = []
cgroup_controllers = []
"""
# As where libvirt is a service everybody may connect, and who is not root is for polkit to judge. There is none in
# here (see `enter`), so it is root alone who is let in.
LIBVIRTD_CONF = """\
auth_unix_ro = "polkit"
auth_unix_rw = "polkit"
"""
# Where a daemon keeps what it has; the machine of `boot` has a /var/log of its own.
FOLDERS = ("/etc/libvirt", "/var/log/libvirt", "/var/lib/libvirt", "/var/cache/libvirt")


def virsh(*arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run virsh against the lab's daemon."""
    return run("virsh", "-q", *arguments, stdin=stdin, check=check)


class Daemon:
    """A running pair of virtlogd and libvirtd."""

    def __init__(self) -> None:
        self._libvirtd: int | None = None

    def configure(self, text: str = LIBVIRTD_CONF) -> None:
        """Write what libvirtd reads when it starts, the lab's own unless told."""
        Path("/etc/libvirt/libvirtd.conf").write_text(text, encoding="ascii")

    def start(self) -> None:
        """Start libvirtd and return when it answers."""
        run("libvirtd", "-d")
        self._libvirtd = _pid("/run/libvirtd.pid")
        virsh("version")

    def stop(self) -> None:
        """Stop libvirtd, not its guests, and return when it has ended."""
        if self._libvirtd is not None:
            end(self._libvirtd)
            self._libvirtd = None

    def restart(self) -> None:
        """Stop and start libvirtd while guests run."""
        self.stop()
        self.start()

    @contextmanager
    def configured(self, text: str) -> Iterator[None]:
        """Have libvirtd read another configuration for a while."""
        self.configure(text)
        self.restart()
        try:
            yield
        finally:
            self.configure()
            self.restart()


@contextmanager
def daemon() -> Iterator[Daemon]:
    """Run the lab's libvirtd; every guest is destroyed in the end."""
    for folder in FOLDERS:
        Path(folder).mkdir(parents=True, exist_ok=True)
    Path("/etc/libvirt/qemu.conf").write_text(QEMU_CONF, encoding="ascii")
    run("virtlogd", "-d")
    logger = _pid("/run/virtlogd.pid")
    found = Daemon()
    found.configure()
    try:
        found.start()
        yield found
        for name in virsh("list", "--name").stdout.split():
            virsh("destroy", name)
    finally:
        found.stop()
        end(logger)


def session_daemon(runtime: Path, through: Sequence[str]) -> AbstractContextManager[None]:
    """Run a user's libvirtd, by the command that becomes this user; `runtime` is their XDG_RUNTIME_DIR."""
    return another_daemon(runtime / "libvirt/libvirtd.pid", through)


@contextmanager
def another_daemon(pid_file: Path, through: Sequence[str]) -> Iterator[None]:
    """Run a libvirtd beside the lab's own, by the command that becomes its user or enters its host."""
    # A daemon looks at the lab's variable too, when a client leaves the URI to it.
    run(*through, "env", "-u", "LIBVIRT_DEFAULT_URI", "libvirtd", "-d")
    try:
        yield
    finally:
        end(_pid(pid_file))


def _pid(file: str | Path) -> int:
    return int(Path(file).read_text(encoding="ascii"))


def end(pid: int) -> None:
    """Ask a process to end, and wait until it has."""
    handle = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not select.select([handle], [], [], BOUND_SECONDS)[0]:
            raise TimeoutError(f"process {pid} has not ended in {BOUND_SECONDS:g} seconds")
    finally:
        os.close(handle)
