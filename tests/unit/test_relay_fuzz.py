# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Conversations that were damaged on their way: only ProtocolError is raised, no message is lost or doubled."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable

import pytest

from libvirt_vepa.proxy.relay import ProtocolViolation, Relay
from tests.support import remote_protocol as remote
from tests.support.foreign_frames import STRANGERS, UNTOUCHED
from tests.support.relay_documents import DEVICE, DOMAIN, NEWER, OTHER, SNAPSHOT, STORED, WRONG
from tests.support.relay_talk import call

SECONDS = 2
SEEDS = range(8)
INTERESTING = (0, 1, 3, 4, 27, 28, 29, 2**31, 2**32 - 1, remote.LONGEST, remote.LONGEST + 1)
Conversation = tuple[bytes, bytes]


def client_says(chance: random.Random) -> bytes:
    def one(serial: int) -> remote.Frame:
        document = chance.choice([DEVICE, DOMAIN, OTHER, SNAPSHOT, STORED, WRONG, b"", b"physical"])
        calls = [call(procedure, document, serial) for procedure in remote.ARGUMENTS]
        return chance.choice([*calls, *STRANGERS.values(), remote.call(14, remote.domain(), serial)])

    return b"".join(one(serial).pack() for serial in range(chance.randrange(1, 12)))


def daemon_says(chance: random.Random) -> bytes:
    def one(serial: int) -> remote.Frame:
        document = chance.choice([DOMAIN, OTHER, STORED, NEWER, b"", b"physical"])
        answers = [remote.reply(procedure, remote.string(document)) for procedure in remote.REPLIES]
        return chance.choice([*answers, *UNTOUCHED.values()])._replace(serial=serial)

    return b"".join(one(serial).pack() for serial in range(chance.randrange(1, 12)))


def damaged(chance: random.Random, data: bytes) -> bytes:
    """Return the data with a few bytes, words or pieces changed, missing, or there twice."""
    result = bytearray(data)
    for _ in range(chance.randrange(4)):
        at, length = chance.randrange(len(result) + 1), chance.randrange(60)
        match chance.randrange(5):
            case 0:
                del result[at : at + length]
            case 1:
                result[at:at] = result[at : at + length]
            case 2:
                result[at : at + 1] = bytes([chance.randrange(256)])
            case 3:
                result[at & ~3 : (at & ~3) + 4] = struct.pack(">I", chance.choice(INTERESTING))
            case _:
                del result[at:]
    return bytes(result)


class Heard:
    """What came out of a relay that a conversation went through, both sides talking at once."""

    def __init__(self, said: Conversation, chance: random.Random) -> None:
        self.by_daemon, self.by_client, self.refused = b"", b"", ""
        relay, rest = Relay(), list(said)
        try:
            while any(rest):
                side, size = chance.randrange(2), chance.choice([1, 5, 28, 100, 1000])
                piece, rest[side] = rest[side][:size], rest[side][size:]
                self._hear(*(relay.from_daemon if side else relay.from_client)(piece))
        except ProtocolViolation as error:
            self._hear(*error.before)
            self.refused = str(error)

    def _hear(self, to_daemon: bytes, to_client: bytes) -> None:
        self.by_daemon += to_daemon
        self.by_client += to_client


def split(data: bytes) -> tuple[list[remote.Frame], bytes, bool]:
    """Return the whole frames at the beginning, what follows them, and whether that can still become one."""
    whole: list[remote.Frame] = []
    while len(data) >= 4:
        length = struct.unpack_from(">I", data)[0]
        if not 28 <= length <= remote.LONGEST:
            return whole, data, False
        count = remote.descriptors(data)
        if count is None:
            return whole, data, False
        length += count
        if len(data) < length:
            break
        whole += remote.frames(data[:length])
        data = data[length:]
    return whole, data, True


def check(said: Conversation, chance: random.Random) -> None:
    heard = Heard(said, chance)
    asked, asked_rest, asked_right = split(said[0])
    answered, answered_rest, answered_right = split(said[1])
    assert bool(heard.refused) <= (not (asked_right and answered_right)), heard.refused
    to_daemon, tail, _ = split(heard.by_daemon)
    assert asked_rest.startswith(tail) or heard.refused
    to_client, tail, _ = split(heard.by_client)
    assert answered_rest.startswith(tail) or heard.refused
    # No procedure has both a document in its call and one in its reply.
    errors = [frame for frame in to_client if is_ours(frame) and frame.procedure in remote.ARGUMENTS]
    said_back = [frame for frame in to_client if frame not in errors]
    left = iter(errors)
    # An error reply may still wait for the end of a message of the daemon's that never came.
    waiting = bool(heard.refused or answered_rest)

    def is_answered(call: remote.Frame) -> bool:
        reply = next(left, None)
        return waiting if reply is None else (reply.procedure, reply.serial) == (call.procedure, call.serial)

    missing = same(asked, to_daemon, is_call, is_answered)
    assert next(left, None) is None, "an error reply that nobody asked for"
    missing += same(answered, said_back, is_reply, lambda _frame: False)
    assert heard.refused or not missing


def same(
    said: list[remote.Frame],
    heard: list[remote.Frame],
    may_change: Callable[[remote.Frame], bool],
    is_answered: Callable[[remote.Frame], bool],
) -> list[remote.Frame]:
    """Check that what was heard is what was said, in its order; return what was not, which can only be the end."""
    rest = list(heard)
    for number, frame in enumerate(said):
        if rest and (frame == rest[0] or (may_change(frame) and like(frame, rest[0]))):
            del rest[0]
        elif not (may_change(frame) and is_answered(frame)):
            assert not rest, (frame, rest[0])
            return said[number:]
    assert not rest, "more was heard than was said"
    return []


def like(frame: remote.Frame, other: remote.Frame) -> bool:
    """Whether it may be the same message with its document translated, or the reply that it cannot be."""
    return frame[:5] == other[:5] and (frame.status == other.status or is_ours(other))


def is_call(frame: remote.Frame) -> bool:
    ours = (frame.program, frame.version) == (remote.PROGRAM, 1) and frame.type in (remote.CALL, remote.CALL_WITH_FDS)
    return ours and frame.procedure in remote.ARGUMENTS and b"physical" in frame.payload


def is_reply(frame: remote.Frame) -> bool:
    ours = (frame.program, frame.version, frame.type) == (remote.PROGRAM, 1, remote.REPLY)
    return ours and frame.procedure in remote.REPLIES and b"physical" in frame.payload


def is_ours(frame: remote.Frame) -> bool:
    """Whether this is an error reply as the relay makes it."""
    if (frame.program, frame.type, frame.status) != (remote.PROGRAM, remote.REPLY, remote.ERROR):
        return False
    return frame.payload[:8] in (struct.pack(">2I", code, 20) for code in (27, 9))


@pytest.mark.parametrize("seed", SEEDS)
def test_whole_conversations(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(20):
        said = client_says(chance), daemon_says(chance)
        check(said, chance)
        assert not Heard(said, chance).refused


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_conversations(seed: int) -> None:
    chance, end = random.Random(1000 + seed), time.monotonic() + SECONDS
    for _ in range(100):
        check((damaged(chance, client_says(chance)), damaged(chance, daemon_says(chance))), chance)
        if time.monotonic() > end:
            break
