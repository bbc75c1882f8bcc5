# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`enable` and `disable`: libvirt's default URI, of root or of one user, names our connection, or no longer does.

The file is libvirt's own client configuration and its owner's: whatever else is in it stays byte for byte,
and a copy of it is kept as long as the connection is named there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from libvirt_vepa.errors import HostError
from libvirt_vepa.libvirtd import access, client_config, launcher
from libvirt_vepa.libvirtd.client_config import CONNECTION
from libvirt_vepa.store import atomic_file

SAVED = ".libvirt-vepa-saved"
ROOTS = Path("/etc/libvirt/libvirt.conf")
SYSTEM, SESSION = b"system", b"session"
UNIT = "libvirt-vepa-connect.socket"
# What 'systemctl enable' makes of its [Install].
ENABLED = Path("/etc/systemd/system/sockets.target.wants", UNIT)
# The client library's, and one that only virsh knows.
VARIABLES = ("LIBVIRT_DEFAULT_URI", "VIRSH_DEFAULT_CONNECT_URI")
LACKING = "in a session no guest can have a physical interface"
CHANGE_REMEDY = "run 'libvirt-vepa enable --system'"
JOIN = f"become a member of the group {access.GROUP}"


def enable(program: str, wanted: bytes | None = None) -> Iterator[str]:
    """Name the connection that is installed with this program; yield what was done. Raises HostError.

    `wanted` is b"system" or b"session"; None keeps the one that is set, and decides for a user who has none.
    """
    file = _file()
    text = _read(file)
    now = client_config.read(text or b"", file)
    connection = _connection(Path(program))
    kind, remarks = _kind(now, wanted, file)
    by_socket = _takes_socket(kind)
    command = connection if by_socket else _command(file, connection, kind)
    uri = client_config.BY_SOCKET if by_socket else client_config.ours(kind, os.fsencode(command))
    if now == uri:
        yield f"{file} already has the default URI {os.fsdecode(uri)}"
    else:
        if not client_config.is_ours(now):
            yield _keep(file, text)
        _write(file, client_config.replaced(text or b"", uri, file))
        yield f"{file} now has the default URI {os.fsdecode(uri)}"
    if by_socket:
        yield f"{client_config.SOCKET} is that of {UNIT}; without that unit run 'libvirt-vepa enable' again"
    elif command == connection:
        yield f"{file.parent} is on a file system that runs no programs; run 'libvirt-vepa disable' before an uninstall"
    else:
        yield f"{command} runs {connection}, or plain libvirt where that is gone"
    yield from remarks
    for name in VARIABLES:
        if os.environ.get(name, "") not in ("", os.fsdecode(uri)):
            yield f"{name} is set to '{os.environ[name]}' here and overrides this file; unset it"


def disable() -> Iterator[str]:
    """Take the connection out again, and put back what was there; yield what was done. Raises HostError."""
    file = _file()
    saved = _saved(file)
    text, kept = _read(file), _read(saved)
    now = client_config.read(text or b"", file)
    if text is not None and now is not None and client_config.is_ours(now):
        yield _put_back(file, text, kept, now)
    elif client_config.names_ours(now or b""):
        yield f"{file} has the default URI {os.fsdecode(now or b'')}, which enable has not set; all stays as it is"
        return
    elif text is None and kept is not None:
        yield f"{file} is gone; as it was before is in {saved}"
        kept = None
    else:
        yield f"{file} already does without {CONNECTION}"
    if kept is not None:
        _remove(saved)
        yield f"{saved} is removed"
    yield from _without_launcher(file)


def session_remarks() -> list[str]:
    """Return what a user whose default URI reaches a session should know of a plan."""
    try:
        session = os.geteuid() != 0 and _reached() == SESSION
    except HostError:  # of a file that is damaged virsh tells
        return []
    if not session:
        return []
    reached = "this is for qemu:///system, and your default URI reaches qemu:///session"
    return [f"{reached}; {remark}" for remark in _remarks(SESSION, access.to_system())]


def _reached() -> bytes | None:
    """Return which daemon this user's default URI reaches; None where it is neither of this host's two."""
    file = _file()
    uri = os.fsencode(os.environ.get(VARIABLES[0], "")) or client_config.read(_read(file) or b"", file)
    return client_config.kind(uri) if uri else _usual()


def _put_back(file: Path, text: bytes, kept: bytes | None, now: bytes) -> str:
    if kept is not None and client_config.replaced(kept, now, file) == text:
        _write(file, kept)
        return f"{file} is as it was before"
    theirs = client_config.read(kept or b"", _saved(file))
    before = client_config.replaced(text, theirs, file) if theirs else client_config.removed(text, file)
    if kept is None and not before.strip():
        _remove(file)
        return f"{file} is removed"
    _write(file, before)
    result = f"the default URI {os.fsdecode(theirs)} again" if theirs else "no default URI any more"
    return f"{file} has {result}; the rest stays as it is"


def _without_launcher(file: Path) -> Iterator[str]:
    """Remove the launcher, unless a person's own words in the file name it."""
    path = launcher.beside(file)
    if not launcher.is_ours(path):
        return
    text = _read(file) or b""
    if os.fsencode(path) in text or quote(os.fsencode(path)).encode() in text:
        yield f"{path} stays, because {file} names it"
    else:
        _remove(path)
        yield f"{path} is removed"


# -- what is named


def _connection(program: Path) -> Path:
    """Return where the connection is installed; as a module, the program is the package's __main__.py."""
    program = program.resolve()
    folder = program.parent
    if program.name == "__main__.py" and len(program.parents) > 4:
        folder = program.parents[4] / "bin"
    found = folder / CONNECTION
    if not (found.is_file() and os.access(found, os.X_OK)):
        raise HostError(f"there is no program {found}", "install libvirt-vepa again")
    return found


def _takes_socket(kind: bytes) -> bool:
    """Tell whether the URI names the socket, where a connection costs no start of a program.

    Root's does, which whoever removes libvirt-vepa takes back. A user's goes on as plain libvirt then, for which there
    is the launcher; and polkit can ask a user for a password only where the connection is a process of theirs.
    """
    return os.geteuid() == 0 and kind == SYSTEM and ENABLED.is_symlink() and Path(client_config.SOCKET).is_socket()


def _command(file: Path, connection: Path, kind: bytes) -> Path:
    """Return what the URI names: the launcher, or the connection where a launcher would not run."""
    path = launcher.beside(file)
    return path if launcher.write(path, connection, kind) else connection


def _kind(now: bytes | None, wanted: bytes | None, file: Path) -> tuple[bytes, list[str]]:
    """Return which daemon the URI is to reach, and what its user should know of that."""
    set_already = client_config.kind(now)
    if now is not None and set_already is None:
        raise HostError(
            f"the default URI is '{os.fsdecode(now)}', which is not plain qemu:///system or qemu:///session",
            "take it out if it is not needed, and try again",
            str(file),
        )
    kind = wanted or set_already
    if os.geteuid() == 0:
        return kind or SYSTEM, []  # root's qemu:///session is the same daemon
    may = access.to_system()
    kind = kind or (SYSTEM if may.allowed else SESSION)
    return kind, list(_remarks(kind, may))


def _remarks(kind: bytes, may: access.Access) -> Iterator[str]:
    if kind == SESSION and may.allowed:
        yield f"{LACKING}; {CHANGE_REMEDY} for qemu:///system"
    elif kind == SESSION:
        yield f"{LACKING}, and qemu:///system is not for this user: {may.why}; {JOIN}, and {CHANGE_REMEDY}"
    elif not may.allowed:
        yield f"qemu:///system is not for this user: {may.why}; {JOIN}"
    elif may.why:
        yield f"qemu:///system is taken to be for this user: {may.why}"


def _usual() -> bytes:
    """Return what libvirt takes where no default URI is set (virConnectOpenInternal)."""
    return SESSION if os.geteuid() else SYSTEM


# -- the files


def _file() -> Path:
    """Return the file that libvirt's client library reads for this user (virConfLoadConfigPath)."""
    if os.geteuid() == 0:
        return ROOTS
    try:
        folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    except RuntimeError:
        raise HostError("this user has no home folder", "set HOME") from None
    return Path(folder, "libvirt", "libvirt.conf").absolute()


def _saved(file: Path) -> Path:
    return file.with_name(file.name + SAVED)


def _keep(file: Path, text: bytes | None) -> str:
    """Keep a copy; one from a time before somebody else took the connection out tells nothing any more."""
    saved = _saved(file)
    if text is None:
        if _read(saved) is not None:
            _remove(saved)
        return f"{file} is new"
    with atomic_file.owner_errors(f"write {saved}"):
        atomic_file.replace(saved, text, file.stat())
    return f"{file} as it was is kept as {saved}"


def _read(file: Path) -> bytes | None:
    with atomic_file.owner_errors(f"read {file}"):
        try:
            return file.read_bytes()
        except FileNotFoundError:
            return None


def _write(file: Path, text: bytes) -> None:
    with atomic_file.owner_errors(f"write {file}"):
        place = file.resolve()  # who keeps the file elsewhere, and a link to it here, goes on doing so
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        atomic_file.replace(place, text, place.stat() if place.exists() else None)


def _remove(file: Path) -> None:
    with atomic_file.owner_errors(f"remove {file}"):
        file.unlink()
