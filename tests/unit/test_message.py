# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The wire: no byte is lost, doubled or changed wherever the stream is cut, and memory is bounded."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libvirt_vepa.errors import ProtocolError
from libvirt_vepa.rpc import message as messages_module
from libvirt_vepa.rpc import xdr
from libvirt_vepa.rpc.message import Frames, Header, Message
from tests.support import remote_protocol as remote
from tests.support.properties import holds
from tests.support.refusals import refusal

WORDS = st.integers(0, 2**32 - 1)


def one(kinds: st.SearchStrategy[int]) -> st.SearchStrategy[remote.Frame]:
    words = (WORDS, WORDS, WORDS, kinds, WORDS, WORDS, st.binary(max_size=90))
    return st.tuples(*words).map(lambda values: remote.Frame(*values))


PLAIN = one(WORDS.filter(lambda word: word not in (remote.CALL_WITH_FDS, remote.REPLY_WITH_FDS)))
WITH_DESCRIPTORS = st.builds(remote.with_descriptors, one(st.integers(0, 1)), st.integers(0, 32))
MESSAGES = st.lists(PLAIN | WITH_DESCRIPTORS)
SIZES = st.lists(st.integers(1, 150), min_size=1, max_size=20)
TEXTS = st.binary(max_size=40)
MEBIBYTE = 1024 * 1024


def packed(messages: list[remote.Frame]) -> bytes:
    return b"".join(message.pack() for message in messages)


def passed_bytes(frames: Frames, data: bytes) -> int:
    """Feed what nobody wants, and return how much comes out."""
    passed = 0
    for chunk in frames.feed(data):
        assert isinstance(chunk, bytes)
        passed += len(chunk)
    return passed


@holds
@given(MESSAGES, SIZES)
def test_what_nobody_wants_passes_at_once_wherever_it_is_cut(messages: list[remote.Frame], sizes: list[int]) -> None:
    frames, data, given, taken = Frames(lambda _header: False), packed(messages), 0, b""
    for piece in remote.cut(data, sizes):
        given += len(piece)
        for chunk in frames.feed(piece):
            assert isinstance(chunk, bytes) and chunk
            taken += chunk
        assert given - len(taken) < 32, "no more is held back than the beginning of a header"
    assert taken == data
    assert frames.remaining == 0


@holds
@given(MESSAGES, SIZES, st.sets(st.integers(0, 12)))
def test_what_is_wanted_comes_whole_and_in_its_place(
    messages: list[remote.Frame], sizes: list[int], chosen: set[int]
) -> None:
    asked: set[Header] = set()
    serials = {messages[number].serial for number in chosen if number < len(messages)}

    def wanted(header: Header) -> bool:
        asked.add(header)
        return header.serial in serials

    frames = Frames(wanted)
    pieces = [piece for part in remote.cut(packed(messages), sizes) for piece in frames.feed(part)]
    assert asked == {Header(*message[:6]) for message in messages}, "each is asked about, and nothing else"
    assert b"".join(piece if isinstance(piece, bytes) else piece.encode() for piece in pieces) == packed(messages)
    whole = [message for message in messages if message.serial in serials]
    assert [piece for piece in pieces if isinstance(piece, Message)] == [
        Message(Header(*message[:6]), message.payload, message.tail) for message in whole
    ]


@holds
@given(MESSAGES, SIZES, st.data())
def test_only_the_procedures_that_are_named_are_asked_about(
    messages: list[remote.Frame], sizes: list[int], data: st.DataObject
) -> None:
    named = set(data.draw(st.lists(st.sampled_from([message.procedure for message in messages] or [1]))))
    frames = Frames(lambda _header: True, named)
    pieces = [piece for part in remote.cut(packed(messages), sizes) for piece in frames.feed(part)]
    assert b"".join(piece if isinstance(piece, bytes) else piece.encode() for piece in pieces) == packed(messages)
    taken = [piece.header.procedure for piece in pieces if isinstance(piece, Message)]
    assert taken == [message.procedure for message in messages if message.procedure in named]


@holds
@given(MESSAGES, st.binary(max_size=80), SIZES)
def test_missing_is_how_far_the_message_that_passes_still_goes(
    messages: list[remote.Frame], payload: bytes, sizes: list[int]
) -> None:
    messages = [*messages, remote.call(1, payload)]
    data, frames, taken = packed(messages), Frames(lambda _header: False), 0
    ends = [len(packed(messages[: number + 1])) for number in range(len(messages))]
    for piece in remote.cut(data, sizes):
        taken += passed_bytes(frames, piece)
        assert taken + frames.remaining in (0, *ends)


def test_the_longest_message_that_nobody_wants_is_never_kept() -> None:
    piece, frames = bytes(64 * 1024), Frames(lambda _header: False)
    tracemalloc.start()
    try:
        passed = passed_bytes(frames, struct.pack(">7I", remote.LONGEST, *range(6)))
        while passed < remote.LONGEST - len(piece):
            passed += passed_bytes(frames, piece)
        assert tracemalloc.get_traced_memory()[1] < MEBIBYTE
    finally:
        tracemalloc.stop()
    assert frames.remaining == remote.LONGEST - passed > 0


def test_the_longest_message_that_is_wanted_comes_whole() -> None:
    data = struct.pack(">7I", remote.LONGEST, *range(6)) + bytes(remote.LONGEST - 28)
    frames = Frames(lambda _header: True)
    (message,) = [piece for part in remote.cut(data, [MEBIBYTE]) for piece in frames.feed(part)]
    assert isinstance(message, Message) and message.encode() == data


@pytest.mark.parametrize("length", [0, 4, 27, remote.LONGEST + 1, 2**32 - 1])
@pytest.mark.parametrize("rest", [b"", bytes(3), bytes(100)])
def test_an_impossible_length_is_refused_at_once(length: int, rest: bytes) -> None:
    frames = Frames(lambda _header: True)
    assert refused(frames, struct.pack(">I", length) + rest) == (
        f"a message of {length} bytes is none of libvirt's; {xdr.RECONNECT_REMEDY}"
    )
    # And it stays refused.
    refused(frames, b"")


@pytest.mark.parametrize("payload", [b"", b"\0\0\0", b"\0\0\0\x21", b"\xff" * 8])
@pytest.mark.parametrize("kind", [remote.CALL_WITH_FDS, remote.REPLY_WITH_FDS])
def test_a_number_of_descriptors_that_no_message_has_is_refused(kind: int, payload: bytes) -> None:
    # libvirt reads the number whatever the program is.
    frame = remote.Frame(1, 2, 3, kind, 5, 6, payload).pack()
    refused(Frames(lambda _header: False), frame)
    before = remote.call(2).pack()
    given: list[bytes | Message] = []
    with pytest.raises(ProtocolError):
        given.extend(Frames(lambda _header: False).feed(before + frame))
    assert given == [before]


def refused(frames: Frames, data: bytes) -> str:
    return refusal(lambda: list(frames.feed(data)), kind=ProtocolError)


def test_a_message_too_long_is_refused_when_it_is_made() -> None:
    header = Header(*range(6))
    assert len(Message(header, bytes(remote.LONGEST - 28)).encode()) == remote.LONGEST
    refusal(Message, header, bytes(remote.LONGEST - 27), kind=ProtocolError)


def test_a_reply_has_the_serial_of_its_call() -> None:
    call = Message(Header(1, 2, 3, 0, 5, 0), b"arguments")
    assert call.reply(b"a").encode() == remote.Frame(1, 2, 3, remote.REPLY, 5, remote.OK, b"a").pack()
    refused = call.reply(b"b", messages_module.Status.ERROR).encode()
    assert refused == remote.Frame(1, 2, 3, remote.REPLY, 5, remote.ERROR, b"b").pack()


# -- XDR


@holds
@given(TEXTS, TEXTS, TEXTS)
def test_a_string_is_read_as_it_was_written(before: bytes, text: bytes, after: bytes) -> None:
    assert xdr.string(text) == remote.string(text)
    payload = before + remote.string(text) + after
    assert xdr.string_at(payload, len(before)) == text
    assert payload[xdr.skip_string(payload, len(before)) :] == after


@holds
@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_another_string_in_its_place_leaves_the_rest_as_it_was(
    before: bytes, text: bytes, other: bytes, after: bytes
) -> None:
    payload = xdr.with_string(before + remote.string(text) + after, len(before), other)
    assert payload == before + remote.string(other) + after


@given(TEXTS)
@holds
def test_a_string_that_may_be_missing(text: bytes) -> None:
    assert xdr.optional(text) == struct.pack(">I", 1) + remote.string(text)
    assert xdr.optional(None) == bytes(4)


@holds
@given(TEXTS, st.data())
def test_a_string_that_has_ended_too_early_is_refused(text: bytes, data: st.DataObject) -> None:
    whole = remote.string(text)
    payload = whole[: data.draw(st.integers(0, len(whole) - 1))]
    reads: tuple[Callable[[bytes, int], object], ...] = (
        xdr.skip_string,
        xdr.string_at,
        lambda payload, at: xdr.with_string(payload, at, b"other"),
    )
    for read in reads:
        refusal(read, payload, 0, kind=ProtocolError)


@pytest.mark.parametrize("at", [0, 1, 4, 100])
def test_a_number_that_is_not_there_is_refused(at: int) -> None:
    refusal(xdr.word_at, b"\0\0\0"[:at], at, kind=ProtocolError)


def test_a_string_may_be_as_long_as_libvirt_takes_and_no_longer() -> None:
    longest = bytes(4 * MEBIBYTE)
    assert xdr.string_at(xdr.string(longest), 0) == longest
    assert "4 MiB" in refusal(xdr.string, longest + b"\0", kind=ProtocolError)
    refusal(xdr.string_at, struct.pack(">I", len(longest) + 1) + longest + bytes(4), 0, kind=ProtocolError)


@holds
@given(st.lists(TEXTS), TEXTS)
def test_an_array_holds_its_strings(texts: list[bytes], more: bytes) -> None:
    payload = xdr.array([xdr.string(text) for text in texts])
    assert payload == struct.pack(">I", len(texts)) + b"".join(remote.string(text) for text in texts)
    assert xdr.strings_at(payload + more, 4, len(texts)) == tuple(texts)


@holds
@given(st.lists(TEXTS, min_size=1), st.data())
def test_strings_that_are_not_all_there_are_refused(texts: list[bytes], data: st.DataObject) -> None:
    payload = b"".join(remote.string(text) for text in texts)
    short = payload[: data.draw(st.integers(0, len(payload) - 1))]
    refusal(xdr.strings_at, short, 0, len(texts), kind=ProtocolError)
