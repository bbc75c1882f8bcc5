# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Calls about the host's interfaces: which answers are the daemon's, which are ours, and how they are put together."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

import pytest

from libvirt_vepa.kernel import sysfs
from libvirt_vepa.lifecycle import define
from libvirt_vepa.model.address import NicKey
from libvirt_vepa.proxy import host_interfaces
from libvirt_vepa.proxy.relay import Relay
from libvirt_vepa.store import definitions
from libvirt_vepa.store.journal import Allocation, Journal
from libvirt_vepa.store.store import Store
from tests.support import remote_protocol as remote

UUID = "00000000-0000-0000-0000-000000000001"
LAN, SAN, GONE = "52:54:00:00:00:aa", "52:54:00:00:00:bb", ""
COUNT, LIST, BY_NAME, BY_MAC, DESCRIBE, DEFINE, UNDEFINE, START, STOP = range(126, 135)
COUNT_INACTIVE, LIST_INACTIVE, IS_ACTIVE, LIST_ALL = 137, 138, 156, 284
PHYSICAL = b"<interface type='physical' name='%s'><source dev='eth1'/><type>ethernet</type></interface>"
PROPOSAL = b"<interface type ='physical' name='lan'/>\n<source dev='eth1'/>\n<type='ethernet'/> // one\n</interface>\n"

Pair = tuple[str, str]


def word(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def strings(*texts: str) -> bytes:
    return b"".join(remote.string(text.encode()) for text in texts)


def names(*texts: str) -> bytes:
    return word(len(texts)) + strings(*texts)


def listed(*pairs: Pair, count: int | None = None) -> bytes:
    """The reply to LIST_ALL."""
    return word(len(pairs)) + strings(*(text for pair in pairs for text in pair)) + word(count or len(pairs))


def error(code: int, domain: int = 26) -> remote.Frame:
    missing = word(0)
    payload = word(code, domain) + missing + word(2) + missing * 4 + word(0, 0) + missing
    return remote.reply(0, payload, status=remote.ERROR)


NO_DRIVER = error(3)
NO_DAEMON = error(38, 7)
NOT_FOUND = error(57)
DENIED = error(88)


class Client:
    """A client, and the daemon that answers with what is given, in turn."""

    def __init__(self) -> None:
        self.relay = Relay()
        self.asked: list[tuple[int, bytes]] = []

    def calls(self, procedure: int, payload: bytes = b"", *answers: bytes | remote.Frame) -> remote.Frame:
        ahead, back = self.relay.from_client(remote.call(procedure, payload, 7).pack())
        for answer in answers:
            (question,) = remote.frames(ahead)
            self.asked.append((question.procedure, question.payload))
            frame = answer if isinstance(answer, remote.Frame) else remote.reply(0, answer)
            frame = frame._replace(procedure=question.procedure, serial=question.serial)
            ahead, back = self.relay.from_daemon(frame.pack())
        (reply,) = remote.frames(back)
        assert ahead == b"" and (reply.procedure, reply.type, reply.serial) == (procedure, remote.REPLY, 7)
        return reply

    def gets(self, procedure: int, payload: bytes = b"", *answers: bytes | remote.Frame) -> bytes:
        reply = self.calls(procedure, payload, *answers)
        assert reply.status == remote.OK, remote.error(reply.payload)
        return reply.payload

    def is_told(self, procedure: int, payload: bytes, *answers: bytes | remote.Frame) -> tuple[int, str]:
        reply = self.calls(procedure, payload, *answers)
        assert reply.status == remote.ERROR
        found = remote.error(reply.payload)
        assert found.domain == 26 and found.message and found.str1 and found.str2
        assert found.message == found.str1.replace(b"%s", found.str2)
        return found.code, found.message.decode()


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with `lan`, whose NIC is up, `san`, whose NIC is down, and `wan`, whose NIC is not there."""
    monkeypatch.setattr(definitions, "DIRECTORY", tmp_path / "vepa")
    monkeypatch.setattr(sysfs, "NET", tmp_path / "net")
    monkeypatch.setattr(host_interfaces, "Store", lambda: Store(tmp_path / "state"))
    for device, mac, state in (("eth1", LAN, "up"), ("eth2", SAN, "down")):
        (tmp_path / "net" / device).mkdir(parents=True)
        (tmp_path / "net" / device / "address").write_text(f"{mac}\n")
        (tmp_path / "net" / device / "operstate").write_text(f"{state}\n")
    for name, nic in ("lan", b"eth1"), ("san", b"eth2"), ("wan", b"eth3"):
        define.define(PHYSICAL.replace(b"eth1", nic) % name.encode(), name, Store(tmp_path / "state"))
    return tmp_path


# -- lists

OURS: tuple[Pair, ...] = (("lan", LAN), ("san", SAN), ("wan", GONE))
ETH: Pair = ("eth1", LAN)


@pytest.mark.parametrize("none", [NO_DRIVER, NO_DAEMON], ids=["no driver", "no daemon"])
def test_ours_alone_where_the_daemon_has_no_driver(client: Client, none: remote.Frame) -> None:
    assert client.gets(COUNT, b"", none) == word(1)
    assert client.gets(COUNT_INACTIVE, b"", none) == word(2)
    assert client.gets(LIST, word(9), none) == names("lan")
    assert client.gets(LIST_INACTIVE, word(9), none) == names("san", "wan")
    assert client.gets(LIST_ALL, word(1, 0), none) == listed(*OURS)


@pytest.mark.parametrize("procedure", [COUNT, LIST, COUNT_INACTIVE, LIST_INACTIVE])
def test_the_daemons_interfaces_are_listed_too(client: Client, procedure: int) -> None:
    counts = procedure in (COUNT, COUNT_INACTIVE)
    active = procedure in (COUNT, LIST)
    got = client.gets(procedure, b"" if counts else word(9), names("eth1", "br0"))
    expected = [*(["lan"] if active else ["san", "wan"]), "eth1", "br0"]
    assert got == (word(len(expected)) if counts else names(*expected))
    assert client.asked == [(LIST if active else LIST_INACTIVE, word(16384))]


@pytest.mark.parametrize(("flags", "expected"), [(0, OURS), (1, OURS[1:]), (2, OURS[:1]), (3, OURS)])
def test_all_are_listed_by_their_state(client: Client, flags: int, expected: tuple[Pair, ...]) -> None:
    assert client.gets(LIST_ALL, word(1, flags), listed(ETH)) == listed(*expected, ETH)
    assert client.asked == [(LIST_ALL, word(1, flags))]


def test_all_can_be_counted_without_being_sent(client: Client) -> None:
    assert client.gets(LIST_ALL, word(0, 0), listed(ETH)) == word(0, 4)
    assert client.asked == [(LIST_ALL, word(1, 0))]


def test_of_two_with_one_name_there_is_ours_only(client: Client) -> None:
    theirs: Pair = ("san", "52:54:00:00:00:01")
    assert client.gets(LIST_ALL, word(1, 0), listed(theirs, ETH)) == listed(*OURS, ETH)
    # The daemon's is active, but who asks for it by its name gets ours, which is not.
    assert client.gets(LIST_ALL, word(1, 2), listed(theirs)) == listed(OURS[0])
    assert client.gets(LIST, word(9), names("san")) == names("lan")
    assert client.gets(COUNT_INACTIVE, b"", names("san")) == word(2)


def test_no_more_names_than_asked_for(client: Client) -> None:
    assert client.gets(LIST_INACTIVE, word(1), names("eth1")) == names("san")
    assert client.gets(LIST_INACTIVE, word(0), names("eth1")) == names()


def test_no_list_is_longer_than_clients_take(client: Client) -> None:
    many = [f"x{number}" for number in range(16384)]
    assert client.gets(LIST, word(2**32 - 1), names(*many)) == names("lan", *many[:-1])
    assert client.gets(COUNT, b"", names(*many)) == word(16385)
    most = [(name, "") for name in many[3:]]
    assert client.gets(LIST_ALL, word(1, 0), listed(*most)) == listed(*OURS, *most)
    code, text = client.is_told(LIST_ALL, word(1, 0), listed(*most, ETH))
    assert code == 9 and "more than the 16384 interfaces that libvirt lists" in text


@pytest.mark.parametrize("procedure", [COUNT, LIST, COUNT_INACTIVE, LIST_INACTIVE, LIST_ALL])
def test_an_error_of_the_daemons_is_the_answer(client: Client, procedure: int) -> None:
    reply = client.calls(procedure, word(1, 0), DENIED)
    assert (reply.status, reply.payload) == (remote.ERROR, DENIED.payload)


def test_a_host_without_definitions_lists_the_daemons(client: Client, host: Path) -> None:
    for path in (host / "vepa").iterdir():
        path.unlink()
    (host / "vepa").rmdir()
    assert client.gets(LIST_ALL, word(1, 0), listed(ETH)) == listed(ETH)


def test_what_is_damaged_is_listed_as_inactive(client: Client, host: Path) -> None:
    (host / "vepa/lan.xml").write_text("<interf")
    (host / "vepa/a\x1b[2J.xml").write_text("")
    damaged: Pair = ("a\\x1b[2J", "")
    assert client.gets(LIST_ALL, word(1, 1), NO_DRIVER) == listed(damaged, ("lan", ""), *OURS[1:])
    for name in (damaged[0], "lan"):
        assert client.gets(BY_NAME, strings(name)) == strings(name, "")
        assert client.gets(IS_ACTIVE, strings(name, "")) == word(0)
    code, text = client.is_told(DESCRIBE, strings("lan", "") + word(0))
    path = host / "vepa/lan.xml"
    assert code == 27 and text.startswith(f"XML error: {path}, line 1: not well-formed XML: ")
    assert client.gets(UNDEFINE, strings("lan", "")) == b""
    assert not path.exists()


# -- one of them


def test_ours_is_found_by_its_name_without_the_daemon(client: Client) -> None:
    assert client.gets(BY_NAME, strings("lan")) == strings("lan", LAN)
    assert client.gets(BY_NAME, strings("wan")) == strings("wan", "")


def test_another_is_the_daemons(client: Client) -> None:
    assert client.gets(BY_NAME, strings("eth1"), strings(*ETH)) == strings(*ETH)
    assert client.calls(BY_NAME, strings("x"), NOT_FOUND).payload == NOT_FOUND.payload
    assert client.asked == [(BY_NAME, strings("eth1")), (BY_NAME, strings("x"))]


def test_a_mac_is_the_nics_own_first(client: Client) -> None:
    assert client.gets(BY_MAC, strings(LAN), strings(*ETH)) == strings(*ETH)
    assert client.calls(BY_MAC, strings(LAN), DENIED).payload == DENIED.payload


@pytest.mark.parametrize("none", [NO_DRIVER, NO_DAEMON, NOT_FOUND], ids=["no driver", "no daemon", "not found"])
def test_otherwise_it_leads_to_ours(client: Client, none: remote.Frame) -> None:
    assert client.gets(BY_MAC, strings(LAN.upper().replace("00", "0")), none) == strings("lan", LAN)
    define.define(PHYSICAL % b"lan2", "lan2", Store())
    assert client.is_told(BY_MAC, strings(LAN), none) == (
        59,
        f"multiple matching interfaces found: 'lan' and 'lan2' have the MAC {LAN}; give a name",
    )


@pytest.mark.parametrize(
    ("procedure", "text", "what"),
    [
        (BY_NAME, "x\n", r"is called 'x\n'"),
        (BY_MAC, SAN[:-1] + "c", f"has the MAC '{SAN[:-1]}c'"),
        (BY_MAC, "", "has the MAC ''"),
    ],
)
def test_what_nobody_knows_is_not_found(client: Client, procedure: int, text: str, what: str) -> None:
    assert client.is_told(procedure, strings(text), NO_DRIVER) == (
        57,
        f"Interface not found: no interface {what}; see 'virsh iface-list --all'",
    )


def test_ours_is_described_and_its_state_told(client: Client) -> None:
    described = client.gets(DESCRIBE, strings("lan", LAN) + word(1))
    assert described == remote.string(definitions.dump("lan"))
    assert [client.gets(IS_ACTIVE, strings(name, "")) for name in ("lan", "san", "wan")] == [word(1), word(0), word(0)]


@pytest.mark.parametrize("procedure", [DESCRIBE, UNDEFINE, START, STOP, IS_ACTIVE])
def test_what_is_asked_of_another_is_asked_of_the_daemon(client: Client, procedure: int) -> None:
    payload = strings(*ETH) + (word(0) if procedure in (DESCRIBE, START, STOP) else b"")
    assert client.calls(procedure, payload, NO_DRIVER).payload == NO_DRIVER.payload
    assert client.gets(procedure, payload, b"what it says") == b"what it says"
    assert client.asked == [(procedure, payload)] * 2


@pytest.mark.parametrize("procedure", [START, STOP])
def test_ours_is_neither_put_up_nor_down(client: Client, procedure: int) -> None:
    code, text = client.is_told(procedure, strings("lan", LAN) + word(0))
    assert code == 84 and text.startswith("Operation not supported: 'lan' is the name of a NIC for guests; ")


# -- changes


@pytest.mark.parametrize("flags", [0, 1])
@pytest.mark.parametrize("document", [PHYSICAL % b"lan", PROPOSAL], ids=["canonical", "the proposal's own"])
def test_a_physical_interface_is_defined_here(client: Client, host: Path, document: bytes, flags: int) -> None:
    (host / "vepa/lan.xml").unlink()
    assert client.gets(DEFINE, remote.string(document) + word(flags)) == strings("lan", LAN)
    assert definitions.load("lan").device == "eth1"


OTHERS = [
    b"<interface type='ethernet' name='lan'/>",
    b"<interface type='bridge' name='br0'><bridge><interface type='physical' name='lan'/></bridge></interface>",
    b"<interface name='physical'/>",
    b"<network type='physical'/>",
    b"no XML",
]


@pytest.mark.parametrize("document", OTHERS)
def test_another_is_for_the_daemon_as_it_came(client: Client, document: bytes) -> None:
    payload = remote.string(document) + word(0)
    assert client.gets(DEFINE, payload, b"defined") == b"defined"
    assert client.calls(DEFINE, payload, NO_DRIVER).payload == NO_DRIVER.payload
    assert client.asked == [(DEFINE, payload)] * 2


REFUSED = [
    (b"<interface type='physical' name='lan'/>", 0, 27, "XML error: the document, line 1: <source> is missing; "),
    (b"\n<interface type='physical'", 0, 27, "XML error: the document, line 2: not well-formed XML: "),
    (PHYSICAL % b"../lan", 0, 27, "XML error: the document, line 1: '../lan' cannot be the name of a physical"),
    (PHYSICAL % b"lan", 6, 84, "Operation not supported: flags 0x6 mean nothing for a physical interface; "),
]


@pytest.mark.parametrize(("document", "flags", "code", "words"), REFUSED)
def test_a_wrong_definition_leaves_the_earlier_one(
    client: Client, document: bytes, flags: int, code: int, words: str
) -> None:
    before = definitions.dump("lan")
    found, text = client.is_told(DEFINE, remote.string(document) + word(flags))
    assert found == code and text.startswith(words)
    assert definitions.dump("lan") == before


def test_what_cannot_be_written_is_another_error(client: Client, host: Path) -> None:
    (host / "vepa/lan.xml").unlink()
    (host / "vepa/lan.xml").mkdir()
    code, text = client.is_told(DEFINE, remote.string(PHYSICAL % b"lan") + word(0))
    assert code == 9 and text.startswith(f"operation failed: cannot write {host}/vepa/lan.xml: Is a directory; ")


def test_what_a_guest_uses_is_not_undefined(client: Client, host: Path) -> None:
    use = Allocation("ua-1", "lan", "vp1", "eth1", NicKey("eth1"), "vepa")
    Store(host / "state").save(Journal(UUID, "web", (use,), ()))
    assert client.is_told(UNDEFINE, strings("lan", LAN)) == (
        55,
        "Requested operation is not valid: 'lan' is in use by guest 'web'; "
        "stop that guest first; if it is gone, run 'libvirt-vepa reconcile'",
    )
    assert client.gets(UNDEFINE, strings("san", SAN)) == b""
    assert definitions.names() == ("lan", "wan")


# -- the relay


def passed(relay: Relay, procedure: int, payload: bytes) -> bool:
    data = remote.call(procedure, payload, 7).pack()
    return relay.from_client(data) == (data, b"")


@pytest.mark.parametrize(
    "procedure", [LIST, BY_NAME, BY_MAC, DESCRIBE, DEFINE, UNDEFINE, START, STOP, IS_ACTIVE, LIST_ALL]
)
def test_a_call_that_cannot_be_read_is_for_the_daemon(procedure: int) -> None:
    short = (b"", b"\0", b"" if procedure == LIST else b"\0\0\0\x09lan")
    assert all(passed(Relay(), procedure, payload) for payload in short)


def test_an_unreadable_reply_is_the_clients_error_alone(client: Client) -> None:
    for payload in (b"", word(2**31), names("x")[:-1]):
        code, text = client.is_told(LIST, word(9), payload)
        assert code == 9 and "connect again" in text
    assert client.gets(LIST, word(9), names("x")) == names("lan", "x")


@pytest.mark.parametrize("procedure", [220, 221, 222])
def test_a_transaction_is_the_daemons(procedure: int) -> None:
    assert passed(Relay(), procedure, word(0))


def test_a_read_only_connection_changes_nothing() -> None:
    changes: Iterable[tuple[int, bytes]] = (
        (DEFINE, remote.string(PHYSICAL % b"new") + word(0)),
        (UNDEFINE, strings("lan", LAN)),
        (START, strings("lan", LAN) + word(0)),
        (STOP, strings("lan", LAN) + word(0)),
    )
    relay = Relay(read_only=True)
    # The daemon says that it may not.
    assert all(passed(relay, procedure, payload) for procedure, payload in changes)
    assert definitions.names() == ("lan", "san", "wan")
    assert not passed(relay, BY_NAME, strings("lan"))
