# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A user's own daemon: where its sockets are, and starting it where none runs, as libvirt's own client does.

Facts: virnetsocket.c (virNetSocketNewConnectUNIX), remote_sockets.c (remoteGetURIDaemonInfo) and
vircommand.c (virCommandAddEnvPassCommon) of libvirt.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from libvirt_vepa.errors import not_installed

# What decides where a user's daemon is, and which one, and whether to start it. libvirt does not
# pass it on to the command that it runs for a connection.
VARIABLES = (
    "LIBVIRTD_PATH",
    "LIBVIRT_AUTOSTART",
    "VIRTQEMUD_PATH",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
)


def sockets() -> Path:
    """Return the folder of the sockets of this user's daemon (virGetUserRuntimeDirectory)."""
    found = _variables()
    # Where the client's cannot be read it is most likely the usual one.
    usual = Path(f"/run/user/{os.getuid()}")
    if found is None and usual.is_dir():
        return usual / "libvirt"
    found = found or {}
    runtime = found.get("XDG_RUNTIME_DIR") or found.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(runtime) / "libvirt"


def answers(path: Path) -> bool:
    """Tell whether there may be a daemon at a socket: nothing else is a reason to start one (as libvirt sees it)."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:  # whoever connects next says what
            return True
    return True


def start() -> None:
    """Start this user's daemon, and return when it answers; it ends by itself when nobody uses it.

    libvirt's client library does it: it knows which daemon this host has, and sees to it that of
    several clients at once only one starts it. Raises HostError with the library's words.
    """
    os.environ.update(_variables() or {})
    try:
        from libvirt_vepa.libvirtd import client as libvirt_client
    except ImportError as error:
        raise not_installed(error) from error
    libvirt_client.start_session()


def _variables() -> Mapping[str, str] | None:
    """Return those variables as the client has them; None where they cannot be read.

    The client is the parent: the launcher that a default URI names has become this process.
    """
    try:
        text = Path(f"/proc/{os.getppid()}/environ").read_bytes()
    except OSError:
        return None
    pairs = (entry.partition("=") for entry in os.fsdecode(text).split("\0"))
    return {name: value for name, _, value in pairs if name in VARIABLES}
