# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The relay against documents that cannot be meant, payloads and frames that are none, and libvirt's bounds."""

from __future__ import annotations

import sys
import syslog
import tracemalloc
from collections.abc import Callable

import pytest

from libvirt_vepa.errors import ProtocolError
from libvirt_vepa.proxy.relay import ProtocolViolation, Relay
from tests.support import remote_protocol as remote
from tests.support.refusals import refusal
from tests.support.relay_documents import DOMAIN, NEWER, OTHER, STORED, WRONG
from tests.support.relay_talk import call, from_client, from_daemon

MEBIBYTE = 1024 * 1024


def refused(procedure: int, document: bytes, serial: int = 7, size: int = 2**20) -> remote.Error:
    """Return the error that is the reply to a call, after which the connection goes on."""
    relay = Relay()
    ahead, back = from_client(relay, call(procedure, document, serial).pack(), size)
    assert ahead == b""
    (reply,) = remote.frames(back)
    assert reply[:6] == (remote.PROGRAM, 1, procedure, remote.REPLY, serial, remote.ERROR)
    following = call(procedure, OTHER, serial + 1).pack()
    assert from_client(relay, following) == (following, b"")
    return remote.error(reply.payload)


@pytest.mark.parametrize("size", [1, 300, 2**20])
@pytest.mark.parametrize("procedure", sorted(remote.ARGUMENTS))
def test_a_document_that_cannot_be_meant_is_an_error_reply(procedure: int, size: int) -> None:
    error = refused(procedure, WRONG, 7, size)
    assert (error.code, error.domain, error.level) == (27, 20, 2)
    assert error.message is not None and error.message.startswith(b"XML error: the document, line 4: guest 'web'")
    assert b"'sideways'" in error.message
    assert (error.str1, error.str2, error.str3) == (b"XML error: %s", error.message[len("XML error: ") :], None)
    assert (error.int1, error.int2) == (-1, -1)


# What a guest's owner may have libvirt keep in its metadata.
UNREADABLE = {
    "a newer request": NEWER,
    "no XML": STORED.replace(b"<metadata>", b"<metadata><e:a xmlns:e='urn:evil'><e:z:b/></e:a>"),
    "too long": STORED.replace(
        b"<devices>", b"<title>" + b">" * (4 * MEBIBYTE - len(STORED) - 15) + b"</title><devices>"
    ),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_read_is_shown_as_it_is_stored(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    document = UNREADABLE[kind]
    lines: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lambda _priority, line: lines.append(line))
    assert document != STORED
    answer = remote.reply(14, remote.string(document), 8).pack()
    assert from_daemon(Relay(), answer) == answer
    (line,) = lines
    assert (
        line.startswith("libvirt-vepa-connect: shown as libvirt stores it: guest 'web': the document") and "; " in line
    )
    assert line.isprintable()


@pytest.mark.parametrize("name", ["x" * 4_000_000, "\u200b" * 1_300_000], ids=["long", "escaped"])
def test_an_error_that_quotes_a_document_is_cut_to_fit(name: str) -> None:
    error = refused(11, DOMAIN.replace(b">lan<", f">{name}<".encode()))
    assert error.message is not None
    assert error.message.startswith(b"XML error: the document, line ") and len(error.message) < 32 * 1024


def test_a_translation_that_is_too_long_is_an_error_reply() -> None:
    fill = b"<!--" + b"x" * (4 * MEBIBYTE - len(DOMAIN) - 8) + b"-->"
    error = refused(11, DOMAIN.replace(b"<devices>", fill + b"<devices>"))
    assert error.code == 27
    assert error.message is not None and b"longer than the 4 MiB that libvirt takes" in error.message


def test_a_message_that_becomes_too_long_is_an_error_reply() -> None:
    # Nothing in libvirt forbids a client to send more than the arguments.
    payload = remote.string(DOMAIN).ljust(remote.LONGEST - 28, b"\0")
    ahead, back = from_client(Relay(), remote.call(11, payload).pack())
    (reply,) = remote.frames(back)
    error = remote.error(reply.payload)
    assert ahead == b"" and error.message is not None
    assert b"longer than libvirt's protocol allows" in error.message


def test_a_translator_that_is_not_installed_is_an_error_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt_vepa.xml.translate", None)
    monkeypatch.delattr("libvirt_vepa.xml.translate", raising=False)
    (reply,) = remote.frames(from_client(Relay(), call(11, DOMAIN).pack())[1])
    error = remote.error(reply.payload)
    assert error.code == 9
    assert error.message is not None and error.message.startswith(b"operation failed: ")


def test_calls_that_are_never_answered_cost_nothing() -> None:
    relay = Relay()
    tracemalloc.start()
    try:
        for serial in range(20_000):
            relay.from_client(remote.call(14, remote.domain(), serial).pack())
        assert tracemalloc.get_traced_memory()[0] < MEBIBYTE / 8
    finally:
        tracemalloc.stop()


# -- between the daemon's messages


@pytest.mark.parametrize("size", [10, 28, 29, 70, 99])
def test_an_error_reply_waits_for_the_daemons_message(size: int) -> None:
    relay, wrong = Relay(), call(11, WRONG, 7).pack()
    data = [remote.call(211, b"d" * 50, 3, remote.STREAM)._replace(status=remote.CONTINUE)] * 4
    sent = b"".join(each.pack() for each in data)
    got = from_daemon(relay, sent[:size])
    ahead, back = from_client(relay, wrong)
    assert ahead == b""
    got += back + from_daemon(relay, sent[size:], 41)
    frames = list(remote.frames(got))
    assert [each for each in frames if each.type == remote.STREAM] == data
    (reply,) = [each for each in frames if each.type == remote.REPLY]
    assert remote.error(reply.payload).code == 27
    assert frames.index(reply) == -(-size // 78) - (size % 78 < 28 and size % 78 > 0), "it does not wait for the end"


def test_replies_that_wait_are_sent_once_and_in_order() -> None:
    relay, event = Relay(), remote.call(211, bytes(100), 0, remote.EVENT).pack()
    got = from_daemon(relay, event[:60])
    for serial in (5, 6, 7):
        assert from_client(relay, call(11, WRONG, serial).pack()) == (b"", b"")
    got += from_daemon(relay, event[60:] + event)
    assert [frame.serial for frame in remote.frames(got)] == [0, 5, 6, 7, 0]


# -- what follows no protocol


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0\0",
        b"\0\0\0\x08physic",
        b"\xff\xff\xff\xffphysical",
        b"\0\0\0\x09physical ",
        remote.string(b"physical")[:-1],
        b"physical" * 3,
    ],
)
def test_a_payload_that_is_none_passes_as_it_came(payload: bytes) -> None:
    for procedure in remote.ARGUMENTS | remote.CHANGES:
        data = remote.call(procedure, payload).pack()
        assert from_client(Relay(), data) == (data, b"")
    for procedure in remote.REPLIES:
        data = remote.reply(procedure, payload).pack()
        assert from_daemon(Relay(), data) == data


@pytest.mark.parametrize("data", [b"GET / HTTP/1.0\r\n\r\n", b"\0\0\0\x1b", b"\x02\0\0\x05", b"\0\0\0\0" * 9])
def test_frames_that_are_none_end_the_connection(data: bytes) -> None:
    before = remote.call(2).pack()
    says: tuple[Callable[[Relay, bytes], bytes], ...] = (
        lambda relay, data: relay.from_client(data)[0],
        lambda relay, data: relay.from_daemon(data)[1],
    )
    for say in says:
        relay = Relay()
        assert say(relay, before) == before
        refusal(say, relay, data, kind=ProtocolError)


def test_what_came_before_a_frame_that_is_none_is_not_lost() -> None:
    before, wrong, rest = remote.call(2).pack(), call(11, WRONG, 7).pack(), b"\0\0\0\x1b" + bytes(60)
    with pytest.raises(ProtocolViolation) as caught:
        Relay().from_client(before + wrong + before + rest)
    to_daemon, to_client = caught.value.before
    (reply,) = remote.frames(to_client)
    assert to_daemon == before * 2 and reply.serial == 7
    with pytest.raises(ProtocolViolation) as caught:
        Relay().from_daemon(before * 2 + rest)
    assert caught.value.before == (b"", before * 2)


def test_what_waits_is_counted() -> None:
    relay, event = Relay(), remote.call(211, bytes(100), 0, remote.EVENT).pack()
    relay.from_daemon(event[:60])
    assert relay.waiting == 0
    from_client(relay, call(11, WRONG).pack())
    once = relay.waiting
    from_client(relay, call(11, WRONG).pack())
    assert relay.waiting == 2 * once > 0
    relay.from_daemon(event[60:])
    assert relay.waiting == 0
