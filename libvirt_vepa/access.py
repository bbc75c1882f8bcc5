# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may use the system's daemon: its socket, the daemon and polkit are asked, and nobody for a password."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from libvirt_vepa import protocol
from libvirt_vepa.errors import VepaError
from libvirt_vepa.opening import authentications, system_socket

# What a distribution's rules of polkit, or the socket's mode, let use libvirt.
GROUP = "libvirt"
# The action that the daemon asks polkit about when a client wants to do more than look (remoteDispatchAuthPolkit).
ACTION = "org.libvirt.unix.manage"
# Exit statuses of pkcheck(1): allowed, not allowed, and only after somebody has given a password.
ALLOWED, REFUSALS = 0, (1, 2)
SECONDS = 10


@dataclass(frozen=True)
class Access:
    """Whether this user may use qemu:///system, and why; `why` is empty where libvirt itself lets them."""

    allowed: bool
    why: str = ""


def to_system() -> Access:
    """Return whether this user may use qemu:///system for more than looking."""
    path = system_socket()
    try:
        ways = _ways(path)
    except PermissionError:
        return Access(False, f"{path} is closed to this user")
    except OSError as error:
        return _by_group(f"{path} does not answer ({error.strerror or error})")
    except VepaError as error:
        return _by_group(f"{path} does not answer ({error.what})")
    if protocol.AUTHENTICATION_NONE in ways:
        return Access(True)
    if protocol.AUTHENTICATION_POLKIT not in ways:
        return Access(False, "libvirt's daemon wants a password")
    return _by_polkit()


def _ways(path: Path) -> list[int]:
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.settimeout(SECONDS)
        daemon.connect(os.fspath(path))
        return authentications(daemon)


def _by_polkit() -> Access:
    """Ask polkit itself: the daemon would have it ask the user for a password where there is a desktop."""
    command = ("pkcheck", "--action-id", ACTION, "--process", str(os.getpid()))
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return _by_group("polkit does not answer")
    if done.returncode == ALLOWED:
        return Access(True)
    if done.returncode in REFUSALS:
        return Access(False, "polkit does not let this user use it without a password")
    return _by_group("polkit does not answer")


def _by_group(obstacle: str) -> Access:
    member = _is_member()
    return Access(member, f"{obstacle}, and this user is {'' if member else 'not '}in the group {GROUP}")


def _is_member() -> bool:
    """Tell whether the user is in libvirt's group, by this login or since then."""
    try:
        group = grp.getgrnam(GROUP).gr_gid
        user = pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group in {os.getegid(), *os.getgroups(), *os.getgrouplist(user.pw_name, user.pw_gid)}
