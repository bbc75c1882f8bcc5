# SPDX-FileCopyrightText: the libvirt-vepa authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make demo`: from the proposal's own text to guests that reach each other, or not, as the mode says.

Runs inside the lab. Exit status 0 when every cell of the table is as expected.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from tests.lab.daemon import daemon, virsh
from tests.lab.documents import proposed
from tests.lab.guest import Guest
from tests.lab.network import HOST_ADDRESS, Nic, nic
from tests.lab.reach import DIRECTIONS, EXPECTED, SPOKEN, Row, measure
from tests.lab.shell import CommandError, run

MORE = "/run/more.xml"
REQUEST = """\
<interface type='physical'>
  <name>lan</name>
  <target mode='bridge'/>
  <mac address='52:54:00:00:99:01'/>
  <model type='virtio'/>
</interface>
"""


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def show(*command: str, stdin: str | None = None) -> str:
    """Run a command as a person would, and show both it and what it prints."""
    done = run(*command, stdin=stdin)
    print("$ " + " ".join(command))
    for line in (done.stdout + done.stderr).strip().splitlines():
        print(f"  {line}")
    sys.stdout.flush()
    return done.stdout


def main() -> int:
    """Tell the story, print the table, return the exit status."""
    say("Installing libvirt-vepa, into this lab only")
    run("make", "install")
    with nic("eth1") as wire:
        wire.give(f"{HOST_ADDRESS}/24")
        say("Starting a libvirtd of the lab's own")
        with daemon():
            _enable()
            _define_nic()
            guests = [Guest(1, kernel=True), Guest(2, kernel=True)]
            found = {}
            for mode in ("vepa", "pepa", "bridge"):
                found.update(_try(mode, guests, wire))
    return _report(found)


def _enable() -> None:
    say("From here on plain virsh speaks of NICs by name")
    # The lab's own default would win over the one that is set.
    del os.environ["LIBVIRT_DEFAULT_URI"]
    show("libvirt-vepa", "enable")


def _define_nic() -> None:
    say("The host names its NIC, in the proposal's own words")
    Path("/run/lan.xml").write_text(proposed("lan", "eth1", "ethernet"), encoding="utf-8")
    show("cat", "/run/lan.xml")
    show("virsh", "iface-define", "/run/lan.xml")
    show("virsh", "iface-list")
    show("virsh", "iface-dumpxml", "lan")


def _try(mode: str, guests: list[Guest], wire: Nic) -> dict[tuple[str, bool], Row]:
    say(f"Two guests ask for 'lan' in mode {mode}")
    first = mode == "vepa"
    for guest in guests:
        guest.ask(mode)
        _define(guest, talk=first and guest is guests[0])
    for guest in guests:
        print(f"$ virsh start {guest.name}", flush=True)
        guest.start()
    if first:
        print(f"$ virsh dumpxml {guests[0].name}")
        _show_interface(virsh("dumpxml", guests[0].name).stdout)
    _show_device(guests[0], talk=first)
    print("  waiting for the guests to boot", flush=True)
    for guest in guests:
        guest.wait()
    (one, two), found = guests, {}
    for reflecting in (False, True):
        wire.reflect(reflecting)
        row = found[mode, reflecting] = measure(one, two, HOST_ADDRESS, EXPECTED[mode, reflecting])
        words = ", ".join(f"{direction}: {answer}" for direction, answer in zip(DIRECTIONS, row, strict=True))
        print(f"  switch {_reflects(reflecting)}: {words}", flush=True)
    if first:
        show("libvirt-vepa", "status")
        _attach(guests[0])
    for guest in guests:
        guest.destroy()
    return found


def _define(guest: Guest, talk: bool) -> None:
    request = f"/run/{guest.name}.xml"
    Path(request).write_text(guest.xml, encoding="utf-8")
    if not talk:
        virsh("define", request)
        return
    _show_interface(guest.xml)
    show("libvirt-vepa", "plan", request)
    show("virsh", "define", request)


def _attach(guest: Guest) -> None:
    say("A guest that runs gets another one, and gives it back")
    Path(MORE).write_text(REQUEST, encoding="utf-8")
    show("cat", MORE)
    show("virsh", "attach-device", guest.name, MORE)
    show("libvirt-vepa", "status")
    show("virsh", "detach-device", guest.name, MORE)
    show("libvirt-vepa", "status")


def _show_interface(xml: str) -> None:
    found = re.search(r"(?s) *<interface.*</interface>", xml)
    print(textwrap.indent(textwrap.dedent(found[0] if found else xml), "  "), flush=True)


def _show_device(guest: Guest, talk: bool) -> None:
    command = ("ip", "-d", "link", "show", guest.device)
    link = show(*command) if talk else run(*command).stdout
    if not talk:
        print("  " + next(line.strip() for line in link.splitlines() if "macvtap" in line and "mode" in line))
        return
    pid = Path(f"/run/libvirt/qemu/{guest.name}.pid").read_text(encoding="ascii").strip()
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    netdev = json.loads(words[words.index("-netdev") + 1])
    print(f"  QEMU was given -netdev {json.dumps(netdev)}: a plain tap, by its file descriptor")


def _reflects(reflecting: bool) -> str:
    return "reflects" if reflecting else "does not reflect"


def _columns(mode: str, switch: str, row: Sequence[str]) -> str:
    return f"  {mode:8}{switch:18}" + "".join(f"{cell:15}" for cell in row)


def _report(found: dict[tuple[str, bool], Row]) -> int:
    say("Who reaches whom, each asked by itself when nobody knows an address yet")
    print(_columns("mode", "switch", DIRECTIONS))
    for (mode, reflecting), expected in EXPECTED.items():
        row = found[mode, reflecting]
        verdict = "" if row == expected else f"  <-- expected: {', '.join(expected)}"
        print((_columns(mode, _reflects(reflecting), row) + verdict).rstrip())
    print(f"\n{SPOKEN}: the guest reaches the host as soon as the host has sent something to the guest.")
    right = found == EXPECTED
    print("Every cell is as expected." if right else "The table is NOT as expected.")
    return 0 if right else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (CommandError, OSError, subprocess.TimeoutExpired) as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit("demo: interrupted")
