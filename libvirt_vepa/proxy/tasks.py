# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Calls of a client's that take more than their one message to the daemon.

A task is a generator: it yields what it needs, a `DaemonCall` or a `HelperRequest` for the
privileged helper, is sent what came of it, and returns the reply that the client gets.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

from libvirt_vepa.rpc import xdr
from libvirt_vepa.rpc.message import Message, Status


@dataclass(frozen=True)
class DaemonCall:
    """A call of our own to the daemon, over the client's connection."""

    procedure: int
    payload: bytes


@dataclass(frozen=True)
class HelperRequest:
    """What `libvirt-vepad` is to do: its word for it, and with what."""

    word: str
    values: Mapping[str, str]


HelperResponse = Mapping[str, Any]
Task = Generator[DaemonCall | HelperRequest, Message | HelperResponse, Message]


def ask(procedure: int, payload: bytes) -> Task:
    """Call the daemon; what comes back may be an error of the daemon's."""
    reply = yield DaemonCall(procedure, payload)
    if not isinstance(reply, Message):
        raise TypeError(f"a reply of the daemon's was expected, not {reply!r}")
    return reply


def run(word: str, **values: str) -> Generator[DaemonCall | HelperRequest, Message | HelperResponse, HelperResponse]:
    """Have the helper do something; what comes back holds `error` where it failed."""
    response = yield HelperRequest(word, values)
    if isinstance(response, Message):
        raise TypeError(f"a response of the helper's was expected, not {response!r}")
    return response


def failed(reply: Message) -> bool:
    """Tell whether the daemon refused."""
    return reply.header.status != Status.OK


def code_of(reply: Message) -> int:
    """Return the number of the daemon's error (virErrorNumber in libvirt/virterror.h). Raises ProtocolError."""
    return xdr.word_at(reply.payload, 0)
