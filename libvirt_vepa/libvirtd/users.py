# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which users have the connection as their default URI: who takes libvirt-vepa away tells them, and changes nothing."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

from libvirt_vepa.errors import HostError
from libvirt_vepa.libvirtd import client_config, launcher
from libvirt_vepa.libvirtd.client_config import CONNECTION

# More than any configuration of libvirt's clients; what follows is not looked at.
LIMIT = 64 * 1024
# For one home folder, which may be on a server that does not answer, and for all of them.
SECONDS, ALL_SECONDS = 3, 30
# Another file than a regular one is not opened; one that becomes a pipe in between costs its owner SECONDS.
READ = f'[ -f "$1" ] && exec head -c {LIMIT} -- "$1"'
REMEDY = "run 'libvirt-vepa disable' as {name} now, or take the line uri_default out of it later"


def report() -> Iterator[str]:
    """Yield a line for each user of this host whose own file names the connection.

    Each file is read with its user's rights, in their home folder: where a user has set XDG_CONFIG_HOME is
    not known. Root's file is another one, and not looked at.
    """
    last = time.monotonic() + ALL_SECONDS
    for user, file in _files():
        if time.monotonic() > last:
            yield f"{file} and those after it were not looked at: {ALL_SECONDS} seconds are over; ask these users"
            return
        try:
            uri = client_config.read(_text(user, file), file)
        except subprocess.TimeoutExpired:
            yield f"{file} cannot be read within {SECONDS} seconds; see whether it names {CONNECTION}"
        except (HostError, OSError):
            continue  # libvirt cannot read it either, or the user cannot
        else:
            yield from _told(user.pw_name, file, unquote_to_bytes(uri or b""))


def _told(name: str, file: Path, uri: bytes) -> Iterator[str]:
    if not client_config.names_ours(uri):
        return
    remedy = REMEDY.format(name=name)
    if os.fsencode(launcher.beside(file)) in uri:
        without = "goes on without libvirt-vepa as plain libvirt's"
    else:
        without = "cannot connect any more without libvirt-vepa"
    yield f"{file} names {CONNECTION}, and {name}'s virsh {without}; {remedy}"


def _files() -> Iterator[tuple[pwd.struct_passwd, Path]]:
    homes = {"", "/"}
    for user in pwd.getpwall():
        if user.pw_uid and user.pw_dir not in homes:
            homes.add(user.pw_dir)
            yield user, Path(user.pw_dir, ".config/libvirt/libvirt.conf")


def _text(user: pwd.struct_passwd, file: Path) -> bytes:
    """Return the beginning of a file as its user reads it, nothing where there is none."""
    root = os.geteuid() == 0
    done = subprocess.run(
        ("/bin/sh", "-c", READ, "sh", os.fspath(file)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd="/",
        env={"PATH": os.defpath},
        timeout=SECONDS,
        check=False,
        user=user.pw_uid if root else None,
        group=user.pw_gid if root else None,
        extra_groups=os.getgrouplist(user.pw_name, user.pw_gid) if root else None,
    )
    return done.stdout
