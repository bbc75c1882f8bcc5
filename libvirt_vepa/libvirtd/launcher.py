# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The launcher: a small program of a person's own, which their default URI has libvirt run.

libvirt passes no arguments to the command of an `ext` URI, and a command that is gone takes every virsh of
that person with it. So the URI names this file, beside libvirt.conf. It runs the installed connection, or
virt-ssh-helper where that is gone or does not load: libvirt's own relay, in libvirt since 6.8.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from libvirt_vepa.errors import HostError
from libvirt_vepa.libvirtd.client_config import CONNECTION
from libvirt_vepa.store import atomic_file

# By this it is known again, whatever version has written it.
MARK = b"#!/bin/sh\n# Written by 'libvirt-vepa enable'"
# The connection comes back with --plain where it does not load (packaging/libvirt-vepa-connect), before it has read
# anything. libvirt clears what says where a user's own daemon is (session.py); virt-ssh-helper would start another.
TEXT = """\
#!/bin/sh
# Written by 'libvirt-vepa enable', taken away by 'libvirt-vepa disable': the default URI in libvirt.conf names it.
# It runs libvirt-vepa's connection, and where that is gone or not whole virt-ssh-helper, which is libvirt's own.
program={program}
if [ "$1" != --plain ] && [ -x "$program" ]; then
    export LIBVIRT_VEPA_LAUNCHER="$0"
    exec "$program"
fi
for name in XDG_CACHE_HOME XDG_CONFIG_HOME XDG_RUNTIME_DIR; do
    value=$(tr '\\0' '\\n' <"/proc/$PPID/environ" 2>/dev/null | sed -n "s/^$name=//p")
    [ -z "$value" ] || export "$name=$value"
done
if ! command -v virt-ssh-helper >/dev/null; then
    echo 'libvirt-vepa is gone, and there is no virt-ssh-helper; take uri_default out of libvirt.conf' >&2
    exit 1
fi
exec virt-ssh-helper qemu:///{kind}
"""


def beside(file: Path) -> Path:
    """Return where the launcher is that belongs to a configuration of libvirt's clients."""
    return file.with_name(CONNECTION)


def is_ours(path: Path) -> bool:
    """Tell whether there is a launcher that `write` has written. Raises HostError where it cannot be read."""
    with atomic_file.owner_errors(f"read {path}"):
        if not path.is_file():  # a pipe would be waited for
            return False
        with path.open("rb") as file:
            return file.read(len(MARK)) == MARK


def write(path: Path, program: Path, kind: bytes) -> bool:
    """Have the launcher there run the connection `program`, or else reach b"system" or b"session" without it.

    Returns False, and leaves nothing, where the file system runs no programs (noexec). Raises HostError where
    it cannot be written, or somebody else's file has its name.
    """
    text = os.fsencode(TEXT.format(program=shlex.quote(os.fspath(program)), kind=kind.decode()))
    with atomic_file.owner_errors(f"write {path}"):
        if os.path.lexists(path) and not is_ours(path):
            raise HostError(f"{path} is not from libvirt-vepa", "give it another name")
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not (path.exists() and path.read_bytes() == text and os.access(path, os.X_OK)):
            atomic_file.replace(path, text, mode=0o755)
        if os.access(path, os.X_OK):
            return True
        path.unlink()
    return False
