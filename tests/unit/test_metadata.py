# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The requests as libvirt's metadata call has them: without their namespace, which the domain's XML shows."""

from __future__ import annotations

import pytest

from libvirt_vepa.errors import XmlError
from libvirt_vepa.model.interface import NAMESPACE
from libvirt_vepa.xml import metadata, translate
from tests.support.refusals import refusal

ONE = (
    b'<interface alias="ua-one" name="lan" type="macvtap" mode="vepa"><vlan><tag id="42"/></vlan>'
    b'<vf trust="on"/></interface>'
)
TWO = b'<interface alias="ua-two" name="dmz" type="tap"/>'
WRAPPER = b"<interfaces>" + ONE + TWO + b"</interfaces>"
DOMAIN = f"""<domain><name>web</name><metadata><other xmlns='urn:other'/>
<physical:interfaces xmlns:physical='{NAMESPACE}'>
  <physical:interface alias='ua-one' name='lan' type='macvtap' mode='vepa'>
    <physical:vlan>
      <physical:tag id='42'/>
    </physical:vlan>
    <physical:vf trust='on'/>
  </physical:interface>
  <!-- a remark --><physical:interface alias='ua-two' name='dmz' type='tap'/>
</physical:interfaces></metadata><devices>
<interface type='ethernet'><mac address='52:54:00:00:00:01'/><alias name='ua-one'/></interface>
<hostdev><alias name='ua-two'/></hostdev>
<interface type='hostdev'><mac address='52:54:00:00:00:01'/><alias name='hostdev0'/></interface>
</devices></domain>""".encode()


def test_what_is_read_is_written() -> None:
    requests = metadata.read(WRAPPER)
    assert requests == {"ua-one": ONE, "ua-two": TWO}
    assert metadata.write(requests) == WRAPPER


def test_there_may_be_nothing() -> None:
    assert metadata.read(None) == {} and metadata.write({}) is None
    assert metadata.read(b"<interfaces/>") == {}
    assert metadata.kept(b"<domain/>") == ({}, {})


def test_a_namespace_is_taken_off_and_all_else_stays() -> None:
    newer = f"<p:interfaces xmlns:p='{NAMESPACE}'><p:interface alias='a' new='1'><p:vlan id='2'/></p:interface>"
    assert metadata.read(f"{newer}</p:interfaces>".encode()) == {
        "a": b'<interface alias="a" new="1"><vlan id="2"/></interface>'
    }


def test_a_request_without_an_interface_is_not_kept() -> None:
    there, needed = metadata.kept(DOMAIN)
    assert there == metadata.read(WRAPPER)
    assert needed == {"ua-one": ONE}


@pytest.mark.parametrize(
    ("name", "aliases"),
    [
        ("", ("ua-one", "hostdev0")),
        ("ua-one", ("ua-one",)),
        ("52:54:00:00:00:01", ("ua-one", "hostdev0")),
        ("ua-two", ()),
    ],
)
def test_interfaces_are_found_by_alias_or_mac(name: str, aliases: tuple[str, ...]) -> None:
    assert metadata.aliases_of(DOMAIN, name) == aliases


@pytest.mark.parametrize(
    ("device", "name"),
    [
        (b"<interface><mac address='52:54:00:AA:00:01'/></interface>", "52:54:00:aa:00:01"),
        (b"<interface><mac address='52:54:00:aa:00:01'/><alias name='net0'/></interface>", "net0"),
        (b"<interface type='user'/>", None),
        (b"<disk><alias name='virtio-disk0'/></disk>", None),
    ],
)
def test_a_device_is_named_as_far_as_it_is_an_interface(device: bytes, name: str | None) -> None:
    assert metadata.name_of(device) == name


def test_the_device_of_an_interface_is_found_by_its_alias() -> None:
    interface, _ = translate.split(
        b"<interface type='physical'><name>lan</name><mac address='52:54:00:0A:0B:0C'/></interface>", "a document"
    )
    domain = b"<domain><devices><interface/>" + interface + b"</devices></domain>"
    assert metadata.device_of(domain, "ua-physical-5254000a0b0c") == ("52:54:00:0a:0b:0c", "vp5254000a0b0c")
    assert metadata.device_of(domain, "ua-other") is None


def test_a_request_that_is_stored_says_nothing_of_the_device() -> None:
    whole = b"""<interface alias='ua-one' name='lan' type='macvtap' mac='52:54:00:0a:0b:0c' device='vp0' mtu='9000'
        queues='4' outbound='1000'><vlan><tag id='42'/></vlan></interface>"""
    core = b"""<interface alias="ua-one" name="lan" type="macvtap"><vlan><tag id="42"/></vlan></interface>"""
    assert metadata.without_device(whole) == metadata.without_device(core) == core


@pytest.mark.parametrize("text", [b"", b"<interfaces>", b"\xff"])
def test_what_is_no_xml_is_refused(text: bytes) -> None:
    for read in (metadata.read, metadata.kept, metadata.aliases_of, metadata.name_of):
        refusal(read, text, kind=XmlError)
