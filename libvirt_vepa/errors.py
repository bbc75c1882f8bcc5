# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can go wrong, named by who must act.

Every error a person can cause is one line: where, what, and what to do about it.
The message never holds a line break or another control character, whatever
hostile text it quotes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

E = TypeVar("E", bound="VepaError")
# What helps against what the system says of a file, whosever it is.
REMEDIES = {
    errno.EROFS: "make the file system writable",
    errno.ENOSPC: "make room on the file system",
    errno.EDQUOT: "make room on the file system",
}
FORBIDDEN = "see what AppArmor or SELinux says in the kernel's log, or what the container forbids"


def printable(text: str) -> str:
    """Return `text` with everything that is not printable written as an escape."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode() for char in text
    )


class VepaError(Exception):
    """An error that is shown to a person.

    `what` says what is wrong, `remedy` what to do, `where` (outermost first) the
    guest, file, interface or line that it is about.
    """

    def __init__(self, what: str, remedy: str, *where: str) -> None:
        super().__init__(what, remedy, *where)
        self.what = what
        self.remedy = remedy
        self.where = where

    def within(self: E, where: str) -> E:
        """Return the same error, said of a part of `where`."""
        return type(self)(self.what, self.remedy, where, *self.where)

    def __str__(self) -> str:
        return printable(": ".join((*self.where, f"{self.what}; {self.remedy}")))


class XmlError(VepaError):
    """The document must be changed by whoever wrote it."""


class HostError(VepaError):
    """The host cannot do what is asked: its administrator must act, or the request must ask for less."""


class InUseError(VepaError):
    """Another guest, or another program, holds what is asked for."""


class KernelError(VepaError):
    """The kernel refused an operation that the plan thought possible."""


class StateError(VepaError):
    """What libvirt-vepa keeps below /run is missing, damaged, or cannot be written."""


class NewerStateError(StateError):
    """A newer libvirt-vepa wrote it; this one must not guess what it means."""


class ProtocolError(VepaError):
    """What came over a connection of libvirt's, or would have to go over it, does not follow its protocol."""


@contextmanager
def error_context(where: str) -> Iterator[None]:
    """Say of every error that comes out of this block that it is about a part of `where`."""
    try:
        yield
    except VepaError as error:
        raise error.within(where) from error


def remedy_for(error: OSError, otherwise: str) -> str:
    """Return what to do about a file that could not be read or written."""
    if isinstance(error, PermissionError):
        # Root, as whom libvirt runs the hook, has all rights that nobody has taken from it.
        return FORBIDDEN if os.geteuid() == 0 else "run the command as root"
    return REMEDIES.get(error.errno or 0, otherwise)


def not_installed(error: ImportError | SyntaxError) -> HostError:
    """Return the error for a library, or a part of this package, that is missing or not whole."""
    module = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if module in ("", __package__):
        return HostError(f"the installation is not whole: {error}", "install libvirt-vepa again")
    return HostError(f"Python's module '{module}' is missing", f"install the package python3-{module}")
