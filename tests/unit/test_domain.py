# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The stored form as the hook gets it: what each interface asks, and what is refused at a start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from libvirt_vepa.errors import XmlError
from libvirt_vepa.model.address import MacAddress
from libvirt_vepa.model.interface import Guest, GuestType, Mode, Request
from libvirt_vepa.model.vf_settings import LinkState, VfSettings, VlanProtocol
from libvirt_vepa.xml.domain import AGAIN, ASK_AGAIN, NEWER, NO_VF, read_attached, read_guest
from tests.support.refusals import refusal

UUID = "11111111-2222-3333-4444-555555555555"
TARGET = "<target dev='vp0' managed='no'/>"
MAC = "<mac address='52:54:00:00:00:01'/>"
ALIAS = "<alias name='ua-x'/>"
REQUEST = "alias='ua-x' name='lan' type='macvtap'"


def interface(*children: str, kind: str = "ethernet") -> str:
    return f"<interface type='{kind}'>{''.join(children)}</interface>"


OURS = interface(MAC, TARGET, ALIAS)


def domain(requests: str = f"<p:interface {REQUEST}/>", devices: str = OURS, version: str = "1") -> bytes:
    """Return a domain with the requests on line 4 and the devices from line 6."""
    return f"""\
<domain><name>web</name><uuid>{UUID}</uuid>
<metadata>
<x:other xmlns:x='urn:example:x'/><p:interfaces xmlns:p='urn:libvirt-vepa:physical:{version}'>
{requests}
</p:interfaces></metadata><devices>
{devices}
</devices></domain>""".encode()


def requests(data: bytes) -> tuple[Request, ...]:
    return read_guest(data).requests


def refused(data: bytes) -> str:
    return refusal(read_guest, data, kind=XmlError).removeprefix("guest 'web': ")


def asked(**values: Any) -> Request:
    mac = MacAddress.parse("52:54:00:00:00:01")
    return replace(Request("ua-x", "lan", GuestType.MACVTAP, None, mac, "vp0"), **values)


def test_a_guest_and_what_it_asks() -> None:
    assert read_guest(domain()) == Guest("web", UUID, (asked(),))


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("type='tap'", {"type": GuestType.TAP}),
        ("type='macvtap' mode='pepa'", {"mode": Mode.PEPA}),
        ("type='tap' mode='veb'", {"type": GuestType.TAP, "mode": Mode.BRIDGE}),
    ],
)
def test_the_request_is_in_the_metadata(words: str, values: dict[str, GuestType | Mode]) -> None:
    assert requests(domain(f"<p:interface alias='ua-x' name='lan' {words}/>")) == (asked(**values),)


@pytest.mark.parametrize(
    ("child", "values"),
    [
        ("<mtu size='9000'/>", {"mtu": 9000}),
        ("<driver name='vhost' queues='4'/>", {"queues": 4}),
        ("<driver name='vhost'/>", {"queues": 1}),
        ("<mtu/>", {"mtu": None}),
        ("<bandwidth><inbound average='9'/><outbound average='1250' peak='2000'/></bandwidth>", {"outbound": 1250}),
        ("<bandwidth><inbound average='9'/></bandwidth>", {"outbound": None}),
    ],
)
def test_what_libvirt_keeps_is_in_the_interface(child: str, values: dict[str, int | None]) -> None:
    assert requests(domain(devices=interface(MAC, TARGET, ALIAS, child))) == (asked(**values),)


@pytest.mark.parametrize(
    ("children", "vf"),
    [
        ("<!-- nothing -->", VfSettings()),
        ("<p:vlan> <p:tag id='42'/></p:vlan>", VfSettings(42)),
        ("<p:vf qos='1' max_tx_rate='100'/>", VfSettings(qos=1, max_tx_rate=100)),
        (
            "<p:vf spoofchk='off' trust='on' state='enable' min_tx_rate='1' proto='802.1ad'/>"
            "<p:vlan><!-- a remark --><p:tag id='4094'/></p:vlan>",
            VfSettings(4094, None, VlanProtocol.DOT1AD, False, True, LinkState.ENABLE, 1),
        ),
    ],
)
def test_what_is_asked_of_a_vf_is_in_the_request(children: str, vf: VfSettings) -> None:
    assert requests(domain(f"<p:interface {REQUEST}>{children}</p:interface>")) == (asked(vf=vf),)


@pytest.mark.parametrize(
    ("children", "what"),
    [
        ("<p:vlan/>", "VLAN '' is no number from 1 to 4094; "),
        ("<p:vlan><p:tag/></p:vlan>", "VLAN '' is no number from 1 to 4094; "),
        ("<p:vlan><p:tag id='4095'/></p:vlan>", "VLAN '4095' is no number from 1 to 4094; "),
        ("<p:vf trust='yes'/>", "trust 'yes' is neither on nor off; "),
        ("<p:vf min_tx_rate='2' max_tx_rate='1'/>", "min_tx_rate 2 is above max_tx_rate 1; "),
    ],
)
def test_what_no_vf_can_be_set_to_is_refused(children: str, what: str) -> None:
    text = refused(domain(f"<p:interface {REQUEST}>{children}</p:interface>"))
    assert text.startswith(f"interface on line 6: {what}")


@pytest.mark.parametrize("children", ["<p:vlan><p:tag id='1'/></p:vlan>", "<p:vf trust='on'/>"])
def test_a_tap_asks_nothing_of_a_vf(children: str) -> None:
    words = REQUEST.replace("macvtap", "tap")
    assert refused(domain(f"<p:interface {words}>{children}</p:interface>")) == (
        f"interface on line 6: it asks for a tap, which is not on a VF, and for what a VF is set to; {NO_VF}"
    )


def test_several_are_in_the_order_of_their_interfaces() -> None:
    other = interface("<mac address='52:54:00:00:00:02'/>", "<target dev='b' managed='no'/>", "<alias name='ua-b'/>")
    both = f"<p:interface {REQUEST}/><p:interface alias='ua-b' name='wan' type='tap'/>"
    assert [found.name for found in requests(domain(both, f"{other}\n{OURS}"))] == ["wan", "lan"]


@pytest.mark.parametrize(
    "devices",
    [
        "",
        interface(MAC, TARGET, ALIAS, kind="bridge"),
        interface(MAC, TARGET),
        interface(MAC, TARGET, "<alias name='ua-other'/>"),
        interface(MAC, TARGET, "<alias/>"),
        f"<hostdev>{OURS}</hostdev>",
    ],
    ids=["gone", "of another type", "without an alias", "with another alias", "with half an alias", "deeper"],
)
def test_a_request_whose_interface_is_gone_is_nothing(devices: str) -> None:
    assert requests(domain(devices=devices)) == ()


def test_a_guest_that_asks_nothing() -> None:
    assert read_guest(b"<domain><name>a</name><uuid>u</uuid></domain>") == Guest("a", "u", ())
    assert requests(domain("", interface(MAC))) == ()


@pytest.mark.parametrize(
    "target", ["", "<target dev='vp0'/>", "<target managed='no'/>", "<target dev='vp0' managed='yes'/>"]
)
def test_a_lost_target_is_refused_with_the_way_to_get_it_anew(target: str) -> None:
    text = f"interface on line 6: it has lost <target dev='…' managed='no'/>; {AGAIN}"
    assert refused(domain(devices=interface(MAC, target, ALIAS))) == text
    assert "libvirt-vepa translate" in AGAIN and "web" not in AGAIN


@pytest.mark.parametrize("requests", ["", "<p:interface name='lan' type='tap'/>", "<!-- nothing -->"])
def test_a_lost_request_is_refused(requests: str) -> None:
    lost = interface(MAC, TARGET, "<alias name='ua-physical-525400000001'/>")
    assert refused(domain(requests, lost)) == (
        f"interface on line 6: alias 'ua-physical-525400000001' has no request in the metadata; {ASK_AGAIN}"
    )


def test_a_request_that_was_not_translated_is_refused() -> None:
    assert refused(domain(devices=interface("<name>lan</name>", kind="physical"))) == (
        "interface on line 6: the request has not been translated; run 'libvirt-vepa translate' and define the result"
    )


@pytest.mark.parametrize("version", ["2", "", "1.1", "x"])
def test_another_version_is_not_guessed_at(version: str) -> None:
    assert refused(domain(version=version)) == (
        f"the requests are of version '{version}', which is not known here; {NEWER}"
    )


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (f"<p:interface {REQUEST} vf='3'/>", "vf"),
        (f"<p:interface {REQUEST}><p:mtu/></p:interface>", "{urn:libvirt-vepa:physical:1}mtu"),
        (f"<p:interface {REQUEST}><p:vf mac='a'/></p:interface>", "mac"),
        (f"<p:interface {REQUEST}><p:vlan trunk='yes'/></p:interface>", "trunk"),
        (f"<p:interface {REQUEST}><p:vlan/><p:vlan/></p:interface>", "{urn:libvirt-vepa:physical:1}vlan"),
        (f"<p:interface {REQUEST}><vf/></p:interface>", "vf"),
        (f"<p:interface {REQUEST} p:mode='vepa'/>", "{urn:libvirt-vepa:physical:1}mode"),
    ],
)
def test_a_request_that_says_more_than_is_known_is_refused(request_: str, what: str) -> None:
    assert refused(domain(request_)) == f"request on line 4: it says '{what}', which is not known here; {NEWER}"


def test_two_requests_of_one_alias_are_refused() -> None:
    two = f"<p:interface {REQUEST}/><p:interface {REQUEST} mode='vepa'/>"
    assert refused(domain(two)) == f"request on line 4: alias 'ua-x' has a request already; {AGAIN}"


@pytest.mark.parametrize(
    ("mac", "target", "what"),
    [
        ("52:54:0:0:0:1", "other", "MAC 52:54:00:00:00:01"),
        ("52:54:00:00:00:02", "vp0", "device vp0"),
    ],
)
def test_two_interfaces_with_one_mac_or_device_are_refused(mac: str, target: str, what: str) -> None:
    other = interface(f"<mac address='{mac}'/>", f"<target dev='{target}' managed='no'/>", "<alias name='ua-b'/>")
    both = f"<p:interface {REQUEST}/><p:interface alias='ua-b' name='wan' type='tap'/>"
    assert refused(domain(both, f"{OURS}\n{other}")) == (
        f"interface on line 7: the interface on line 6 has {what} too; change one of them"
    )


@pytest.mark.parametrize(
    ("request_", "children", "what"),
    [
        ("alias='ua-x' type='tap'", (MAC, TARGET), "'' cannot be the name of a physical interface"),
        ("alias='ua-x' name='../x' type='tap'", (MAC, TARGET), "'../x' cannot be the name of a physical interface"),
        ("alias='ua-x' name='lan'", (MAC, TARGET), "unknown type ''; use macvtap or tap"),
        ("alias='ua-x' name='lan' type='macvlan'", (MAC, TARGET), "unknown type 'macvlan'; use macvtap or tap"),
        (f"{REQUEST} mode='vepa|bridge'", (MAC, TARGET), "unknown mode 'vepa|bridge'; use vepa, pepa or bridge"),
        (f"{REQUEST} mode=''", (MAC, TARGET), "unknown mode ''; use vepa, pepa or bridge"),
        (REQUEST, (TARGET,), "'' is not a MAC address"),
        (REQUEST, ("<mac address='x'/>", TARGET), "'x' is not a MAC address"),
        (
            REQUEST,
            ("<mac address='01:00:5e:00:00:01'/>", TARGET),
            "01:00:5e:00:00:01 is not the MAC of a single station",
        ),
        (REQUEST, ("<mac address='0:0:0:0:0:0'/>", TARGET), "00:00:00:00:00:00 is not the MAC of a single station"),
        (REQUEST, (MAC, "<target dev='a/b' managed='no'/>"), "'a/b' cannot be the name of a guest's device"),
        (REQUEST, (MAC, "<target dev='x&#10;' managed='no'/>"), r"'x\n' cannot be the name of a guest's device"),
        (REQUEST, (MAC, TARGET, "<mtu size='big'/>"), "'big' is not a number (<mtu size>); give a positive number"),
        (REQUEST, (MAC, TARGET, "<driver queues='-1'/>"), "'-1' is not a number (<driver queues>)"),
        (REQUEST, (MAC, TARGET, "<mtu size='9999999999'/>"), "'9999999999' is not a number (<mtu size>)"),
        (REQUEST, (MAC, TARGET, "<mtu size='٣'/>"), "'٣' is not a number (<mtu size>)"),
        (
            REQUEST,
            (MAC, TARGET, "<bandwidth><outbound average='much'/></bandwidth>"),
            "'much' is not a number (<bandwidth/outbound average>); give a positive number",
        ),
    ],
)
def test_a_value_that_nobody_can_mean_is_refused(request_: str, children: tuple[str, ...], what: str) -> None:
    text = refused(domain(f"<p:interface {request_}/>", interface(*children, ALIAS)))
    assert text.startswith(f"interface on line 6: {what}")


DEVICE = "mac='52:54:00:00:00:01' device='vp0'"


def test_an_interface_that_is_attached_is_what_its_request_says() -> None:
    more = f"<p:interface {REQUEST} {DEVICE} mtu='1400' queues='4' outbound='500'/><p:interface alias='ua-y'/>"
    guest = read_attached(domain(more, ""), "ua-x")
    assert guest == Guest("web", UUID, (asked(mtu=1400, queues=4, outbound=500),))


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("alias='ua-y' name='lan' type='macvtap'", "libvirt does not know of it"),
        (f"{REQUEST} device='vp0'", "it does not say which MAC and device"),
        (f"{REQUEST} {DEVICE} mtu='big'", "'big' is not a number (<mtu size>)"),
        (f"{REQUEST} {DEVICE.replace('vp0', 'a/b')}", "'a/b' cannot be the name of a guest's device"),
        (f"{REQUEST} {DEVICE} color='red'", "it says 'color', which is not known here"),
    ],
)
def test_an_attached_interface_without_all_it_needs_is_refused(said: str, what: str) -> None:
    assert what in refusal(read_attached, domain(f"<p:interface {said}/>", ""), "ua-x", kind=XmlError)


def test_a_guest_without_a_uuid_is_a_draft_at_most() -> None:
    data = domain().replace(f"<uuid>{UUID}</uuid>".encode(), b"")
    assert refused(data) == "<uuid> is missing; give the domain's XML as libvirt writes it"
    assert read_guest(data, draft=True) == Guest("web", "", (asked(),))


@pytest.mark.parametrize(
    "data", [b"<interface type='ethernet'/>", b"<domainsnapshot/>", b"<d:domain xmlns:d='urn:d'/>"]
)
def test_what_is_no_domain_is_refused(data: bytes) -> None:
    assert refused(data) == "the guest's XML: this is not the XML of a domain; give what 'virsh dumpxml' prints"


def test_a_hostile_name_of_a_guest_stays_on_its_line() -> None:
    text = refusal(read_guest, domain(version="2").replace(b"<name>web", b"<name>a\n$(x)&#133;"))
    assert text.startswith(r"guest 'a\n$(x)\x85': ")


@pytest.mark.parametrize("cut", [b"</domain>", b"</metadata>", b"<interface "])
def test_what_libvirt_would_not_write_is_refused_as_a_whole(cut: bytes) -> None:
    data = domain()
    assert cut in data
    text = refusal(read_guest, data.replace(cut, b"", 1), kind=XmlError)
    assert text.startswith("the guest's XML, line ") and "not well-formed XML: " in text


@pytest.mark.parametrize("data", [b"", b"x"])
def test_what_is_nothing_at_all_is_refused(data: bytes) -> None:
    assert "not well-formed XML: " in refusal(read_guest, data, kind=XmlError)
