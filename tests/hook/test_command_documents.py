# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`translate` and `plan`: what they take, what they refuse, and that they touch nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hook.conftest import damaged, refused
from tests.lab.guest import Guest
from tests.lab.hook import call, command, define_nic, stored
from tests.lab.network import Nic
from tests.lab.shell import run
from tests.support.leak_check import Untouched

MAC = "52:54:00:00:00:01"
BOTH = pytest.mark.parametrize("verb", ["translate", "plan"])


def domain(*interfaces: str) -> bytes:
    devices = "".join(f"<interface type='physical'>{each}</interface>\n" for each in interfaces)
    return f"<domain type='kvm'>\n<name>web</name>\n<devices>\n{devices}</devices>\n</domain>\n".encode()


GOOD = domain(f"<name>lan</name><mac address='{MAC}'/>")
BAD = {
    **damaged(GOOD, b"web"),
    "an unknown type": (
        domain("<name>lan</name><type>veth</type>"),
        "standard input, line 4: guest 'web': unknown type 'veth'; use macvtap or tap",
    ),
    "an unknown mode": (
        domain("<name>lan</name><target mode='x'/>"),
        "standard input, line 4: guest 'web': unknown mode 'x'; use vepa, pepa or bridge",
    ),
    "a malformed MAC": (
        domain("<name>lan</name><mac address='52:54'/>"),
        "standard input, line 4: guest 'web': '52:54' is not a MAC address; write six hexadecimal pairs",
    ),
    "a multicast MAC": (
        domain("<name>lan</name><mac address='53:54:00:00:00:01'/>"),
        "standard input, line 4: guest 'web': 53:54:00:00:00:01 is not the MAC of a single station; ",
    ),
    "no MAC at all": (
        domain("<name>lan</name><mac address='00:00:00:00:00:00'/>"),
        "standard input, line 4: guest 'web': 00:00:00:00:00:00 is not the MAC of a single station; ",
    ),
    "a device's name with a slash": (
        domain("<name>lan</name><target dev='../x'/>"),
        "standard input, line 4: guest 'web': '../x' cannot be the name of a guest's device; ",
    ),
    "a device's name of 16 characters": (
        domain("<name>lan</name><target dev='abcdefghijklmnop'/>"),
        "standard input, line 4: guest 'web': 'abcdefghijklmnop' cannot be the name of a guest's device; ",
    ),
    "a hostile name": (
        domain("<name>$(x)/../y</name>"),
        "standard input, line 4: guest 'web': '$(x)/../y' cannot be the name of a physical interface; ",
    ),
    "an alias twice": (
        domain(*(f"<name>lan</name><mac address='{MAC[:-1]}{n}'/><alias name='ua-x'/>" for n in (1, 2))),
        "standard input, line 5: guest 'web': alias ua-x is given to two devices of this guest; make them different",
    ),
    "a MAC twice": (
        domain(*(f"<name>lan</name><mac address='{MAC}'/>" for _ in (1, 2))),
        f"standard input, line 5: guest 'web': MAC {MAC} is given to two devices of this guest; make them different",
    ),
}


@BOTH
@pytest.mark.parametrize(("text", "why"), BAD.values(), ids=BAD)
def test_a_bad_document_is_one_line(wire: Nic, verb: str, text: bytes, why: str) -> None:
    assert refused(verb, "-", stdin=text).startswith(why)


def asked(extra: str = "", mac: str = MAC) -> bytes:
    return domain(f"<name>lan</name><mac address='{mac}'/>{extra}")


HOST = {
    "no such name": (asked().replace(b"lan", b"wan"), "no physical interface 'wan' is defined on this host; "),
    "mode": (asked("<target mode='pepa'/>"), "mode pepa is not allowed on 'lan'; ask for vepa or bridge"),
    "no bridge": (asked("<type>tap</type>"), "a tap needs a Linux bridge that NIC eth1 is a port of; "),
    "tap in vepa": (asked("<type>tap</type><target mode='vepa'/>"), "a tap cannot have mode vepa; ask for bridge"),
    "MTU": (asked("<mtu size='9000'/>"), "MTU 9000 is more than the 1500 of NIC eth1; "),
    "queues": (asked("<driver queues='300'/>"), "invalid queue count 300; ask for 1 to 256"),
    "device": (asked("<target dev='lo'/>"), "device lo exists and is not this guest's; "),
    "a NIC's name": (asked("<target dev='eth1'/>"), "device eth1 would have the name of the NIC of 'lan'; choose "),
}


@pytest.mark.parametrize(("text", "why"), HOST.values(), ids=HOST)
def test_plan_reports_what_translate_does_not(wire: Nic, text: bytes, why: str) -> None:
    define_nic("lan", "eth1", "<mode>vepa</mode><mode>bridge</mode>")
    told = refused("plan", "-", stdin=text)
    assert told.startswith("guest 'web': ") and why in told
    assert command("translate", stdin=text).returncode == 0


def test_the_nics_own_mac_is_refused(wire: Nic) -> None:
    mac = run("cat", "/sys/class/net/eth1/address").stdout.strip()
    assert f"{mac} is the MAC of NIC eth1 itself; give the guest a MAC of its own" in refused(
        "plan", "-", stdin=asked(mac=mac)
    )


def test_plan_refuses_a_bridge_port_and_a_missing_nic(bridge: str) -> None:
    assert f"NIC eth1 is a port of bridge {bridge}, and a macvtap cannot share it; " in refused(
        "plan", "-", stdin=asked()
    )
    define_nic("lan", "eth7")
    assert "'lan' is NIC eth7, which does not exist on this host; " in refused("plan", "-", stdin=asked())


def test_a_mac_that_another_guest_has(guest: Guest) -> None:
    call("prepare", stored(guest))
    told = refused("plan", "-", stdin=asked("<target dev='other'/>"))
    assert f"mac {MAC} is in use by guest 'lab1' ({guest.uuid}); choose another mac, or stop that guest" in told


@pytest.mark.parametrize("form", ["proposed", "stored"])
def test_plan_says_what_a_start_would_do_and_does_nothing(guest: Guest, form: str) -> None:
    document = stored(guest) if form == "stored" else guest.xml.encode()
    run("ip", "link", "set", "eth1", "down")
    with Untouched():
        told, data = command("plan", "-", stdin=document), command("plan", "--json", "-", stdin=document)
    assert (told.returncode, told.stderr, data.returncode, data.stderr) == (0, b"", 0, b"")
    lines = told.stdout.decode().splitlines()
    assert lines[:2] == [f"reserve mac {MAC} for guest 'lab1'", f"reserve device {guest.device} for guest 'lab1'"]
    assert lines[2:4] == [
        "put eth1 up",
        f"create macvtap {guest.device} on eth1: mode vepa, MAC {MAC}",
    ]
    found = json.loads(data.stdout)
    assert found["guest"] == "lab1" and found["complete"] is True and len(found["operations"]) == len(lines)
    assert found["interfaces"][0]["device"] == guest.device
    # A start does just that: the journal holds the plan.
    assert call("prepare", stored(guest)).returncode == 0
    journal = json.loads(Path(f"/run/libvirt/vepa/guests/{guest.uuid}.json").read_text())
    assert journal["operations"] == found["operations"]


def test_plan_of_a_foreign_guest_has_nothing_to_do(wire: Nic) -> None:
    done = command("plan", "-", stdin=domain())
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"nothing: guest 'web' asks for no physical interface\n"
    assert json.loads(command("plan", "--json", "-", stdin=domain()).stdout)["operations"] == []


def test_plan_of_what_is_no_guest_says_so(wire: Nic) -> None:
    alone = b"<interface type='physical'><name>lan</name></interface>"
    assert refused("plan", "-", stdin=alone).startswith("the guest's XML: this is not the XML of a domain; give ")


def test_plan_names_the_line_of_the_document_it_was_given(wire: Nic) -> None:
    # The stored form, which the plan is made from, has the metadata before the devices.
    lines = GOOD.splitlines()
    interface = next(number for number, line in enumerate(lines, 1) if b"<interface" in line)
    wide = GOOD.replace(b"</interface>", b"<mtu size='9000'/></interface>")
    assert f"(line {interface}): MTU 9000 is more than" in refused("plan", "-", stdin=wide)


def test_translate_there_and_back(wire: Nic) -> None:
    with Untouched():
        kept = command("translate", "-", stdin=GOOD)
        back = command("translate", "--to", "proposed", stdin=kept.stdout)
        native = command("translate", "--to", "native", stdin=GOOD)
        foreign = command("translate", stdin=domain())
    assert b"<interface type='ethernet'>" in kept.stdout and b"urn:libvirt-vepa:physical:1" in kept.stdout
    assert b"<type>macvtap</type>" in back.stdout and command("translate", stdin=back.stdout).stdout == kept.stdout
    assert b"<interface type='direct'>" in native.stdout and b"<source dev='eth1' mode='vepa'/>" in native.stdout
    assert foreign.stdout == domain()
    assert {done.returncode for done in (kept, back, native, foreign)} == {0}


@BOTH
def test_a_file_that_cannot_be_read_is_one_line(verb: str, tmp_path: Path) -> None:
    assert refused(verb, str(tmp_path / "none")).startswith(f"cannot read {tmp_path}/none: No such file or directory; ")
    assert refused(verb, str(tmp_path)).startswith(f"cannot read {tmp_path}: Is a directory; ")
    assert refused(verb, "/proc/self/mem").startswith("cannot read /proc/self/mem: ")
    assert refused(verb, "/dev/zero").startswith("/dev/zero: the document is larger than 4 MiB; ")
    assert refused(verb, "a\nb").startswith("cannot read a\\nb: No such file")
    assert refused(verb, b"\xff").startswith("cannot read \\udcff: No such file")
