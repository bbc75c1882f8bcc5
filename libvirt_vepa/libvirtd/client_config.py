# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt's client configuration as text: the default URI that it sets, and whether that names our connection."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote_from_bytes

from libvirt_vepa.errors import HostError

# The name of the connection's program, and of the launcher that runs it.
CONNECTION = "libvirt-vepa-connect"
# As virconf.c reads it. Comments and other strings come first, so that nothing within them is taken for ours.
SETTING = re.compile(
    rb"""\#[^\r\n]* | \"{3}[\s\S]*?\"{3} | "[^"\r\n]*" | '[^'\r\n]*'
    | (?P<name> \b uri_default [ \t]* =) [ \t]* (?: (?P<quote> \"{3} | ["'] ) (?P<uri> [^\r\n]*? ) (?P=quote) )?""",
    re.VERBOSE,
)
PLAIN = re.compile(rb"qemu:///(?P<kind>system|session)")
OURS = re.compile(rb"qemu\+ext:///(?P<kind>system|session)\?command=[^&]*/" + CONNECTION.encode())
# Of libvirt-vepa-connect.socket, and the URI that names it.
SOCKET = "/run/libvirt/libvirt-vepa-sock"
BY_SOCKET = b"qemu:///system?socket=" + SOCKET.encode()


def ours(kind: bytes, command: bytes) -> bytes:
    """Return the URI that has libvirt run a command for its connection; `kind` is b"system" or b"session"."""
    return b"qemu+ext:///%s?command=%s" % (kind, quote_from_bytes(command).encode())


def is_ours(uri: bytes | None) -> bool:
    """Tell whether it is one that `enable` sets: our socket, or our launcher or our program as its command."""
    return uri == BY_SOCKET or OURS.fullmatch(uri or b"") is not None


def names_ours(uri: bytes) -> bool:
    """Tell whether it is one that does not work without libvirt-vepa, whoever has set it."""
    return CONNECTION.encode() in uri or SOCKET.encode() in uri


def kind(uri: bytes | None) -> bytes | None:
    """Return b"system" or b"session" for a plain URI and for one of ours; None for any other."""
    if uri == BY_SOCKET:
        return b"system"
    found = PLAIN.fullmatch(uri or b"") or OURS.fullmatch(uri or b"")
    return found["kind"] if found else None


def read(text: bytes, file: Path) -> bytes | None:
    """Return the default URI that the text of a file sets, None where it sets none. Raises HostError."""
    found = _find(text, file)
    return found["uri"] if found else None


def replaced(text: bytes, uri: bytes, file: Path) -> bytes:
    """Return the text with this default URI, in the place of the one that it sets or behind all else."""
    found = _find(text, file)
    if found:
        return text[: found.start("uri")] + uri + text[found.end("uri") :]
    return text + (b"\n" if text and not text.endswith(b"\n") else b"") + b'uri_default = "%s"\n' % uri


def removed(text: bytes, file: Path) -> bytes:
    """Return the text without the setting, and without its line where nothing else is on it."""
    found = _find(text, file)
    if not found:
        return text
    before, after = text[: found.start()], re.sub(rb"\A[ \t]*(;[ \t]*)?", b"", text[found.end() :])
    if re.search(rb"(\A|[\r\n])[ \t]*\Z", before):
        before, after = before.rstrip(b" \t"), re.sub(rb"\A\r?\n", b"", after)
    return before + after


def _find(text: bytes, file: Path) -> re.Match[bytes] | None:
    found = [each for each in SETTING.finditer(text) if each["name"]]
    if len(found) > 1:
        raise HostError("uri_default is set more than once", "keep one of the lines", str(file))
    if found and found[0]["uri"] is None:
        raise HostError("uri_default is not a text in quotes", "correct that line, or take it out", str(file))
    return found[0] if found else None
