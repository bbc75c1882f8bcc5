# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Definitions as documents: what is read, what is written, and what is refused in which words."""

from __future__ import annotations

import pytest

from libvirt_vepa.errors import XmlError
from libvirt_vepa.model.interface import HostType, Mode, NicDefinition
from libvirt_vepa.xml import definition
from tests.lab.documents import proposed
from tests.support.refusals import refusal

VEPA, PEPA, BRIDGE = Mode.VEPA, Mode.PEPA, Mode.BRIDGE
LAN = NicDefinition("lan", "eth0", HostType.ETHERNET)
NAMES = "use up to 64 letters, digits, '_', '.', '+' or '-', not beginning with '.', '+' or '-'"
DEVICES = "use 1 to 15 characters without blanks, '/', ':' or '%'"
NICS = DEVICES.replace("15", "127")
PROPOSAL = proposed("somename", "eth0", "sr-iov")


def lan(content: str = "", name: str = "name='lan'", source: str = "dev='eth0'", kind: str = "ethernet") -> str:
    return f"<interface type='physical' {name}>\n<source {source}/>\n<type>{kind}</type>\n{content}\n</interface>"


def read(text: str) -> NicDefinition:
    return definition.read(text.encode(), "f.xml")


def refused(text: str) -> str:
    return refusal(read, text, kind=XmlError)


def test_the_canonical_spelling() -> None:
    text = lan("<mode>vepa</mode>\n<mode>bridge</mode>\n<bridge name='br0'/>")
    assert read(text) == NicDefinition("lan", "eth0", HostType.ETHERNET, (VEPA, BRIDGE), "br0")


def test_the_proposals_own_text() -> None:
    assert read(PROPOSAL) == NicDefinition("somename", "eth0", HostType.SRIOV, (VEPA, PEPA, BRIDGE))


@pytest.mark.parametrize("kind", HostType)
def test_every_type_is_read(kind: HostType) -> None:
    assert read(lan(kind=kind.value)).type is kind


@pytest.mark.parametrize(
    ("content", "modes"),
    [
        ("", ()),
        ("<mode/>", ()),
        ("<mode> </mode>", ()),
        ("<mode>pepa</mode>", (PEPA,)),
        ("<mode>bridge</mode><mode>vepa</mode>", (BRIDGE, VEPA)),
        ("<mode>bridge|vepa</mode>", (BRIDGE, VEPA)),
        ("<mode> pepa |\n vepa </mode><mode>bridge</mode>", (PEPA, VEPA, BRIDGE)),
        ("<mode>veb</mode><mode>private</mode>", (BRIDGE, PEPA)),
    ],
)
def test_modes_are_a_set_whose_first_is_the_default(content: str, modes: tuple[Mode, ...]) -> None:
    assert read(lan(content)).modes == modes


@pytest.mark.parametrize("content", ["<!-- a -->", "<?a b?>", "// a remark\n// and another", ""])
def test_comments_and_remarks_mean_nothing(content: str) -> None:
    assert read(lan(content)) == LAN


def test_comments_inside_a_value_and_sections_mean_nothing() -> None:
    assert read(lan(kind=" ether<!-- a -->net ")) == LAN
    assert read(lan(kind="<![CDATA[vmdq]]>")).type is HostType.VMDQ


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lan("<mode>passthru</mode>"), "line 4: unknown mode 'passthru'; use vepa, pepa or bridge"),
        (lan("<mode>vepa|</mode>"), "line 4: unknown mode ''; use vepa, pepa or bridge"),
        (lan("<mode>vepa|vepa</mode>"), "line 4: mode vepa is listed twice; list each mode once"),
        (lan("<mode>bridge</mode>\n<mode>veb</mode>"), "line 5: mode bridge is listed twice; list each mode once"),
        (lan(kind="sriov"), "line 3: unknown type 'sriov'; use ethernet, sr-iov or vmdq"),
        (lan(kind=""), "line 3: the type is empty; use ethernet, sr-iov or vmdq"),
        (
            lan(kind="sr-iov|vmdq"),
            "line 3: more than one type given: 'sr-iov|vmdq'; name the one type that this NIC is",
        ),
        (lan(kind="<b/>"), "line 3: <type> has elements inside; write only its value"),
        (lan("<type>vmdq</type>"), "line 4: <type> stands there twice; keep one of them"),
        (lan("<source dev='eth1'/>"), "line 4: <source> stands there twice; keep one of them"),
        (lan("<bridge name='a'/>\n<bridge name='b'/>"), "line 5: <bridge> stands there twice; keep one of them"),
        (lan("<bridge/>"), "line 4: <bridge> has no 'name'; write <bridge name='br0'/>"),
        (lan("<bridge name='a/b'/>"), f"line 4: 'a/b' cannot be the name of a network device; {DEVICES}"),
        (lan(source=""), "line 2: <source> has no 'dev'; write <source dev='eth0'/>"),
        (lan(name=""), "line 1: <interface> has no 'name'; write <interface type='physical' name='lan'>"),
        (lan("hello"), "line 3: text 'hello' is not expected here; remove it, or make it a comment"),
        ("<interface type='physical' name='a'/>", "line 1: <source> is missing; write <source dev='eth0'/>"),
        (
            "<interface type='physical' name='a'>\n<source dev='b'/></interface>",
            "line 1: <type> is missing; write <type>ethernet</type>",
        ),
        *(
            (
                lan(source=f"dev='{name}'"),
                f"line 2: '{shown}' cannot be the name of a network device; {NICS}",
            )
            for name, shown in (
                ("", ""),
                ("../x", "../x"),
                ("a&#10;b", r"a\nb"),
                ("a b", "a b"),
                ("x" * 128, "x" * 128),
            )
        ),
        *(
            (lan(name=f"name='{name}'"), f"line 1: '{shown}' cannot be the name of a physical interface; {NAMES}")
            for name, shown in (("", ""), ("../x", "../x"), ("$(x)", "$(x)"), ("a&#10;b", r"a\nb"), ("a/b", "a/b"))
        ),
        *(
            (
                text,
                "line 1: this is not the definition of a physical interface; begin with <interface type='physical'>",
            )
            for text in (
                "<domain/>",
                "<interface name='lan'/>",
                "<interface type='bridge' name='lan'/>",
                "<i:interface xmlns:i='urn:i' type='physical' name='lan'/>",
            )
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, message: str) -> None:
    assert refused(text) == f"f.xml, {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lan("<mtu size='1'/>"), "line 4: <mtu> is not expected in <interface>"),
        (lan(name="name='lan' colour='red'"), "line 1: <interface> has no attribute 'colour'"),
        (lan(source="dev='eth0' mode='vepa'"), "line 2: <source> has no attribute 'mode'"),
        (lan("<mode a='b'>vepa</mode>"), "line 4: <mode> has no attribute 'a'"),
        (lan("<bridge name='br0'>text</bridge>"), "line 4: text is not expected in <bridge>"),
        (lan("<bridge name='br0'><b/></bridge>"), "line 4: <b> is not expected in <bridge>"),
    ],
)
def test_what_the_schema_does_not_know_is_told_with_its_line(text: str, message: str) -> None:
    told = refused(text)
    assert told.startswith(f"f.xml, {message}; see the schema ")
    assert told.endswith("host.rng")


@pytest.mark.parametrize("length", range(1, len(PROPOSAL) - 2))
def test_a_half_written_definition_is_refused(length: int) -> None:
    assert refused(PROPOSAL[:length]).startswith("f.xml, line ")


@pytest.mark.parametrize(
    "host",
    [
        LAN,
        NicDefinition("_.+-", "a&'\"<>", HostType.VMDQ, (PEPA,), "'&<\""),
        NicDefinition("x" * 64, "$(x)", HostType.SRIOV, (BRIDGE, VEPA, PEPA)),
    ],
)
def test_what_is_written_is_read_again(host: NicDefinition) -> None:
    assert definition.read(definition.write(host), "f.xml") == host


def test_what_is_written_is_canonical() -> None:
    assert definition.write(read(PROPOSAL)).decode() == (
        "<interface type='physical' name='somename'>\n"
        "  <source dev='eth0'/>\n"
        "  <type>sr-iov</type>\n"
        "  <mode>vepa</mode>\n"
        "  <mode>pepa</mode>\n"
        "  <mode>bridge</mode>\n"
        "</interface>\n"
    )
