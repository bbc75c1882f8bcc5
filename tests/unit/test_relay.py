# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The relay: what it changes in a conversation, and that everything else passes as it came."""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest

from libvirt_vepa.proxy.relay import Relay
from libvirt_vepa.xml import translate
from tests.conftest import CHECKOUT
from tests.support import remote_protocol as remote
from tests.support.foreign_frames import STORED_PAYLOAD, STRANGERS, UNTOUCHED
from tests.support.relay_documents import DEVICE, DOMAIN, OTHER, SNAPSHOT, STORED, WRONG
from tests.support.relay_talk import call, from_client, from_daemon

DOCUMENTS = dict.fromkeys(remote.ARGUMENTS, DOMAIN) | {185: SNAPSHOT}
CUTS = pytest.mark.parametrize("size", [1, 27, 300, 2**20])


def test_the_stored_form_is_another() -> None:
    assert b"<interface type='ethernet'>" in STORED and b"urn:libvirt-vepa:physical:1" in STORED


@CUTS
@pytest.mark.parametrize("procedure", sorted(DOCUMENTS))
def test_a_call_reaches_the_daemon_in_the_stored_form(procedure: int, size: int) -> None:
    document = DOCUMENTS[procedure]
    stored = translate.to_stored(document, "a document")
    assert stored != document
    sent = from_client(Relay(), call(procedure, document, 7).pack(), size)
    assert sent == (call(procedure, stored, 7).pack(), b"")


@CUTS
@pytest.mark.parametrize("procedure", sorted(remote.REPLIES))
def test_a_reply_reaches_the_client_in_the_proposed_form(procedure: int, size: int) -> None:
    relay, proposed = Relay(), translate.to_proposed(STORED, "a document")
    asked = remote.call(procedure, remote.domain(), 9).pack()
    assert from_client(relay, asked, size) == (asked, b"")
    answer = remote.reply(procedure, remote.string(STORED) + b"more", 9)
    assert from_daemon(relay, answer.pack(), size) == answer._replace(payload=remote.string(proposed) + b"more").pack()
    assert b"<name>lan</name>" in proposed


def parameters(one: bytes, other: bytes) -> bytes:
    """Return parameters with two documents, and with ones that only look like documents of ours."""
    strings = {b"uri": DOMAIN, b"destination_xml": one, b"physical": DOMAIN, b"persistent_xml": other}
    listed = [remote.parameter(field, 7, remote.string(value)) for field, value in strings.items()]
    return struct.pack(">I", len(listed)) + b"".join(listed)


@CUTS
@pytest.mark.parametrize("pair", [(DOMAIN, DOMAIN), (DOMAIN, OTHER), (OTHER, DOMAIN), (STORED, DOMAIN)])
def test_documents_of_a_call_are_translated_but_no_cookie(pair: tuple[bytes, bytes], size: int) -> None:
    cookie = remote.string(DOMAIN) + b"flag"
    stored = [translate.to_stored(document, "a document") for document in pair]
    call = remote.call(303, parameters(*pair) + cookie, 7)
    sent = from_client(Relay(), call.pack(), size)
    assert sent == (call._replace(payload=parameters(*stored) + cookie).pack(), b"")


@pytest.mark.parametrize("procedure", [213, 302])
def test_a_migrations_document_is_for_the_other_host(procedure: int) -> None:
    data = remote.reply(procedure, remote.string(b"cookie") + remote.string(STORED)).pack()
    assert from_daemon(Relay(), data) == data


@pytest.mark.parametrize("document", [OTHER, STORED, b"", b"<a/>", b"no XML at all", b"\0\xff" * 50])
@pytest.mark.parametrize("procedure", sorted(remote.ARGUMENTS | remote.CHANGES))
def test_a_call_with_nothing_of_ours_passes_as_it_came(procedure: int, document: bytes) -> None:
    data = call(procedure, document).pack()
    assert from_client(Relay(), data) == (data, b"")


@pytest.mark.parametrize("procedure", remote.OPTIONAL)
def test_a_call_without_its_document_passes_as_it_came(procedure: int) -> None:
    data = remote.call(procedure, remote.arguments(procedure, None, b"physical")[1]).pack()
    assert from_client(Relay(), data) == (data, b"")


@pytest.mark.parametrize("document", [OTHER, DOMAIN, b"", b"<a/>", b"no XML at all"])
@pytest.mark.parametrize("procedure", sorted(remote.REPLIES))
def test_a_reply_with_nothing_stored_passes_as_it_came(procedure: int, document: bytes) -> None:
    data = remote.reply(procedure, remote.string(document)).pack()
    assert from_daemon(Relay(), data) == data


def test_what_the_daemon_says_in_the_proposed_form_stays(procedure: int = 14) -> None:
    data = remote.reply(procedure, remote.string(DOMAIN)).pack()
    assert from_daemon(Relay(), data) == data


@CUTS
@pytest.mark.parametrize("name", STRANGERS)
def test_what_is_no_call_of_ours_passes_as_it_came(name: str, size: int) -> None:
    data = STRANGERS[name].pack()
    assert from_client(Relay(), data, size) == (data, b"")


@CUTS
def test_a_call_with_files_reaches_the_daemon_in_the_stored_form(size: int) -> None:
    sent, following = (
        remote.with_descriptors(call(309, document, 7), 3).pack() + remote.call(2).pack()
        for document in (DOMAIN, STORED)
    )
    relay = Relay()
    assert from_client(relay, sent, size) == (following, b"")
    assert relay.take_orphaned_fds() == 0


@CUTS
def test_the_files_of_a_call_that_is_refused_are_lost(size: int) -> None:
    relay, following = Relay(), remote.call(2).pack()
    ahead, back = from_client(relay, remote.with_descriptors(call(309, WRONG, 7), 3).pack() + following, size)
    assert ahead == following
    (reply,) = remote.frames(back)
    assert (reply.type, reply.serial, reply.status, reply.tail) == (remote.REPLY, 7, remote.ERROR, b"")
    assert (relay.take_orphaned_fds(), relay.take_orphaned_fds()) == (3, 0)


@CUTS
@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_is_no_reply_of_ours_passes_as_it_came(name: str, size: int) -> None:
    relay, data = Relay(), UNTOUCHED[name].pack()
    # It has the serial number of a call for a document.
    from_client(relay, remote.call(14, remote.domain(), UNTOUCHED[name].serial).pack())
    assert from_daemon(relay, data, size) == data


@CUTS
def test_several_calls_are_answered_in_any_order(size: int) -> None:
    relay, proposed = Relay(), translate.to_proposed(STORED, "a document")
    calls = [remote.call(number, remote.domain(), serial) for serial, number in enumerate([14, 43, 235, 14, 2, 412])]
    asked = b"".join(each.pack() for each in calls)
    assert from_client(relay, asked, size) == (asked, b"")
    order = [calls[number] for number in (3, 1, 5, 0, 2, 4)]
    answers = [remote.reply(each.procedure, STORED_PAYLOAD, each.serial) for each in order]
    answers[3] = answers[3]._replace(status=remote.ERROR)
    got = list(remote.frames(from_daemon(relay, b"".join(each.pack() for each in answers), size)))
    expected = [
        each._replace(payload=remote.string(proposed))
        if each.procedure in remote.REPLIES and each.status == remote.OK
        else each
        for each in answers
    ]
    assert got == expected
    # The error did not stay behind: the same number again is another call.
    again = remote.reply(2, STORED_PAYLOAD, 0).pack()
    assert from_daemon(relay, again, size) == again


def test_lxml_is_loaded_for_the_first_document_that_needs_it() -> None:
    code = """
import sys
from libvirt_vepa.proxy.relay import Relay
from tests.conftest import CHECKOUT
from tests.support import remote_protocol as remote
relay = Relay()
relay.from_client(remote.call(11, remote.string(b"<domain/>")).pack())
assert "lxml" not in sys.modules
relay.from_client(remote.call(11, remote.string(b"<physical/>")).pack())
assert "lxml" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=CHECKOUT, timeout=60)


# -- what is kept


def test_calls_that_wait_are_counted_with_their_bytes() -> None:
    relay = Relay()
    before = relay.waiting
    document = DEVICE + b" " * 100_000
    detach = remote.call(161, remote.domain() + remote.string(document) + b"\0\0\0\x01")
    relay.from_client(detach.pack())
    assert relay.busy and relay.waiting - before > len(document)


@pytest.mark.parametrize("procedure", [11, 161])
def test_of_a_reader_nothing_is_kept_that_only_writers_may(procedure: int) -> None:
    relay = Relay(read_only=True)
    data = remote.call(procedure, remote.string(b"<domain>physical</domain>")).pack()[:40]
    assert relay.from_client(data) == (data, b"") and not relay.waiting
