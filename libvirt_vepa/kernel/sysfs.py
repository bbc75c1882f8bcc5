# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the kernel shows and takes as files: /sys/class/net, /proc/sys/net and the nodes below /dev.

Every name that comes in here has been checked to be a device's name before.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from libvirt_vepa.errors import KernelError

NET = Path("/sys/class/net")
DEV = Path("/dev")
IPV6 = Path("/proc/sys/net/ipv6/conf")
# IN_CREATE, IN_MOVED_TO and IN_ATTRIB of linux/inotify.h: udev makes, renames or relabels a node.
NODE_EVENTS = 0x100 | 0x80 | 0x4


def read(path: Path) -> str | None:
    """Return the text of a kernel file without the closing line break, or None where there is none."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        # A device that goes away while it is looked at answers ENODEV or EINVAL.
        if error.errno in (errno.ENODEV, errno.EINVAL):
            return None
        raise KernelError(f"cannot read {path}: {error.strerror}", "run as root on the host itself") from error


def uppers(device: str) -> Iterator[str]:
    """Yield the names of the devices that stand on `device`, one at a time, in no order.

    Lazily, because a NIC may carry hundreds of guests and the first few tell enough.
    """
    try:
        with os.scandir(NET / device) as entries:
            for entry in entries:
                if entry.name.startswith("upper_"):
                    yield entry.name.removeprefix("upper_")
    except FileNotFoundError:
        return


def address(device: str) -> str:
    """Return a device's MAC, nothing where there is no such device."""
    return read(NET / device / "address") or ""


def is_running(device: str) -> bool:
    """Tell whether a device is there, up, and has a carrier."""
    return read(NET / device / "operstate") == "up"


def guest_kind(device: str) -> str:
    """Return what a device is called that guests have, "" for any other; a macvlan cannot be told from others here."""
    if (NET / device / "macvtap").is_dir():
        return "macvtap"
    return "tap" if (NET / device / "tun_flags").exists() else ""


def ipv6_enabled(device: str) -> bool:
    """Tell whether the host itself speaks IPv6 on a device; False where the kernel has no IPv6."""
    return read(IPV6 / device / "disable_ipv6") == "0"


def disable_ipv6(device: str) -> None:
    """Keep the host from speaking IPv6 on a device; nothing to do where the kernel has no IPv6.

    Raises KernelError where /proc/sys cannot be written.
    """
    path = IPV6 / device / "disable_ipv6"
    try:
        path.write_text("1\n", encoding="ascii")
    except FileNotFoundError:
        return
    except OSError as error:
        raise KernelError(f"cannot write {path}: {error.strerror}", "make /proc/sys writable for root") from error


def tap_node(device: str) -> Path | None:
    """Return where the character device of a macvtap belongs, or None while the kernel has not announced it.

    The folder below `macvtap` names it; /dev/tapN alone may belong to another network
    namespace, whose interface has the same index.
    """
    try:
        names = os.listdir(NET / device / "macvtap")
    except FileNotFoundError:
        return None
    return DEV / names[0] if names else None


def node_is_right(device: str) -> bool:
    """Tell whether the macvtap's node exists and is the very device that the kernel announced."""
    node = tap_node(device)
    if node is None:
        return False
    announced = read(NET / device / "macvtap" / node.name / "dev")
    try:
        status = node.stat()
    except FileNotFoundError:
        return False
    found = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return stat.S_ISCHR(status.st_mode) and found == announced


def await_node(device: str, seconds: float) -> None:
    """Return once the macvtap's node below /dev is there; udev may make it a moment after the device.

    libvirt looks once, and takes a macvtap without its node for something else.
    Raises KernelError after `seconds`.
    """
    if node_is_right(device):
        return
    with _Watch(DEV) as watch:
        deadline = time.monotonic() + seconds
        while not node_is_right(device):
            if not watch.wait(deadline - time.monotonic()):
                raise _no_node(device, seconds)


def _no_node(device: str, seconds: float) -> KernelError:
    node = tap_node(device)
    if node is not None and node.exists():
        # Of another network namespace, or of a device that has gone and whose node somebody made by hand.
        return KernelError(f"{node} is not the node of {device}", f"stop what made it, or remove it ('rm {node}')")
    return KernelError(
        f"{node or 'the node'} of {device} did not appear in {seconds:g} seconds",
        "see that udev runs, or that /dev is a devtmpfs of this host",
    )


class _Watch:
    """Waits for something to happen in a folder (inotify, which Python's library does not have)."""

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._folder = folder

    def __enter__(self) -> _Watch:
        self._fd = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0 or self._libc.inotify_add_watch(self._fd, bytes(self._folder), NODE_EVENTS) < 0:
            reason = os.strerror(ctypes.get_errno())
            raise KernelError(f"cannot watch {self._folder}: {reason}", "raise fs.inotify.max_user_instances")
        return self

    def wait(self, seconds: float) -> bool:
        """Return True after an event, False when `seconds` have passed."""
        ready, _, _ = select.select([self._fd], [], [], max(0.0, seconds))
        if ready:
            os.read(self._fd, 65536)
        return bool(ready)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
