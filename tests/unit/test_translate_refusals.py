# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What nobody can mean by a request: told in one line, with the document, the line, the guest and the remedy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lxml import etree

from libvirt_vepa.errors import XmlError
from libvirt_vepa.model.address import MacAddress, PciAddress
from libvirt_vepa.model.interface import HostType, Mode, NicDefinition
from libvirt_vepa.xml import document as documents
from libvirt_vepa.xml import translate, validate
from tests.support.refusals import refusal

NAMES = "use up to 64 letters, digits, '_', '.', '+' or '-', not beginning with '.', '+' or '-'"
DEVICES = "use up to 15 letters, digits, '_', '.' or '-', not beginning with '-'"
STATION = "give a unicast MAC, as in 52:54:00:aa:bb:cc"
UNEXPECTED = f"see the schema {documents.data_file('guest.rng')}"
DROPPED = "libvirt would drop this alias; "
BEHIND = "write letters, digits, '_' and '-' behind ua-"
YES_OR_NO = "this is neither yes nor no; write one of them"
NO_TAP = "a tap is not on a VF; remove it, or ask for <type>macvtap</type>"
ONE_VLAN = "a VF is in one VLAN; write one <tag id='…'/> in it"
NO_TRUNK = "a VF has no trunk and no native VLAN; write it as in <vlan><tag id='42'/></vlan>"
HOSTS_VFS = "which VFs there are, the host says; remove it; it belongs to the definition of the host's NIC"
LAN = "<name>lan</name>"
REFUSED = {
    "<source dev='eth0'/>": "<source>: which NIC that is, the host decides; remove it; <name> says which one is meant",
    "<virtualport/>": "<virtualport>: libvirt has no virtual ports on such an interface; remove it",
    "<port isolated='yes'/>": (
        "<port>: libvirt isolates no ports on such an interface; remove it; target mode='pepa' keeps guests apart"
    ),
    "<type>tap</type><vlan><tag id='4'/></vlan>": f"<vlan>: {NO_TAP}",
    "<type>tap</type><vf trust='on'/>": f"<vf>: {NO_TAP}",
    "<vlan/>": f"<vlan>: {ONE_VLAN}",
    "<vlan><tag id='4'/><tag id='5'/></vlan>": f"<vlan>: {ONE_VLAN}",
    "<vlan trunk='yes'><tag id='4'/></vlan>": f"<vlan trunk> 'yes': {NO_TRUNK}",
    "<vlan trunk='no'><tag id='4'/></vlan>": f"<vlan trunk> 'no': {NO_TRUNK}",
    "<vlan trunk='yes'><tag id='4'/><tag id='5'/></vlan>": f"<vlan trunk> 'yes': {NO_TRUNK}",
    "<vlan><tag id='4' nativeMode='untagged'/></vlan>": f"<tag nativeMode> 'untagged': {NO_TRUNK}",
    "<vlan><tag/></vlan>": "<tag>: the VLAN's number is missing; write it as in <tag id='42'/>",
    "<vlan id='4'><tag id='4'/></vlan>": "<vlan id> '4': there is no such attribute; remove it",
    "<vlan><tag id='4' a='b'/></vlan>": "<tag a> 'b': there is no such attribute; remove it",
    "<vlan><tag id='4'/><b/></vlan>": "<b>: no element stands in another here; remove it",
    "<vlan><tag id='4'><b/></tag></vlan>": "<b>: no element stands in another here; remove it",
    "<vlan>// a<tag id='4'/></vlan>": "'// a': text means nothing here; remove it",
    "<vlan><tag id='0'/></vlan>": "VLAN '0' is no number from 1 to 4094; write one in decimal digits",
    "<vlan><tag id='4095'/></vlan>": "VLAN '4095' is no number from 1 to 4094; write one in decimal digits",
    "<vlan><tag id='4'/></vlan><vlan><tag id='4'/></vlan>": (
        f"<vlan> is not expected here, or stands there twice; {UNEXPECTED}"
    ),
    "<vf/>": "<vf>: it says nothing; write what the VF is set to, as in <vf trust='on'/>, or remove it",
    "<vf range='0-3'/>": f"<vf range> '0-3': {HOSTS_VFS}",
    "<vf count='4'/>": f"<vf count> '4': {HOSTS_VFS}",
    "<vf vlan='4'/>": "<vf vlan> '4': a VLAN is an element of its own; write it as in <vlan><tag id='42'/></vlan>",
    "<vf mac='a'/>": "a VF has no setting 'mac'; use spoofchk, trust, state, min_tx_rate, max_tx_rate, qos, proto",
    "<vf spoofchk='yes'/>": "spoofchk 'yes' is neither on nor off; write one of them",
    "<vf trust='1'/>": "trust '1' is neither on nor off; write one of them",
    "<vf state='up'/>": "unknown link state 'up'; use auto, enable or disable",
    "<vf min_tx_rate='-1'/>": "min_tx_rate '-1' is no number from 0 to 4294967295; write one in decimal digits",
    "<vf max_tx_rate='1Gbit'/>": "max_tx_rate '1Gbit' is no number from 0 to 4294967295; write one in decimal digits",
    "<vf min_tx_rate='2' max_tx_rate='1'/>": "min_tx_rate 2 is above max_tx_rate 1; lower the one or raise the other",
    "<vf qos='8'/>": "qos '8' is no number from 0 to 7; write one in decimal digits",
    "<vf proto='QinQ'/>": "unknown VLAN protocol 'QinQ'; use 802.1Q or 802.1ad",
    "<vf trust='on'>a</vf>": "'a': text means nothing here; remove it",
    "<vf trust='on'><b/></vf>": "<b>: no element stands in another here; remove it",
    "<vf trust='on'/><vf state='auto'/>": f"<vf> is not expected here, or stands there twice; {UNEXPECTED}",
    "<mode>vepa</mode>": "<mode>: the mode belongs to the target; write it as in <target mode='vepa'/>",
    "<filterref filter='a'/>": "<filterref>: libvirt filters no macvtap; remove it, or ask for <type>tap</type>",
    "<type>macvtap</type><filterref filter='a'/>": (
        "<filterref>: libvirt filters no macvtap; remove it, or ask for <type>tap</type>"
    ),
    "<target mode='vepa|bridge'/>": (
        "<target mode> 'vepa|bridge': this is a choice of modes; ask for one, or leave it out for the host's default"
    ),
    "<target mode='passthru'/>": "unknown mode 'passthru'; use vepa, pepa or bridge",
    "<target mode=''/>": "unknown mode ''; use vepa, pepa or bridge",
    "<target dev='a' managed='no'/>": "<target managed> 'no': a target has no such attribute; use mode and dev",
    "<target>a</target>": "'a': text means nothing here; remove it",
    "<target><b/></target>": "<b>: no element stands in another here; remove it",
    "<type>macvlan</type>": "unknown type 'macvlan'; use macvtap or tap",
    "<type>macvtap|tap</type>": "unknown type 'macvtap|tap'; use macvtap or tap",
    "<type/>": "unknown type ''; use macvtap or tap",
    "<type a='b'>tap</type>": "<type a> 'b': there is no such attribute; remove it",
    "<type>tap</type><type>tap</type>": f"<type> is not expected here, or stands there twice; {UNEXPECTED}",
    "<name>wan</name>": f"<name> is not expected here, or stands there twice; {UNEXPECTED}",
    "<model type='a'/><model type='b'/>": f"<model> is not expected here, or stands there twice; {UNEXPECTED}",
    "<mac address='52:54:00:00:00:01'/><mac address='52:54:00:00:00:02'/>": (
        f"<mac> is not expected here, or stands there twice; {UNEXPECTED}"
    ),
    "<frobnicate/>": f"<frobnicate> is not expected in <interface>; {UNEXPECTED}",
    "<host/>": f"<host> is not expected in <interface>; {UNEXPECTED}",
    "<mac address='01:00:5e:00:00:01'/>": f"01:00:5e:00:00:01 is not the MAC of a single station; {STATION}",
    "<mac address='f:0:0:0:0:1'/>": f"0f:00:00:00:00:01 is not the MAC of a single station; {STATION}",
    "<mac address='0:0:0:0:0:0'/>": f"00:00:00:00:00:00 is not the MAC of a single station; {STATION}",
    "<mac address='52:54:00:00:01'/>": (
        "'52:54:00:00:01' is not a MAC address; write six hexadecimal pairs, as in 52:54:00:aa:bb:cc"
    ),
    "<mac/>": "<mac>: its address is missing; write it, or leave out <mac> and one is generated",
    "<mac address='52:54:00:00:00:01' a='b'/>": "<mac a> 'b': there is no such attribute; remove it",
    "<mac address='52:54:00:00:00:01' check='x'/>": f"<mac check> 'x': {YES_OR_NO}",
    "<mac address='52:54:00:00:00:01' type='x'/>": (
        "<mac type> 'x': libvirt knows no such type of address; write generated or static, or leave it out"
    ),
    "<target dev='sixteen-letters.'/>": f"'sixteen-letters.' cannot be the name of a guest's device; {DEVICES}",
    "<target dev=''/>": f"'' cannot be the name of a guest's device; {DEVICES}",
    "<target dev='../x'/>": f"'../x' cannot be the name of a guest's device; {DEVICES}",
    "<target dev='a&#10;b'/>": rf"'a\nb' cannot be the name of a guest's device; {DEVICES}",
    "<target dev='-f'/>": f"'-f' cannot be the name of a guest's device; {DEVICES}",
    "<target dev='$(reboot)'/>": f"'$(reboot)' cannot be the name of a guest's device; {DEVICES}",
    "<target dev='$( x)'/>": f"'$( x)' cannot be the name of a guest's device; {DEVICES}",
    "<alias name='net0'/>": f"<alias>: {DROPPED}begin it with ua-, or leave it out",
    "<alias/>": f"<alias>: {DROPPED}begin it with ua-, or leave it out",
    "<alias name='ua-a b'/>": f"<alias name> 'ua-a b': {DROPPED}{BEHIND}",
    "<alias name='ua-'/>": f"<alias name> 'ua-': {DROPPED}{BEHIND}",
    "<target dev='vp525400000009'/>": "device 'vp525400000009' is reserved for the MAC it encodes; leave it out",
    "<alias name='ua-physical-525400000009'/>": (
        "alias 'ua-physical-525400000009' is reserved for the MAC it encodes; leave it out"
    ),
}
HEADS = {
    "<interface type='physical' name='lan'>": (
        "<interface name> 'lan': this looks like the definition of a host's NIC; "
        "give it to 'libvirt-vepa iface-define'; a guest writes <name>…</name>"
    ),
    "<interface type='physical' trustGuestRxFilters='x'>": f"<interface trustGuestRxFilters> 'x': {YES_OR_NO}",
    "<interface type='physical' a='b'>": f"<interface> has no attribute 'a'; {UNEXPECTED}",
    "<interface type='physical'>text": "'text': text means nothing here; remove it, or make it a comment",
}


def interface(*children: str, name: str = LAN, head: str = "<interface type='physical'>") -> str:
    return f"{head}{name}{''.join(children)}</interface>"


def domain(*devices: str) -> bytes:
    """Return a guest with the first device on line 3."""
    return "<domain>\n<name>web</name><devices>\n{}\n</devices></domain>".format("\n".join(devices)).encode()


def refused(*devices: str, translation: Callable[[bytes, str], bytes] = translate.to_stored, line: int = 3) -> str:
    text = refusal(translation, domain(*devices), "f.xml", kind=XmlError)
    place = f"f.xml, line {line}: guest 'web': "
    assert text.startswith(place), text
    return text.removeprefix(place)


@pytest.mark.parametrize("child", REFUSED)
def test_what_a_request_cannot_say(child: str) -> None:
    assert refused(interface(child)) == REFUSED[child]


@pytest.mark.parametrize("head", HEADS)
def test_what_the_interface_itself_cannot_say(head: str) -> None:
    assert refused(interface(head=head)) == HEADS[head]


@pytest.mark.parametrize(
    ("name", "shown"),
    [("../x", "../x"), ("$(x)", "$(x)"), ("a\nb", "a b"), ("a/b", "a/b"), ("", ""), ("x" * 65, "x" * 65), ("-x", "-x")],
)
def test_a_hostile_name(name: str, shown: str) -> None:
    text = f"'{shown}' cannot be the name of a physical interface; {NAMES}"
    assert refused(interface(name=f"<name>{name}</name>")) == text


def test_no_name_at_all() -> None:
    assert refused(interface(name="")) == (
        "<interface>: <name> is missing; write <name>…</name>, with a name that 'libvirt-vepa iface-list' shows"
    )


def test_all_words_of_the_schema_are_said_by_a_test() -> None:
    schema = etree.parse(str(documents.data_file("guest.rng")))
    said = "\n".join((*REFUSED.values(), *HEADS.values(), "<name> is missing; write <name>…</name>, with a name "))
    missing = [word.get("what") for word in schema.iter(validate.WORDS) if f"{word.get('what')}; " not in said]
    assert not missing


def test_the_line_is_that_of_the_element() -> None:
    assert refused("<disk/>", interface("\n\n<model type='a'/>\n", "<vlan/>"), line=7) == REFUSED["<vlan/>"]
    below = interface("\n<vf trust='on'/>\n<vlan>\n", "<tag id='0'/></vlan>")
    assert refused(below, line=6) == REFUSED["<vlan><tag id='0'/></vlan>"]
    assert refused(interface("\n<vf qos='8'/>"), line=4) == REFUSED["<vf qos='8'/>"]


MAC = "<mac address='52:54:00:00:00:01'/>"


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        (interface(MAC), interface("<mac address='52:54:0:0:0:1'/>"), "MAC 52:54:00:00:00:01"),
        (interface("<target dev='a'/>"), interface("<target dev='a'/>"), "device a"),
        (interface("<alias name='ua-a'/>"), interface("<alias name='ua-a'/>"), "alias ua-a"),
        (interface(MAC), interface("<alias name='ua-a'/>", MAC), "MAC 52:54:00:00:00:01"),
    ],
)
def test_what_two_requests_cannot_both_have(one: str, other: str, what: str) -> None:
    assert refused(one, other, line=4) == f"{what} is given to two devices of this guest; make them different"


@pytest.mark.parametrize(
    ("ours", "other", "what"),
    [
        ("<alias name='ua-a'/>", "<disk><alias name='ua-a'/></disk>", "alias ua-a"),
        ("<target dev='a'/>", "<interface type='bridge'><target dev='a'/></interface>", "device a"),
        (MAC, "<interface type='bridge'><target dev='vp525400000001'/></interface>", "device vp525400000001"),
    ],
)
def test_what_another_device_has_already(ours: str, other: str, what: str) -> None:
    assert (
        refused(other, interface(ours), line=4) == f"{what} is given to two devices of this guest; make them different"
    )


def test_teaming_may_share_a_mac_with_another_interface() -> None:
    other = f"<interface type='hostdev'>{MAC}<teaming type='transient' persistent='ua-a'/></interface>"
    assert b"type='ethernet'" in translate.to_stored(domain(interface(MAC, "<alias name='ua-a'/>"), other), "f.xml")


def test_two_guests_in_one_document_may_have_the_same() -> None:
    guest = domain(interface(MAC, "<target dev='a'/>", "<alias name='ua-a'/>"))
    snapshot = b"<domainsnapshot>" + guest + guest.replace(b"domain>", b"inactiveDomain>") + b"</domainsnapshot>"
    assert translate.to_stored(snapshot, "f.xml").count(b"type='ethernet'") == 2


NO_VF = "<vlan> and <vf> need a VF, which libvirt's own interfaces do not lease; remove them"
HOSTS = (
    NicDefinition("lan", "eth0", HostType.ETHERNET, (Mode.VEPA, Mode.PEPA)),
    NicDefinition("wan", "eth1", HostType.ETHERNET, (), "br-wan"),
    NicDefinition("mac", "", HostType.ETHERNET, (), "br-mac", mac=MacAddress.parse("00:1b:21:aa:bb:cc")),
    NicDefinition("pci", "", HostType.SRIOV, address=PciAddress(0, 1, 0, 0)),
    NicDefinition("long", "x" * 16, HostType.ETHERNET),
    NicDefinition("short", "x" * 15, HostType.ETHERNET),
)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (interface(name="<name>no</name>"), "no physical interface 'no' is defined; see 'libvirt-vepa iface-list'"),
        (interface("<target mode='bridge'/>"), "mode bridge is not allowed on 'lan'; ask for vepa or pepa"),
        (interface("<type>tap</type>"), "mode bridge is not allowed on 'lan'; ask for vepa or pepa"),
        (
            interface("<type>tap</type><target mode='vepa'/>"),
            "'lan' has no bridge for a tap, or not its mode; ask for <type>macvtap</type>",
        ),
        (interface("<vlan><tag id='4'/></vlan>"), NO_VF),
        (interface("<vf trust='on'/>"), NO_VF),
        *(
            (
                interface(name=f"<name>{name}</name>"),
                f"'{name}' is {nic}, which libvirt's own interfaces cannot find; "
                "define it by a device's name of up to 15 characters",
            )
            for name, nic in (("mac", "00:1b:21:aa:bb:cc"), ("pci", "0000:01:00.0"), ("long", "x" * 16))
        ),
        (
            interface("<type>tap</type><target mode='vepa'/>", name="<name>wan</name>"),
            "'wan' has no bridge for a tap, or not its mode; ask for <type>macvtap</type>",
        ),
    ],
)
def test_what_the_definitions_do_not_give_to_the_native_form(request_: str, message: str) -> None:
    assert refused(request_, translation=lambda data, origin: translate.to_native(data, origin, HOSTS)) == message


def test_what_libvirts_own_interfaces_do_find() -> None:
    for head, source in (("short", "x" * 15), ("mac", "br-mac")):
        asked_ = interface("<type>tap</type>" if head == "mac" else "", name=f"<name>{head}</name>")
        assert f"'{source}'".encode() in translate.to_native(domain(asked_), "f.xml", HOSTS)


@pytest.mark.parametrize(
    "more",
    [
        "<p:vlan/><p:vlan><p:tag id='1'/></p:vlan>",
        "<p:vlan a='b'><p:tag id='1'/></p:vlan>",
        "<p:vlan><p:tag id='1'/><p:tag id='2'/></p:vlan>",
        "<p:vlan><p:tag id='1' native='x'/></p:vlan>",
        "<p:vlan><p:tag id='1'><p:b/></p:tag></p:vlan>",
        "<p:vlan><p:id/></p:vlan>",
        "<vlan/>",
        "<p:vf trust='on'/><p:vf trust='on'/>",
        "<p:vf mac='a'/>",
        "<p:vf p:trust='on'/>",
        "<p:vf><p:b/></p:vf>",
        "<p:tag id='1'/>",
        "<p:mtu/>",
        "<q:vf xmlns:q='urn:q'/>",
    ],
)
@pytest.mark.parametrize("translation", [translate.to_stored, translate.to_proposed])
def test_a_stored_request_that_says_more_than_is_known(more: str, translation: Callable[[bytes, str], bytes]) -> None:
    request_ = f"<p:interface alias='ua-a' name='lan' type='macvtap'>{more}</p:interface>"
    wrapper = f"<metadata><p:interfaces xmlns:p='urn:libvirt-vepa:physical:1'>{request_}</p:interfaces></metadata>"
    ours = "<interface type='ethernet'><mac address='52:54:00:00:00:01'/><alias name='ua-a'/></interface>"
    data = f"<domain>\n<name>web</name>\n{wrapper}<devices>{ours}</devices></domain>".encode()
    assert refusal(translation, data, "f.xml", kind=XmlError) == (
        "f.xml, line 3: a request is in a form not known here; use the libvirt-vepa that wrote it"
    )
