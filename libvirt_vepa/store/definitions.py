# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What this host's NICs are called: /etc/libvirt/vepa/NAME.xml, one file a name.

Where `directory` is left out, it is DIRECTORY.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from libvirt_vepa.errors import HostError, VepaError, XmlError
from libvirt_vepa.model.interface import NicDefinition, check_definition_name
from libvirt_vepa.store import atomic_file
from libvirt_vepa.xml import definition
from libvirt_vepa.xml import document as documents

DIRECTORY = Path("/etc/libvirt/vepa")


def keep(found: NicDefinition, directory: Path | None = None) -> None:
    """Write a definition, in the place of an earlier one of that name, which stays where that raises HostError."""
    path = _path(found.name, directory)
    with atomic_file.host_errors(f"write {path}"):
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        atomic_file.replace(path, definition.write(found))


def load(name: str, directory: Path | None = None) -> NicDefinition:
    """Return the definition of that name; HostError where there is none, XmlError where its file is damaged."""
    path = _path(name, directory)
    with atomic_file.host_errors(f"read {path}"), _known(name), open(path, "rb") as file:
        data = file.read(documents.LIMIT + 1)
    found = definition.read(data, str(path))
    if found.name != name:
        raise XmlError(f"the file defines '{found.name}'", f"rename one of the two, or define '{name}' anew", str(path))
    return found


def load_all(directory: Path | None = None) -> tuple[tuple[str, NicDefinition | VepaError], ...]:
    """Return every name that has a file, in order, with its definition or with what is wrong with it."""
    folder = directory or DIRECTORY
    return tuple((name, load_or_error(name, folder)) for name in names(folder))


def names(directory: Path | None = None) -> tuple[str, ...]:
    """Return every name that has a file, in order. Raises HostError where the folder cannot be read.

    Hidden files and what does not end in `.xml` (an editor's backups) are nobody's definitions.
    """
    folder = directory or DIRECTORY
    with atomic_file.host_errors(f"read {folder}"):
        try:
            found = sorted(path.name for path in folder.iterdir() if path.is_file())
        except FileNotFoundError:
            return ()
    return tuple(name.removesuffix(".xml") for name in found if name.endswith(".xml") and not name.startswith("."))


def load_or_error(name: str, directory: Path | None = None) -> NicDefinition | VepaError:
    """Return the definition of that name, or what is wrong with it."""
    try:
        return load(name, directory)
    except VepaError as error:
        return error


def dump(name: str, directory: Path | None = None) -> bytes:
    """Return the definition of that name as a canonical document; raises as `load` does."""
    return definition.write(load(name, directory))


def undefine(name: str, directory: Path | None = None) -> None:
    """Forget a definition, damaged or not; HostError where there is none or it cannot be removed."""
    path = _path(name, directory)
    with atomic_file.host_errors(f"remove {path}"), _known(name):
        path.unlink()


def _path(name: str, directory: Path | None) -> Path:
    return (directory or DIRECTORY) / f"{check_definition_name(name)}.xml"


@contextmanager
def _known(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise HostError(
            f"no physical interface '{name}' is defined on this host",
            "see 'libvirt-vepa iface-list', and define it with 'libvirt-vepa iface-define'",
        ) from None
