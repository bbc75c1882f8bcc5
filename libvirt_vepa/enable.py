"""libvirt's default URI, of root or of one user: it names the connection `libvirt-vepa-connect`, or no longer does.

The file is libvirt's own client configuration and its owner's: whatever else is in it stays byte for byte,
and a copy of it is kept as long as the connection is named there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from libvirt_vepa import default_uri, files
from libvirt_vepa.default_uri import CONNECTION
from libvirt_vepa.errors import HostError

SAVED = ".libvirt-vepa-saved"
SYSTEM = Path("/etc/libvirt")
# The client library's, and one that only virsh knows.
VARIABLES = ("LIBVIRT_DEFAULT_URI", "VIRSH_DEFAULT_CONNECT_URI")


def enable(program: str) -> Iterator[str]:
    """Name the connection that is installed with this program; yield what was done. Raises HostError."""
    file = _file()
    text = _read(file)
    now = default_uri.read(text or b"", file)
    uri = _named(now, _connection(Path(program)), file)
    if now == uri:
        yield f"{file} already has the default URI {os.fsdecode(uri)}"
    else:
        if not default_uri.command(now):
            yield _keep(file, text)
        _write(file, default_uri.replaced(text or b"", uri, file))
        yield f"{file} now has the default URI {os.fsdecode(uri)}"
    for name in VARIABLES:
        if os.environ.get(name, "") not in ("", os.fsdecode(uri)):
            yield f"{name} is set to '{os.environ[name]}' here, and wins; unset it"


def disable() -> Iterator[str]:
    """Take the connection out again, and put back what was there; yield what was done. Raises HostError."""
    file = _file()
    saved = _saved(file)
    text, kept = _read(file), _read(saved)
    now = default_uri.read(text or b"", file)
    if text is not None and now is not None and default_uri.command(now):
        yield _put_back(file, text, kept, now)
    else:
        yield f"{file} already does without {CONNECTION}"
    if kept is not None:
        _remove(saved)
        yield f"{saved} is removed"


def _put_back(file: Path, text: bytes, kept: bytes | None, now: bytes) -> str:
    if kept is not None and default_uri.replaced(kept, now, file) == text:
        _write(file, kept)
        return f"{file} is as it was before"
    theirs = default_uri.read(kept or b"", _saved(file))
    before = default_uri.replaced(text, theirs, file) if theirs else default_uri.removed(text, file)
    if kept is None and not before.strip():
        _remove(file)
        return f"{file} is removed"
    _write(file, before)
    result = f"the default URI {os.fsdecode(theirs)} again" if theirs else "no default URI any more"
    return f"{file} has {result}; the rest stays as it is"


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


def _named(now: bytes | None, connection: Path, file: Path) -> bytes:
    """Return the URI that reaches, by the connection, the daemon that is reached now."""
    kind = b"session" if os.geteuid() else b"system"
    if now is not None:
        known = default_uri.kind(now)
        if not known:
            raise HostError(
                f"the default URI is '{os.fsdecode(now)}', which is not plain qemu:///system or qemu:///session",
                "take it out if it is not needed, and try again",
                str(file),
            )
        kind = known
    return default_uri.ours(kind, os.fsencode(connection))


# -- the files


def _file() -> Path:
    """Return the file that libvirt's client library reads for this user (virConfLoadConfigPath)."""
    if os.geteuid() == 0:
        return SYSTEM / "libvirt.conf"
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
    with _told(f"write {saved}"):
        files.replace(saved, text, file.stat())
    return f"{file} as it was is kept as {saved}"


def _read(file: Path) -> bytes | None:
    with _told(f"read {file}"):
        try:
            return file.read_bytes()
        except FileNotFoundError:
            return None


def _write(file: Path, text: bytes) -> None:
    with _told(f"write {file}"):
        place = file.resolve()  # who keeps the file elsewhere, and a link to it here, goes on doing so
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        files.replace(place, text, place.stat() if place.exists() else None)


def _remove(file: Path) -> None:
    with _told(f"remove {file}"):
        file.unlink()


def _told(doing: str) -> AbstractContextManager[None]:
    """Root's rights would not help a user: root's file is another one."""
    return files.told(doing, "make it and its folder your own" if os.geteuid() else "")
