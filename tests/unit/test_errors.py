# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Errors: always one printable line, whatever they quote."""

from __future__ import annotations

import errno

import pytest

from libvirt_vepa import errors
from libvirt_vepa.errors import HostError, KernelError, NewerStateError, StateError, VepaError, XmlError, printable

HOSTILE = {
    "newline": "a\nb",
    "carriage return": "a\rb",
    "terminal escape": "a\x1b[2Jb",
    "nul": "a\0b",
    "line separator": "a\u2028b",
    "right-to-left override": "a\u202eb",
    "next line": "a\x85b",
    "lone surrogate": "a\udcffb",
}
LEAVES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, VepaError)]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_becomes_one_printable_line(text: str) -> None:
    message = str(HostError(text, text, text))
    assert message.isprintable()
    assert len(message.splitlines()) == 1
    assert message.startswith("a\\")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_escaped_text_can_be_written_to_any_terminal(text: str) -> None:
    assert printable(text).encode("ascii")


def test_ordinary_text_is_not_changed() -> None:
    assert printable("guest 'Bürö 1': naïve") == "guest 'Bürö 1': naïve"


def test_the_message_is_place_cause_and_remedy() -> None:
    error = KernelError("it said no", "ask again", "guest 'web'", "interface 52:54:00:00:00:01")
    assert str(error) == "guest 'web': interface 52:54:00:00:00:01: it said no; ask again"


def test_a_message_without_a_place_begins_with_the_cause() -> None:
    assert str(XmlError("what", "remedy")) == "what; remedy"


@pytest.mark.parametrize("kind", LEAVES)
def test_within_puts_the_wider_place_first_and_keeps_the_kind(kind: type[VepaError]) -> None:
    error = kind("what", "remedy", "interface").within("guest")
    assert type(error) is kind
    assert error.where == ("guest", "interface")
    assert str(error) == "guest: interface: what; remedy"


def test_within_leaves_the_first_error_as_it_was() -> None:
    error = StateError("what", "remedy")
    error.within("guest")
    assert error.where == ()


def test_a_newer_journal_is_a_state_error() -> None:
    assert issubclass(NewerStateError, StateError)


def test_every_error_is_one_that_a_person_can_be_shown() -> None:
    assert len(LEAVES) >= 7
    assert all(issubclass(kind, VepaError) for kind in LEAVES)


@pytest.mark.parametrize(("user", "remedy"), [(0, errors.FORBIDDEN), (1000, "run the command as root")])
def test_nobody_tells_root_to_be_root(monkeypatch: pytest.MonkeyPatch, user: int, remedy: str) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    for code in (errno.EACCES, errno.EPERM):
        assert errors.remedy_for(OSError(code, "no"), "something else") == remedy
    assert errors.remedy_for(OSError(errno.EROFS, "no"), "something else") == "make the file system writable"
    assert errors.remedy_for(OSError(errno.EIO, "no"), "something else") == "something else"
