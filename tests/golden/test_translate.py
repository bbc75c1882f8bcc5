# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every golden pair, through the package and through `xsltproc` with the same sheets."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from lxml import etree

from libvirt_vepa.model.address import MacAddress
from libvirt_vepa.xml import document as documents
from libvirt_vepa.xml import translate
from tests.support.golden_cases import (
    BARE,
    BARE_KINDS,
    FILES,
    HOSTS,
    HOSTS_PARAMETER,
    MACS,
    NAMES,
    NATIVE_NAMES,
    SHEETS,
    canonical,
    document,
    source,
    without_blanks,
    xsltproc,
)

every_case = pytest.mark.parametrize("name", NAMES)
every_native_case = pytest.mark.parametrize("name", NATIVE_NAMES)


@pytest.fixture(autouse=True)
def macs(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Generate the MACs of the golden documents instead of random ones."""
    left = iter(MACS)
    monkeypatch.setattr(MacAddress, "generate", lambda: MacAddress.parse(next(left)))
    return left


def mended(name: str) -> bytes:
    """Return what becomes the stored form as XML that any program can read."""
    return documents.read(document(name, source(name)), name)[1]


def targets_last(data: bytes) -> bytes:
    """Return a document in canonical XML, without blanks, and with each interface's <target> at its end."""
    root = etree.fromstring(data)
    for target in root.xpath("//interface/target"):
        target.getparent().append(target)
    return without_blanks(etree.tostring(root.getroottree()))


def test_every_file_belongs_to_a_case() -> None:
    kinds = {f"{name}.{kind}.xml" for name in NAMES for kind in (source(name), "stored", "proposed")}
    kinds |= {f"{name}.native.xml" for name in NATIVE_NAMES}
    assert kinds | {f"{BARE}.{kind}.xml" for kind in BARE_KINDS} == FILES


@every_case
def test_what_is_asked_or_was_edited_becomes_what_is_stored(name: str) -> None:
    result = translate.to_stored(document(name, source(name)), name)
    assert canonical(result) == canonical(document(name, "stored"))


@every_case
def test_xsltproc_stores_the_same(name: str) -> None:
    result = xsltproc("stored.xsl", mended(name), macs=" ".join(MACS))
    assert canonical(result) == canonical(document(name, "stored"))


@every_case
def test_what_is_stored_becomes_what_was_asked(name: str) -> None:
    assert canonical(translate.to_proposed(document(name, "stored"), name)) == canonical(document(name, "proposed"))


@every_case
def test_xsltproc_gives_back_the_same(name: str) -> None:
    assert canonical(xsltproc("proposed.xsl", document(name, "stored"))) == canonical(document(name, "proposed"))


@every_native_case
@pytest.mark.parametrize("kind", ["stored", "proposed"])
def test_both_forms_become_the_native_one(name: str, kind: str) -> None:
    result = translate.to_native(document(name, kind), name, HOSTS)
    assert without_blanks(result) == without_blanks(document(name, "native"))


@every_native_case
def test_stored_to_native_to_the_last_blank(name: str) -> None:
    assert canonical(translate.to_native(document(name, "stored"), name, HOSTS)) == canonical(document(name, "native"))


@every_native_case
def test_xsltproc_makes_the_same_native_form(name: str) -> None:
    result = xsltproc("native.xsl", document(name, "proposed"), hosts=HOSTS_PARAMETER)
    assert without_blanks(result) == without_blanks(document(name, "native"))


@every_native_case
def test_xsltproc_makes_the_native_form(name: str) -> None:
    result = xsltproc("native.xsl", document(name, "stored"), hosts=HOSTS_PARAMETER)
    assert targets_last(result) == targets_last(document(name, "native"))


@every_case
def test_what_is_canonical_comes_back_from_the_stored_form(name: str) -> None:
    proposed = document(name, "proposed")
    again = translate.to_proposed(translate.to_stored(proposed, name), name)
    assert without_blanks(again) == without_blanks(proposed)


@every_case
def test_what_is_canonical_comes_back_through_xsltproc(name: str) -> None:
    proposed = document(name, "proposed")
    assert without_blanks(xsltproc("proposed.xsl", xsltproc("stored.xsl", proposed))) == without_blanks(proposed)


@every_case
def test_each_form_translated_to_itself_is_the_same_to_the_byte(name: str) -> None:
    stored, proposed = document(name, "stored"), document(name, "proposed")
    assert translate.to_stored(stored, name) == stored
    assert translate.to_proposed(proposed, name) == proposed


@every_native_case
def test_what_is_native_already_is_the_same_to_the_byte(name: str) -> None:
    native = document(name, "native")
    assert translate.to_native(native, name, ()) == native


@every_case
def test_to_stored_changes_nothing_of_its_own_result(name: str) -> None:
    stored = document(name, "stored")
    assert canonical(xsltproc("stored.xsl", stored)) == canonical(stored)


def test_a_single_interface_is_split_in_two() -> None:
    proposed = document(BARE, "proposed")
    interface, request = translate.split(proposed, BARE)
    assert canonical(interface) == canonical(document(BARE, "interface"))
    assert canonical(request) == canonical(document(BARE, "request"))
    assert translate.to_stored(proposed, BARE) == interface
    assert canonical(translate.to_native(proposed, BARE, HOSTS)) == canonical(document(BARE, "native"))


def test_xsltproc_splits_a_single_interface_as_well() -> None:
    proposed = document(BARE, "proposed")
    for part in ("", "interface"):
        assert canonical(xsltproc("stored.xsl", proposed, part=part)) == canonical(document(BARE, "interface"))
    assert canonical(xsltproc("stored.xsl", proposed, part="request")) == canonical(document(BARE, "request"))
    assert canonical(xsltproc("native.xsl", proposed, hosts=HOSTS_PARAMETER)) == canonical(document(BARE, "native"))


def test_both_parts_of_an_interface_get_one_generated_mac() -> None:
    interface, request = translate.split(b"<interface type='physical'><name>lan</name></interface>", BARE)
    assert MACS[0].encode() in interface
    digits = MACS[0].replace(":", "").encode()
    assert b"vp" + digits in interface
    assert all(b"ua-physical-" + digits in part for part in (interface, request))


def test_the_sheet_alone_counts_where_it_is_given_too_few_macs() -> None:
    result = xsltproc("stored.xsl", document("no-mac", "asked"), macs=MACS[0])
    found = [line for line in result.decode().replace('"', "'").split("'") if line.startswith("52:54:00")]
    assert found == [MACS[0], "52:54:00:00:02:02", "52:54:00:76:70:02", "52:54:00:76:70:03"]


OF_A_VF = "<vlan><tag id='42'/></vlan>", "<vf spoofchk='on' max_tx_rate='100'/>"


@pytest.mark.parametrize("children", [OF_A_VF, OF_A_VF[:1], OF_A_VF[1:]])
def test_a_single_interface_keeps_its_vf_settings(children: tuple[str, ...]) -> None:
    proposed = document(BARE, "proposed").replace(b"<mac", "".join((*children, "\n  <mac")).encode())
    interface, request = translate.split(proposed, BARE)
    assert canonical(interface) == canonical(document(BARE, "interface"))
    assert canonical(xsltproc("stored.xsl", proposed, part="interface")) == canonical(interface)
    assert canonical(xsltproc("stored.xsl", proposed, part="request")) == canonical(request)
    bare = request.replace(b"<physical:", b"<").replace(b"</physical:", b"</")
    assert b"device='vp525400000f01'>" + "".join(children).encode() + b"</interface></interfaces>" in bare


def test_a_single_interfaces_request_says_what_its_device_is_to_be() -> None:
    more = "<target dev='web0'/><mtu size='9000'/><driver queues='4'/><bandwidth><outbound average='500'/></bandwidth>"
    proposed = (
        f"<interface type='physical'><name>lan</name><mac address='52:54:00:0A:0B:C'/>{more}</interface>".encode()
    )
    ((request,),) = (etree.fromstring(translate.split(proposed, BARE)[1]),)
    said = {"mac": "52:54:00:0a:0b:0c", "device": "web0", "mtu": "9000", "queues": "4", "outbound": "500"}
    assert said.items() <= dict(request.attrib).items()
    # In a domain the interface itself says it.
    domain = f"<domain><name>web</name><devices>{proposed.decode()}</devices></domain>".encode()
    assert not said.keys() & set(next(etree.fromstring(translate.to_stored(domain, BARE)).iter("{*}interface")).attrib)


def test_a_vlan_of_the_stored_interface_moves_to_the_request() -> None:
    stored = document("one", "stored").replace(b"<model", OF_A_VF[0].encode() + b"<model")
    assert translate.to_stored(stored, "one") == stored
    again = translate.to_stored(translate.to_proposed(stored, "one"), "one")
    assert again.count(b"vlan") == 2 and b"<physical:vlan><physical:tag id='42'/></physical:vlan>" in again


@pytest.mark.parametrize(
    ("name", "hosts", "message"),
    [
        ("one", "", "what 'lan' means is not in the parameter 'hosts'"),
        ("one", "xlan=eth0:vepa lan2=eth0:vepa", "what 'lan' means is not in the parameter 'hosts'"),
        ("tap", "lan=eth0:bridge", "'lan' has no bridge for a tap in the parameter 'hosts'"),
        ("tap", "lan=eth0", "'lan' has no bridge for a tap in the parameter 'hosts'"),
        ("no-mac", "lan=eth0 wan=eth1:pepa", "unknown mode ''"),
        *((name, HOSTS_PARAMETER, "<vlan> and <vf> need a VF") for name in NAMES if name not in NATIVE_NAMES),
    ],
)
@pytest.mark.parametrize("kind", ["stored", "proposed"])
def test_to_native_ends_where_libvirt_has_no_equivalent(name: str, hosts: str, message: str, kind: str) -> None:
    command = ("xsltproc", "--stringparam", "hosts", hosts, SHEETS / "native.xsl", "-")
    done = subprocess.run(command, input=document(name, kind), capture_output=True, timeout=60, check=False)
    assert done.returncode != 0
    assert message in done.stderr.decode()
