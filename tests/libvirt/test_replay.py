# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real conversations, recorded on both sides of the connection, come out of the relay the same however they are cut."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from libvirt_vepa.proxy.relay import Relay
from libvirt_vepa.rpc import message as messages_module
from libvirt_vepa.rpc import procedures
from tests.lab.daemon import Daemon, virsh
from tests.lab.guest import TOP, Guest
from tests.lab.hook import define_nic
from tests.lab.network import nic
from tests.lab.shell import run
from tests.support.recorder import Conversation, recorded

XML = Path("/run/replayed.xml")
SEEDS = range(10)
VIRSH = """\
capabilities; define {xml}; dumpxml {name}; domblklist {name}; start {name}; dumpxml {name}; dumpxml {name} --inactive;
qemu-monitor-command {name} {{"execute":"query-qmp-schema"}}; metadata {name} urn:mine --key k --set <a>physical</a>;
dominfo {name}; destroy {name}; domstats;
domxml-to-native qemu-argv --xml {xml}; dumpxml nobody; snapshot-list {name}; undefine {name}
"""
PYTHON = """
import libvirt, sys
c = libvirt.open(sys.argv[1])
d = c.defineXML(open(sys.argv[2]).read())
d.create()
for flags in range(4): d.XMLDesc(flags)
p = c.storagePoolCreateXML("<pool type='dir'><name>r</name><target><path>/run/r</path></target></pool>", 1)
v = p.createXML("<volume><name>v</name><capacity>2000000</capacity></volume>")
s = c.newStream(); v.upload(s, 0, 0)
for _ in range(8): s.send(b"physical" * 30000)
s.finish()
s = c.newStream(); v.download(s, 0, 0)
while s.recv(100000): pass
s.finish()
v.delete(); p.destroy(); d.destroy(); d.undefine()
"""


def of_virsh(uri: str, guest: Guest) -> None:
    # The errors among them go on to the next one.
    run("virsh", "-c", uri, VIRSH.format(xml=XML, name=guest.name), check=False)


def of_python(uri: str, guest: Guest) -> None:
    run("/usr/bin/python3", "-c", PYTHON, uri, str(XML))
    run("rmdir", "/run/r")


def of_perl(uri: str, guest: Guest) -> None:
    run("perl", str(TOP / "tests/lab/events.pl"), uri, stdin=guest.xml)


@dataclass(frozen=True)
class Record:
    """What went into the relay and came out of it, from the call that opens the connection on."""

    calls: bytes
    stored: bytes
    replies: bytes
    proposed: bytes

    @classmethod
    def of(cls, made: Conversation) -> Record:
        raw = (made.from_client, bytes(made.to_daemon), bytes(made.from_daemon), made.to_client)
        return cls(*map(_from_opening, raw))


def messages(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each message begins, and the number of its procedure, 0 where it is not of libvirt's main program."""
    at = 0
    while at < len(data):
        words = messages_module.FRAME.unpack_from(data, at)
        yield at, words[3] if words[1] == procedures.PROGRAM else 0
        at += words[0]
    assert at == len(data), "the last message is not whole"


def _from_opening(data: bytes) -> bytes:
    return data[next(at for at, procedure in messages(data) if procedure == procedures.OPEN) :]


def replayed(record: Record, calls: Sequence[int], replies: Sequence[int]) -> tuple[bytes, bytes]:
    """Return what the daemon and the client get of a conversation that is cut at these places."""
    relay, stored, proposed = Relay(), bytearray(), bytearray()
    for piece in _pieces(record.calls, calls):
        ahead, back = relay.from_client(piece)
        stored += ahead
        assert back == b"", "an error of the relay's own"
    for piece in _pieces(record.replies, replies):
        ahead, back = relay.from_daemon(piece)
        proposed += back
        assert ahead == b"", "a question of the relay's own"
    return bytes(stored), bytes(proposed)


def _pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    ends = sorted({cut for cut in cuts if 0 < cut < len(data)})
    return [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)], strict=True)]


@pytest.fixture(scope="module", params=[of_virsh, of_python, of_perl])
def record(request: pytest.FixtureRequest, libvirtd: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Record:
    speak: Callable[[str, Guest], None] = request.param
    guest = Guest(1)
    guest.ask("vepa")
    XML.write_text(guest.xml)
    try:
        with nic("eth1"), recorded(tmp_path_factory.mktemp("conversation")) as made:
            define_nic("lan", "eth1")
            speak(made.uri, guest)
    finally:
        virsh("destroy", guest.name, check=False)
        virsh("undefine", guest.name, check=False)
    return Record.of(made)


def test_the_conversation_is_worth_replaying(record: Record) -> None:
    assert b"type='physical'" in record.calls and b"type='physical'" not in record.stored
    assert b"type='physical'" in record.proposed and b"type='physical'" not in record.replies
    assert b"physical:interface" in record.replies and b"physical:interface" not in record.proposed
    assert len(list(messages(record.calls))) == len(list(messages(record.stored))) > 10


def test_in_one_piece(record: Record) -> None:
    assert replayed(record, (), ()) == (record.stored, record.proposed)


def test_cut_between_messages_and_in_their_headers(record: Record) -> None:
    for shift in range(messages_module.FRAME.size + 1):
        calls, replies = ([at + shift for at, _ in messages(data)] for data in (record.calls, record.replies))
        assert replayed(record, calls, replies) == (record.stored, record.proposed)


@pytest.mark.parametrize("seed", SEEDS)
def test_cut_anywhere(record: Record, seed: int) -> None:
    chance = random.Random(seed)
    cuts = [
        sorted(chance.randrange(len(data)) for _ in range(chance.choice((1, 3, 30, 1000))))
        for data in (record.calls, record.replies)
    ]
    assert replayed(record, *cuts) == (record.stored, record.proposed)


def test_cut_everywhere(record: Record) -> None:
    """Each byte alone, but for the inside of what is long: a volume's, or a schema's."""
    cuts = [
        [cut for at, _ in messages(data) for cut in range(at, at + 20_000)] for data in (record.calls, record.replies)
    ]
    assert replayed(record, *cuts) == (record.stored, record.proposed)
