# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Messages of both sides that are none of the relay's, by what keeps it from them."""

from __future__ import annotations

from tests.support import remote_protocol as remote
from tests.support.relay_documents import DOMAIN, OTHER, STORED

PAYLOAD, STORED_PAYLOAD = remote.string(DOMAIN), remote.string(STORED)
# A client's.
STRANGERS = {
    "keepalive": remote.Frame(remote.KEEPALIVE, 1, 1, remote.EVENT, 0, remote.OK, b""),
    "qemu's program": remote.call(11, PAYLOAD)._replace(program=remote.QEMU_PROGRAM),
    "another version": remote.call(11, PAYLOAD)._replace(version=2),
    "an event": remote.call(11, PAYLOAD, 0, remote.EVENT),
    "a stream's data": remote.call(11, PAYLOAD, 3, remote.STREAM)._replace(status=remote.CONTINUE),
    "a stream's end": remote.call(11, b"", 3, remote.STREAM),
    "a call with files": remote.with_descriptors(remote.call(309, remote.string(OTHER), 3), 2),
    "a call with no file": remote.with_descriptors(remote.call(344, PAYLOAD, 3), 0),
    "no type known": remote.call(11, PAYLOAD, 3, 77),
    "an ordinary call": remote.call(2),
    "another document": remote.call(41, PAYLOAD),
}
# The daemon's.
UNTOUCHED = {
    "keepalive": STRANGERS["keepalive"],
    "qemu's program": remote.reply(14, STORED_PAYLOAD)._replace(program=remote.QEMU_PROGRAM),
    "another version": remote.reply(14, STORED_PAYLOAD)._replace(version=2),
    "an event": remote.reply(14, STORED_PAYLOAD)._replace(type=remote.EVENT),
    "a stream's data": remote.reply(14, STORED_PAYLOAD, 3, remote.CONTINUE)._replace(type=remote.STREAM),
    "an error": remote.reply(14, STORED_PAYLOAD, 3, remote.ERROR),
    "the reply to another call": remote.reply(43, STORED_PAYLOAD),
    "a reply with files": remote.with_descriptors(remote.reply(344, STORED_PAYLOAD), 32),
}
