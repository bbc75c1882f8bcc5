# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Users whom polkit tells apart guest by guest: carol may change one guest, alice all of them, bob none.

libvirt's daemon asks polkit about each call for as long as these tests take (`access_drivers`).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import pytest

from tests.host.hosts import Host, User
from tests.support.rights import MANAGE, rules

CONF, RULES_FILE = "/etc/libvirt/libvirtd.conf", "/etc/polkit-1/rules.d/10-test.rules"
PLAIN = "qemu:///system"
URIS = {
    "ext": "'qemu+ext:///system?command=/usr/bin/libvirt-vepa-connect'",
    "socket": f"'{PLAIN}?socket=/run/libvirt/libvirt-vepa-sock'",
}
GUEST = """\
<domain type='qemu'>
  <name>{name}</name><uuid>{uuid}</uuid>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices><interface type='physical'><name>lan</name><mac address='52:54:00:e2:00:0{number}'/></interface></devices>
</domain>
"""
MAC, DEVICE = "52:54:00:e2:00:09", "vp525400e20009"
MORE = f"<interface type='physical'><name>lan</name><mac address='{MAC}'/></interface>\n"
REQUEST = f"""<interfaces><interface alias='ua-physical-525400e20009' name='lan' type='macvtap'
 mac='{MAC}' device='{DEVICE}'/></interfaces>"""
# Says the lines of its standard input to the helper, and prints its answers.
ASK = """python3 -c '
import socket, sys
end = socket.socket(socket.AF_UNIX)
end.settimeout(600)
end.connect("/run/libvirt/libvirt-vepad-sock")
for line in sys.stdin.buffer:
    end.sendall(line)
    print(end.makefile().readline(), end="")
'"""
CLOSED = f"no polkit agent available to authenticate action '{MANAGE}'"
# Carol's, and one that is not hers.
UUIDS = {"hers": "6f6e6f6f-0000-4000-8000-0000000000a1", "other": "6f6e6f6f-0000-4000-8000-0000000000a2"}


@pytest.fixture(scope="module")
def host(machine: Host) -> Iterator[Host]:
    if machine.run("libvirt-vepa iface-dumpxml lan", check=False).rc:
        machine.define("lan", "eth0")
    machine.run(
        "useradd --create-home --shell /bin/bash carol && cp -r ~bob/.ssh ~carol && chown -R carol: ~carol/.ssh"
    )
    machine.write(RULES_FILE, rules("hers"))
    machine.run(
        f"cp -p {CONF} kept.conf && echo 'access_drivers = [ \"polkit\" ]' >>{CONF} && systemctl restart libvirtd"
    )
    carol = machine.user("carol")
    carol.until(f"virsh -c {PLAIN} uri")
    for number, (name, uuid) in enumerate(UUIDS.items(), 1):
        machine.write(f"{name}.xml", GUEST.format(name=name, uuid=uuid, number=number))
        machine.run(f"virsh -c {URIS['ext']} create {name}.xml")
    for user in (machine.user("alice"), carol):
        user.write("more.xml", MORE)
    yield machine
    for name in UUIDS:
        machine.run(f"virsh destroy {name}", check=False)
    machine.run(f"mv kept.conf {CONF} && rm {RULES_FILE} && systemctl restart libvirtd")
    machine.until(f"virsh -c {PLAIN} list >/dev/null")
    assert machine.failed() == [] and machine.devices() == []


@pytest.mark.parametrize("way", URIS)
@pytest.mark.parametrize(("name", "guest"), [("carol", "hers"), ("alice", "other")])
def test_who_may_change_a_guest_gives_it_more(host: Host, name: str, guest: str, way: str) -> None:
    user, virsh = host.user(name), f"virsh -q -c {URIS[way]}"
    try:
        user.run(f"{virsh} attach-device {guest} more.xml --live")
        assert DEVICE in host.devices()
        user.run(f"{virsh} detach-device {guest} more.xml --live")
    finally:
        # The guest's firmware lets go of nothing: what was detached goes with the guest.
        host.run(f"virsh destroy {guest} && virsh -c {URIS['ext']} create {guest}.xml")
    assert DEVICE not in host.devices()


def state(host: Host) -> tuple[list[str], str]:
    """Return all macvtaps, and what libvirt has of both guests."""
    return host.devices(), "".join(host.run(f"virsh -c {PLAIN} dumpxml {name}").stdout for name in UUIDS)


@pytest.mark.parametrize("way", URIS)
def test_anothers_guest_is_refused_in_one_line(host: Host, way: str) -> None:
    before = state(host)
    done = host.user("carol").run(f"virsh -q -c {URIS[way]} attach-device other more.xml --live", check=False)
    assert done.rc == 1 and done.stdout.strip() == ""
    # The first line is virsh's own.
    first, said = done.stderr.strip().splitlines()
    assert first == "error: Failed to attach device from more.xml" and "access denied" in said
    assert state(host) == before


@pytest.mark.parametrize(
    ("name", "guest", "said"),
    [
        ("bob", "hers", CLOSED),
        ("bob", "other", CLOSED),
        ("carol", "other", "access denied"),
    ],
)
def test_the_helper_gives_no_more_than_libvirt(host: Host, name: str, guest: str, said: str) -> None:
    before = state(host)
    asked = {"do": "attach", "guest": UUIDS[guest], "request": REQUEST}, {"do": "detach", "guest": UUIDS[guest]}
    for answer in answers(host.user(name), *asked):
        assert said in answer["error"]
    assert state(host) == before


def answers(user: User, *asked: dict[str, str]) -> list[dict[str, str]]:
    lines = "".join(f"{json.dumps(each)}\n" for each in asked)
    return [json.loads(line) for line in user.run(f"{ASK} <<<{shlex.quote(lines.strip())}").stdout.splitlines()]
