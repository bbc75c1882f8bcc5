# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt's bindings for Python and Perl, the connection as their URI."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress

import libvirt
import pytest

from tests.lab.daemon import Daemon, virsh
from tests.lab.guest import TOP, Guest
from tests.lab.shell import link, run
from tests.libvirt.conftest import REQUEST, Make
from tests.support.via_proxy import PLAIN, URI, gone, relays, squeezed

SPACE = "urn:example:mine"
WAIT_MILLISECONDS = 60_000
CLIENT = TOP / "tests/lab/events.pl"


@pytest.fixture
def asked(guest_of: Make) -> Guest:
    """A guest that asks for `lan` and is not defined yet."""
    found = guest_of(1)
    found.ask("vepa")
    return found


@pytest.fixture
def connection(libvirtd: Daemon) -> Iterator[libvirt.virConnect]:
    libvirt.virEventRegisterDefaultImpl()
    opened = libvirt.open(URI)
    yield opened
    # Closed already where a test is about that.
    with suppress(libvirt.libvirtError):
        opened.close()


class Heard:
    """What a guest's events told, by kind; waits for one with a bound."""

    def __init__(self, connection: libvirt.virConnect, *kinds: int) -> None:
        self.events: list[tuple[object, ...]] = []
        self._connection = connection
        self._late = False
        self._ids = [connection.domainEventRegisterAny(None, kind, self._hear, None) for kind in kinds]

    def _hear(self, _connection: object, _guest: object, *what: object) -> None:
        self.events.append(what[:-1])

    def wait(self, condition: Callable[[tuple[object, ...]], bool]) -> None:
        timer = libvirt.virEventAddTimeout(WAIT_MILLISECONDS, self._end, None)
        while not any(condition(event) for event in self.events):
            assert not self._late, f"not among the events in {WAIT_MILLISECONDS} ms: {self.events}"
            libvirt.virEventRunDefaultImpl()
        libvirt.virEventRemoveTimeout(timer)

    def _end(self, *_: object) -> None:
        self._late = True

    def stop(self) -> None:
        for number in self._ids:
            self._connection.domainEventDeregisterAny(number)


def test_define_show_start_list_and_close(connection: libvirt.virConnect, asked: Guest) -> None:
    (pid,) = relays()
    guest = connection.defineXML(asked.xml)
    assert REQUEST in squeezed(guest.XMLDesc())
    assert guest.create() == 0 and link(asked.device)
    assert asked.name in [found.name() for found in connection.listAllDomains()]
    assert REQUEST in squeezed(guest.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    # libvirt counts who still holds the connection; 0 is nobody.
    guest = None
    assert connection.close() == 0
    gone(pid)


def test_a_guest_of_the_day(connection: libvirt.virConnect, asked: Guest) -> None:
    guest = connection.createXML(asked.xml, libvirt.VIR_DOMAIN_START_PAUSED)
    assert link(asked.device) and REQUEST in squeezed(guest.XMLDesc())
    guest.destroy()
    assert not link(asked.device)


def test_metadata_of_others_and_ours(connection: libvirt.virConnect, asked: Guest) -> None:
    guest = connection.defineXML(asked.xml)
    heard = Heard(connection, libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE)
    element = libvirt.VIR_DOMAIN_METADATA_ELEMENT
    guest.setMetadata(element, "<physical>yes</physical>", "mine", SPACE, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    heard.wait(lambda event: event == (element, SPACE))
    heard.stop()
    assert guest.metadata(element, SPACE) == "<physical>yes</physical>"
    shown = squeezed(guest.XMLDesc())
    assert re.search("<mine:physical [^<]*>yes</mine:physical>", shown) and REQUEST in shown
    guest = connection.defineXML(guest.XMLDesc())
    assert squeezed(guest.XMLDesc()) == shown


def test_every_kind_of_event_can_be_asked_for(connection: libvirt.virConnect, asked: Guest) -> None:
    kinds = {getattr(libvirt, name) for name in dir(libvirt) if name.startswith("VIR_DOMAIN_EVENT_ID_")}
    kinds.remove(libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE)
    others = [connection.domainEventRegisterAny(None, number, lambda *_: None, None) for number in kinds]
    heard = Heard(connection, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE)
    guest = connection.defineXML(asked.xml)
    guest.create()
    heard.wait(lambda event: event[0] == libvirt.VIR_DOMAIN_EVENT_STARTED)
    guest.destroy()
    heard.wait(lambda event: event[0] == libvirt.VIR_DOMAIN_EVENT_STOPPED)
    guest.undefine()
    heard.wait(lambda event: event[0] == libvirt.VIR_DOMAIN_EVENT_UNDEFINED)
    heard.stop()
    for number in others:
        connection.domainEventDeregisterAny(number)
    told = [event[0] for event in heard.events]
    assert len(told) == len(set(told)), "an event came twice"


def test_an_error_has_libvirts_code_and_domain(connection: libvirt.virConnect, asked: Guest) -> None:
    with pytest.raises(libvirt.libvirtError) as caught:
        connection.defineXML(asked.xml.replace("'vepa'", "'vepax'"))
    assert caught.value.get_error_code() == libvirt.VIR_ERR_XML_ERROR
    assert caught.value.get_error_domain() == libvirt.VIR_FROM_DOMAIN
    assert caught.value.get_error_level() == libvirt.VIR_ERR_ERROR
    assert "unknown mode 'vepax'" in caught.value.get_error_message()
    assert connection.getLibVersion() > 0


def test_what_the_connection_tells_of_itself(connection: libvirt.virConnect) -> None:
    past = libvirt.open(PLAIN)
    questions = ("getType", "getVersion", "getLibVersion", "getHostname", "getInfo", "getCapabilities", "getMaxVcpus")
    for question in questions:
        options = ("qemu",) if question == "getMaxVcpus" else ()
        assert getattr(connection, question)(*options) == getattr(past, question)(*options)
    assert (connection.isAlive(), connection.isEncrypted()) == (past.isAlive(), past.isEncrypted())
    past.close()


def perl(uri: str, xml: str, *wrong: str) -> str:
    done = run("perl", str(CLIENT), uri, *wrong, stdin=xml)
    assert not done.stderr
    return done.stdout


def test_perl(asked: Guest) -> None:
    told = perl(URI, asked.xml, "<domain><devices><interface type='physical'><nam>")
    assert re.findall(r"event (\d+)", told) == [
        str(getattr(libvirt, f"VIR_DOMAIN_EVENT_{name}")) for name in ("DEFINED", "STARTED", "STOPPED", "UNDEFINED")
    ]
    assert f"runs: {asked.name}\n" in told
    assert REQUEST in squeezed(told)
    code, domain = libvirt.VIR_ERR_XML_ERROR, libvirt.VIR_FROM_DOMAIN
    assert f"error: {code} {domain} XML error: the document, line 1: not well-formed XML" in told


def test_perl_sees_a_foreign_guest_as_past_the_connection(guest_of: Make) -> None:
    guest = guest_of(3)
    told = {uri: perl(uri, guest.xml) for uri in (PLAIN, URI)}
    assert told[PLAIN] == told[URI] and "<domain" in told[URI]
    assert guest.name not in virsh("list", "--all", "--name").stdout
