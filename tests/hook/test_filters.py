# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`migrate` and `restore`: the operations whose output libvirt reads as the guest's new XML."""

from __future__ import annotations

import pytest

from libvirt_vepa.xml import translate
from tests.lab.guest import Guest
from tests.lab.hook import call, one_line, stored
from tests.support.leak_check import Untouched

FILTERS = pytest.mark.parametrize("operation", ["migrate", "restore"])
FOREIGN = b"<domain><name>web</name><uuid>11111111-2222-4333-8444-555555555555</uuid><devices/></domain>\n"


@pytest.fixture
def proposed() -> Guest:
    guest = Guest(1)
    guest.ask("pepa", extra="<mtu size='1400'/>")
    return guest


@FILTERS
def test_a_proposed_document_is_translated(operation: str, proposed: Guest) -> None:
    with Untouched():
        done = call(operation, proposed.xml.encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == stored(proposed)
    assert b"<interface type='ethernet'>" in done.stdout and b"type='physical'" not in done.stdout


@FILTERS
def test_a_stored_document_is_left_to_libvirt(operation: str, proposed: Guest) -> None:
    with Untouched():
        done = call(operation, stored(proposed))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@FILTERS
@pytest.mark.parametrize(
    "document",
    [FOREIGN, FOREIGN.replace(b"web", b"physical"), FOREIGN.replace(b"<devices/>", b"<title>type='physical'</title>")],
    ids=["without our word", "our word as a name", "our word in a text"],
)
def test_a_foreign_document_is_left_to_libvirt(operation: str, document: bytes) -> None:
    done = call(operation, document)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@FILTERS
def test_a_document_with_both_forms_becomes_one(operation: str, proposed: Guest) -> None:
    mine = stored(proposed)
    more = b"<interface type='physical'><name>lan</name><mac address='52:54:00:00:01:01'/></interface></devices>"
    done = call(operation, mine.replace(b"</devices>", more))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"<physical:interface ") == 2
    assert translate.to_proposed(done.stdout, "test").count(b"type='physical'") == 2


@FILTERS
@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        ("<target mode='hairpin'/>", "unknown mode 'hairpin'; use vepa, pepa or bridge"),
        ("<source dev='eth0'/>", "<source>: "),
        ("<frobnicate/>", "<frobnicate> is not expected in <interface>; see the schema /usr/"),
    ],
)
def test_an_error_leaves_stdout_empty_and_names_the_guest(
    operation: str, bad: str, cause: str, proposed: Guest
) -> None:
    proposed.interfaces = f"<interface type='physical'><name>lan</name><mac address='{proposed.mac}'/>{bad}</interface>"
    with Untouched():
        done = call(operation, proposed.xml.encode())
    assert done.returncode == 1
    told = one_line(done)
    assert told.startswith("the guest's XML, line ") and "guest 'lab1'" in told
    assert cause in told and "; " in told


@FILTERS
@pytest.mark.parametrize("cut", [1, 100, 300])
def test_a_document_that_is_cut_short_is_one_line(operation: str, cut: int, proposed: Guest) -> None:
    done = call(operation, proposed.xml.rstrip().encode()[:-cut])
    assert done.returncode == 1
    assert one_line(done).startswith("the guest's XML, line ")
