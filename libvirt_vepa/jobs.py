# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Calls of a client's that take more than their one message to the daemon.

A job is a generator: it yields what it needs, an `Ask` of the daemon or an `Errand` for the
privileged hand, is sent what came of it, and returns the reply that the client gets.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

from libvirt_vepa import xdr
from libvirt_vepa.wire import Message, Status


@dataclass(frozen=True)
class Ask:
    """A call of our own to the daemon, over the client's connection."""

    procedure: int
    payload: bytes


@dataclass(frozen=True)
class Errand:
    """What `libvirt-vepad` is to do: its word for it, and with what."""

    word: str
    values: Mapping[str, str]


Outcome = Mapping[str, Any]
Job = Generator[Ask | Errand, Message | Outcome, Message]


def ask(procedure: int, payload: bytes) -> Job:
    """Call the daemon; what comes back may be an error of the daemon's."""
    reply = yield Ask(procedure, payload)
    if not isinstance(reply, Message):
        raise TypeError(f"a reply of the daemon's was expected, not {reply!r}")
    return reply


def run(word: str, **values: str) -> Generator[Ask | Errand, Message | Outcome, Outcome]:
    """Run an errand; what comes back holds `error` where it failed."""
    outcome = yield Errand(word, values)
    if isinstance(outcome, Message):
        raise TypeError(f"an errand's outcome was expected, not {outcome!r}")
    return outcome


def failed(reply: Message) -> bool:
    """Tell whether the daemon refused."""
    return reply.header.status != Status.OK


def code_of(reply: Message) -> int:
    """Return the number of the daemon's error (virErrorNumber in libvirt/virterror.h). Raises WireError."""
    return xdr.word_at(reply.payload, 0)
